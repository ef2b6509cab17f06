"""Stop adversarial training when aliasing rises: catastrophic overfitting announces itself without an attack."""

from __future__ import annotations

import math
from collections import deque

from torch import Tensor, nn

from filterlens.errors import InputError

__all__ = ["AliasingEarlyStopping"]


class AliasingEarlyStopping:
    """Stop once a score has stayed above (1 + tolerance) x its lowest smoothed value for `patience` epochs.

    The weights of the last epoch that was not above it are kept on the CPU.

    Parameters
    ----------
    tolerance
        Relative rise that is still taken for noise.
    smoothing
        Number of epochs in the running mean whose minimum is the reference.
    patience
        Epochs in a row above the threshold before training stops.
    warmup
        Epochs at the start that neither count nor set the reference: a random network's score means nothing.

    Raises
    ------
    InputError
        A parameter is out of range.

    References
    ----------
    Grabinski2022. Use `aliasing_relative` : in a collapse the unscaled score
    may fall, because the activations shrink.

    Examples
    --------
    >>> stopping = AliasingEarlyStopping(tolerance=0.1, smoothing=1, patience=2)
    >>> model = nn.Linear(2, 2)
    >>> [stopping.step(score, model) for score in (0.30, 0.24, 0.25, 0.29, 0.30)]
    [False, False, False, False, True]
    >>> stopping.best_epoch
    2
    """

    def __init__(self, *, tolerance: float = 0.05, smoothing: int = 3, patience: int = 2, warmup: int = 0) -> None:
        if not (tolerance >= 0 and smoothing >= 1 and patience >= 1 and warmup >= 0):
            raise InputError(
                "AliasingEarlyStopping takes tolerance >= 0, smoothing >= 1, patience >= 1 and warmup >= 0, got "
                f"{tolerance}, {smoothing}, {patience} and {warmup}"
            )
        self.tolerance, self.patience, self.warmup = tolerance, patience, warmup
        self.epoch = -1
        self.lowest = math.inf
        self.epochs_above = 0
        self.best_epoch: int | None = None
        self.best_state: dict[str, Tensor] = {}
        self._recent: deque[float] = deque(maxlen=smoothing)

    @property
    def threshold(self) -> float:
        """The value that the score must not stay above; infinite before the first epoch."""
        return (1 + self.tolerance) * self.lowest

    @property
    def should_stop(self) -> bool:
        """Whether training is to stop now."""
        return self.epochs_above >= self.patience

    def step(self, score: float, model: nn.Module) -> bool:
        """Take in one epoch; return whether to stop.

        Parameters
        ----------
        score
            Of the epoch that has just ended; NaN counts as above.
        model
            In the state of that epoch.
        """
        self.epoch += 1
        if self.epoch < self.warmup:
            self._keep(model)
            return False
        if math.isfinite(score):
            self._recent.append(score)
            self.lowest = min(self.lowest, sum(self._recent) / len(self._recent))
        if math.isfinite(score) and score <= self.threshold:
            self.epochs_above = 0
            self._keep(model)
        else:
            self.epochs_above += 1
        return self.should_stop

    def restore(self, model: nn.Module) -> None:
        """Load the kept weights back.

        Raises
        ------
        InputError
            No epoch has been good yet.
        """
        if self.best_epoch is None:
            raise InputError("there are no weights to give back: every epoch so far lay above the threshold")
        model.load_state_dict(self.best_state)

    def _keep(self, model: nn.Module) -> None:
        self.best_epoch = self.epoch
        self.best_state = {key: value.detach().cpu().clone() for key, value in model.state_dict().items()}
