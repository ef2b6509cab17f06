"""What an audit is about to do, from a configuration file and from what was said on top of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from filterlens.catalogs import Catalog, load_catalog
from filterlens.commands.audit import audit, choose_lenses, extract
from filterlens.commands.estimate import Estimate, estimate_run
from filterlens.errors import InputError
from filterlens.runs.config import RunConfig

if TYPE_CHECKING:
    from filterlens.runs import Event, Outcome
    from filterlens.runs.executors import Executor

__all__ = ["BUNDLED", "DEFAULT", "Plan", "plan"]

BUNDLED: Final[dict[str, tuple[str, ...]]] = {
    "cifar10-small": ("filters", "frequency", "spectra", "downsampling", "robustness", "flatness"),
    "fonts-linf": ("all",),
}
"""The zoos whose weights come with the package, and the lenses of an audit that names none."""
DEFAULT: Final = "cifar10-small"
_BUNDLED_DATA: Final = {DEFAULT: "cifar10-bundled-512"}  # the same numbers with and without a network


@dataclass(frozen=True, slots=True)
class Plan:
    """A catalog's models, every option, and the checkpoints of a folder that no epoch could be told of."""

    catalog: Catalog
    config: RunConfig
    left_out: tuple[Path, ...] = ()

    def run(
        self,
        folder: Path | None = None,
        *,
        whole: bool,
        executor: Executor,
        listener: Callable[[Event], None],
        progress: Callable[[int, int], None],
        keep_tracebacks: bool = False,
        extend: bool = False,
        replace: bool = False,
        evict: bool = False,
        time_limit: float | None = None,
    ) -> Outcome:
        """Extract, and where `whole` analyse and report; see `filterlens.audit`."""
        how: dict[str, Any] = {
            "config": self.config,
            "executor": executor,
            "listener": listener,
            "keep_tracebacks": keep_tracebacks,
            "extend": extend,
            "replace": replace,
            "evict": evict,
            "time_limit": time_limit,
        }
        if whole:
            return audit(self.catalog, folder, progress=progress, **how)
        return extract(self.catalog, folder, **how)

    def estimate(self, folder: Path | None = None, *, jobs: int = 1, **how: Any) -> Estimate:  # noqa: ANN401 - as below
        """Say what `run` would do; see `filterlens.estimate`."""
        return estimate_run(self.catalog, folder, self.config, jobs=jobs, **how)


def plan(
    config: Path | None,
    what: Mapping[str, Any],
    *,
    lenses: Sequence[str] = (),
    fast: bool | None = None,
    settings: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
) -> Plan:
    """Put a configuration together.

    Parameters
    ----------
    config
        A `run.toml` to start from, or None.
    what
        `leaderboard`, `models`, `checkpoints`, `arch`, `eps`, `mean`, `std`, `style`: what is audited, and how figures
        look; empty values leave the file's.
    lenses
        Names; empty takes the file's, or the filters lens, or for a bundled zoo those of `BUNDLED`.
    fast
        Presets instead of the file's options; None keeps these, and takes the fast ones for a bundled zoo.
    settings, options
        Of the run and of lenses, that go before the file's.

    Raises
    ------
    FilterlensError
        The file, the catalog, a lens or an option is wrong.
    """
    from filterlens.report.style import find_style

    allowed = bool((settings or {}).get("allow_code"))
    base = RunConfig() if config is None else RunConfig.read(config, allow_code=allowed)
    said = replace(base, **{name: value for name, value in what.items() if value})
    find_style(said.style)
    if what.get("checkpoints") and what.get("leaderboard"):
        raise InputError("--folder stands instead of --leaderboard: give one of them")
    if what.get("leaderboard"):
        said = replace(said, checkpoints="")
    if not said.checkpoints and (said.arch or said.eps or said.mean or said.std):
        raise InputError("--arch, --eps, --mean and --std go with --folder; a catalog says them in its columns")
    if not said.checkpoints and not said.leaderboard:
        said = replace(said, leaderboard=DEFAULT)
    bundled = not said.checkpoints and said.leaderboard in BUNDLED
    given = dict(options or {})
    if base.lenses and not lenses and fast is None:
        chosen = choose_lenses(base.lenses, given)
    else:
        names = list(lenses) or list(base.lenses) or list(BUNDLED[said.leaderboard] if bundled else ["filters"])
        chosen = choose_lenses(names, given, fast=bundled if fast is None else fast)
    said = replace(said, lenses=chosen, settings=replace(base.settings, **(settings or {})))
    if bundled and not said.settings.data:
        said = replace(said, settings=replace(said.settings, data=_BUNDLED_DATA.get(said.leaderboard, "")))
    if said.checkpoints:
        from filterlens.catalogs.trajectories import read_trajectory

        found = read_trajectory(Path(said.checkpoints), said.arch, eps=said.eps, mean=said.mean, std=said.std)
        catalog, left_out = found.catalog, found.left_out
    else:
        catalog, left_out = load_catalog(said.leaderboard), ()
    return Plan(catalog.select(said.models) if said.models else catalog, said, left_out)
