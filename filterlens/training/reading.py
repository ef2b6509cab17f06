"""What a monitor returns."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Reading"]


@dataclass(frozen=True, slots=True)
class Reading:
    """Scores at one moment.

    Parameters
    ----------
    model
        The model's mean by metric, as a report would give it.
    layers
        The same for every layer, by name.

    Examples
    --------
    >>> Reading({"sparsity": 0.1}, {"conv1": {"sparsity": 0.1}}).flat("train/")
    {'train/sparsity': 0.1, 'train/sparsity/conv1': 0.1}
    """

    model: dict[str, float]
    layers: dict[str, dict[str, float]]

    def flat(self, prefix: str = "") -> dict[str, float]:
        """Return every number under one name for a logger, such as `aliasing` and `aliasing/layer2.0.conv1`."""
        found = {f"{prefix}{metric}": value for metric, value in self.model.items()}
        for layer, values in self.layers.items():
            found |= {f"{prefix}{metric}/{layer}": value for metric, value in values.items()}
        return found
