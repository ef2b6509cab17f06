"""filterlens: what a vision checkpoint's weights and feature maps give away."""

from __future__ import annotations

__version__ = "0.1.0"
