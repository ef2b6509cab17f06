"""Stop adversarial training when accuracy under attack collapses, or when another signal jumps."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import deque
from statistics import median
from typing import Final

from torch import Tensor, nn

from filterlens.errors import InputError

__all__ = ["CollapseStopping", "EarlyStopping", "Stopping"]

_ABOVE_CHANCE: Final = 3.5  # standard deviations


class Stopping(ABC):
    """A rule that says when to stop, and keeps the weights to go back to."""

    def __init__(self) -> None:
        self.epoch = -1
        self.best_epoch: int | None = None
        self.best_state: dict[str, Tensor] = {}

    @property
    @abstractmethod
    def should_stop(self) -> bool:
        """Whether training is to stop now."""

    @abstractmethod
    def step(self, score: float, model: nn.Module) -> bool:
        """Take in one epoch; return whether to stop.

        Parameters
        ----------
        score
            Of the epoch that has just ended; it rises in a collapse. A value that is not finite stops.
        model
            In the state of that epoch.
        """

    def restore(self, model: nn.Module) -> None:
        """Load the kept weights back.

        Raises
        ------
        InputError
            No epoch has been good yet.
        """
        if self.best_epoch is None:
            raise InputError("there are no weights to give back: the score has not been finite in any epoch")
        model.load_state_dict(self.best_state)

    def _keep(self, model: nn.Module) -> None:
        self.best_epoch = self.epoch
        self.best_state = {key: value.detach().cpu().clone() for key, value in model.state_dict().items()}


class CollapseStopping(Stopping):
    """Stop when accuracy under attack falls far below its own best and stays there.

    Training stops in the epoch that is the `patience`-th in a row below `share` · best, best being the highest accuracy
    of the epochs before. The rule waits until best is 3.5 standard deviations of a binomial above chance, which is
    the share of the most frequent label: below that, best is noise. `restore` gives the best epoch back.

    Parameters
    ----------
    labels
        Of the fixed batch that accuracy is measured on, shape (n,).
    share
        Of the best accuracy, in (0, 1).
    patience
        Epochs in a row.

    Raises
    ------
    InputError
        A parameter is out of range, or no accuracy on such a batch is above chance.

    References
    ----------
    [Wong2020]_ stop on the accuracy under PGD; the rule is ours.

    Examples
    --------
    >>> from torch import arange
    >>> stopping = CollapseStopping(arange(100) % 10)
    >>> model = nn.Linear(2, 2)
    >>> [stopping.step(error, model) for error in (0.9, 0.7, 0.6, 0.65, 0.9, 0.9)]
    [False, False, False, False, False, True]
    >>> stopping.best_epoch
    2
    """

    def __init__(self, labels: Tensor, *, share: float = 0.55, patience: int = 2) -> None:
        super().__init__()
        if not (0 < share < 1 and patience >= 1 and len(labels)):
            raise InputError(
                "CollapseStopping takes 0 < share < 1, patience >= 1 and at least one label, got "
                f"{share}, {patience} and {len(labels)} labels"
            )
        chance = int(labels.bincount().max()) / len(labels)
        self.floor = chance + _ABOVE_CHANCE * math.sqrt(chance * (1 - chance) / len(labels))
        if self.floor >= 1:
            raise InputError(
                f"no accuracy on this batch is above chance ({len(labels)} labels, {chance:.0%} of them of one class): "
                "give more images, of more classes"
            )
        self.share, self.patience = share, patience
        self.best = -math.inf
        self._low = 0

    @property
    def should_stop(self) -> bool:
        """Whether training is to stop now."""
        return self._low >= self.patience

    def step(self, score: float, model: nn.Module) -> bool:
        """Take in one epoch; return whether to stop.

        Parameters
        ----------
        score
            Error under attack of the epoch that has just ended, in [0, 1]: 1 − accuracy, such as
            `CollapseMonitor.score()`. A value that is not finite stops.
        model
            In the state of that epoch.
        """
        self.epoch += 1
        accuracy = 1 - score
        if not math.isfinite(accuracy):
            self._low = self.patience
            return True
        fallen = self.best > self.floor and accuracy < self.share * self.best
        self._low = self._low + 1 if fallen else 0
        if accuracy >= self.best:
            self.best = accuracy
            self._keep(model)
        return self.should_stop


class EarlyStopping(Stopping):
    """Stop when any score rises faster than it has been rising: a one-sided CUSUM of its steps [Page1954]_.

    An epoch's step is standardised by the median and the median absolute deviation of the earlier steps,
    z = (step − max(0, median)) / max(1.4826 · MAD, noise), and S ← max(0, S + z − drift). Training stops once
    S > threshold. While S is above 0 neither the steps join the reference nor are the weights kept, so that what
    `restore` gives back is the last epoch before the change began. A score that rises slowly all along has a median
    step above 0 and is let through; so is one that falls ever more slowly.

    Parameters
    ----------
    threshold, drift
        In spreads of a step: what sums up to an alarm, and what every epoch may exceed the median by.
    noise
        Smallest spread of a step that is assumed, in the score's own unit.
    history
        Steps in the reference at most, the latest ones.
    warmup
        Steps that are needed before any counts: a network that has just begun to learn changes fast.

    Raises
    ------
    InputError
        A parameter is out of range.

    References
    ----------
    Grabinski2022 stops on aliasing; the rule is ours.

    Examples
    --------
    >>> stopping = EarlyStopping(noise=0.01, warmup=3)
    >>> model = nn.Linear(2, 2)
    >>> [stopping.step(score, model) for score in (0.20, 0.21, 0.22, 0.23, 0.24, 0.40)]
    [False, False, False, False, False, True]
    >>> stopping.best_epoch
    4
    """

    def __init__(
        self, *, threshold: float = 2.0, drift: float = 1.0, noise: float = 0.02, history: int = 8, warmup: int = 3
    ) -> None:
        if not (threshold > 0 and drift >= 0 and noise > 0 and history >= warmup >= 1):
            raise InputError(
                "EarlyStopping takes threshold > 0, drift >= 0, noise > 0 and history >= warmup >= 1, got "
                f"{threshold}, {drift}, {noise}, {history} and {warmup}"
            )
        super().__init__()
        self.threshold, self.drift, self.noise, self.warmup = threshold, drift, noise, warmup
        self.excess = 0.0
        self._last = math.nan
        self._steps: deque[float] = deque(maxlen=history)

    @property
    def should_stop(self) -> bool:
        """Whether training is to stop now."""
        return self.excess > self.threshold

    def step(self, score: float, model: nn.Module) -> bool:
        """Take in one epoch; return whether to stop.

        Parameters
        ----------
        score
            Of the epoch that has just ended; it rises in a collapse. A value that is not finite stops.
        model
            In the state of that epoch.
        """
        self.epoch += 1
        if not math.isfinite(score):
            self.excess = math.inf
            return True
        rise, self._last = score - self._last, score
        if len(self._steps) >= self.warmup:
            self.excess = max(0.0, self.excess + self._standardised(rise) - self.drift)
        if self.excess == 0:
            if math.isfinite(rise):
                self._steps.append(rise)
            self._keep(model)
        return self.should_stop

    def _standardised(self, rise: float) -> float:
        usual = median(self._steps)
        spread = 1.4826 * median(abs(step - usual) for step in self._steps)
        return (rise - max(usual, 0.0)) / max(spread, self.noise)
