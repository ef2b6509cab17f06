"""`fetch`: the files of a catalog's models, brought into the cache before an audit needs them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from filterlens.catalogs import Catalog, load_catalog
from filterlens.errors import CheckpointError, DownloadError
from filterlens.process.extras import require_audit

if TYPE_CHECKING:
    import pandas as pd

    from filterlens.fetching import Locked, Needs, Transfer
    from filterlens.loaders.remote import RemoteFile

__all__ = ["fetch"]

_COLUMNS = ("model_id", "status", "size", "file", "path", "reason")
Plan = Callable[[dict[str, int | None], int], None]


def fetch(
    leaderboard: str | Path | Catalog,
    *,
    models: Sequence[str] = (),
    dry_run: bool = False,
    offline: bool = False,
    planned: Plan = lambda *_: None,
    listener: Callable[[Transfer], None] = lambda _: None,
) -> pd.DataFrame:
    """Fetch what a catalog's models need into the cache, from a few hosts at once; hold it against the catalog's lock.

    Parameters
    ----------
    leaderboard
        Name of a shipped catalog, path of a CSV file, or a `Catalog`.
    models
        Shell patterns of model ids; empty: all.
    dry_run
        Only say what would be fetched and how large it is.
    offline
        Ask nobody: what neither the cache nor a mirror that is a folder has is `missing`.
    planned
        Called before the first byte with the size in bytes of each missing file by its address (None: nobody says), and
        the free bytes of the disk.
    listener
        Called with each `filterlens.fetching.Transfer`, from other threads.

    Returns
    -------
        One row a file: `model_id`; `status` (`cached`, `fetched`, `failed`, `missing`; `local` where a model needs
        nothing from elsewhere, `unknown` where its loader does not say); `size` in bytes; `file`, its address; `path`;
        `reason`.

    Raises
    ------
    CatalogError
        There is no such catalog or model.
    MissingExtraError
        The libraries that know the sources are not installed.
    DownloadError
        The disk has no room for what is to be fetched.

    Examples
    --------
    >>> import filterlens
    >>> filterlens.fetch("fonts-linf", models=["*-s0"])["status"].unique().tolist()
    ['local']
    """
    from filterlens.fetching import Fetcher, check_disk, lock_path, needs_of, read_lock, sizes_of

    require_audit()
    catalog = leaderboard if isinstance(leaderboard, Catalog) else load_catalog(leaderboard)
    catalog = catalog.select(models) if models else catalog
    needs = [needs_of(entry, catalog.folder, offline=offline) for entry in catalog]
    missing = {file.name: file for found in needs for file in found.missing}
    sizes: dict[str, int | None] = {} if offline else sizes_of(missing.values())
    free = 0 if dry_run or offline else check_disk(sizes)
    planned(sizes, free)
    states: dict[str, tuple[str, str]] = {}

    def hear(transfer: Transfer) -> None:
        if transfer.state in {"fetched", "cached", "failed"}:
            states[transfer.name] = (transfer.state, transfer.reason)
        listener(transfer)

    if not (dry_run or offline):
        with Fetcher(needs, listener=hear) as fetcher:
            for number in range(len(needs)):
                fetcher.wait(number)
    if offline and not dry_run:
        states |= {name: ("fetched", "") for name, file in missing.items() if _is_in_mirror(file)}
    beside = lock_path(catalog)
    return _table(needs, sizes, states, {} if dry_run else read_lock(beside), str(beside))


def _is_in_mirror(file: RemoteFile) -> bool:
    """Bring a file without the network, where that can be done."""
    try:
        file.fetch(offline=True)
    except DownloadError:
        return False
    return True


def _table(
    needs: Sequence[Needs],
    sizes: dict[str, int | None],
    states: dict[str, tuple[str, str]],
    locked: dict[str, tuple[Locked, ...]],
    where: str,
) -> pd.DataFrame:
    import pandas as pd

    from filterlens.fetching import check_locked
    from filterlens.process.digests import file_digest

    rows: list[tuple[object, ...]] = []
    for found in needs:
        if found.error is not None:
            rows.append((found.entry.model_id, "failed", None, "", "", str(found.error)))
        elif not found.files:
            status = "local" if found.is_known else "unknown"
            rows.append((found.entry.model_id, status, None, "", "", ""))
        gone = {file.name for file in found.missing}
        for file in found.files:
            state, reason = states.get(file.name, ("missing", "")) if file.name in gone else ("cached", "")
            path = file.cached() if state in {"cached", "fetched"} else None
            size = sizes.get(file.name) if path is None else path.stat().st_size
            if path is not None and (rows_of_it := locked.get(found.entry.source)):
                try:
                    check_locked(rows_of_it, {path: (path.stat().st_size, file_digest(path))}, where)
                except CheckpointError as error:
                    state, reason = "failed", str(error)
            rows.append((found.entry.model_id, state, size, file.name, "" if path is None else str(path), reason))
    table = pd.DataFrame(rows, columns=_COLUMNS)
    table["size"] = table["size"].astype("Int64")  # unknown is not 0
    return table
