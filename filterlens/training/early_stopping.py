"""Stop adversarial training when a signal jumps: a change against the recent past, not a high value."""

from __future__ import annotations

import math
from collections import deque
from statistics import median

from torch import Tensor, nn

from filterlens.errors import InputError

__all__ = ["EarlyStopping"]


class EarlyStopping:
    """Stop when a score rises faster than it has been rising: a one-sided CUSUM of its steps [Page1954]_.

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
        self.threshold, self.drift, self.noise, self.warmup = threshold, drift, noise, warmup
        self.epoch = -1
        self.excess = 0.0
        self.best_epoch: int | None = None
        self.best_state: dict[str, Tensor] = {}
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
            self.best_epoch = self.epoch
            self.best_state = {key: value.detach().cpu().clone() for key, value in model.state_dict().items()}
        return self.should_stop

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

    def _standardised(self, rise: float) -> float:
        usual = median(self._steps)
        spread = 1.4826 * median(abs(step - usual) for step in self._steps)
        return (rise - max(usual, 0.0)) / max(spread, self.noise)
