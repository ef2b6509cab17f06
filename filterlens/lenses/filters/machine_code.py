"""Importing this module calls every compiled loop of an analysis once: the machine code is in memory, for forks too."""

from __future__ import annotations

import numpy as np

from filterlens.dumps.rows import fletcher32
from filterlens.lenses.filters import kernels

_rows = np.ones((1, 9), np.float32)
_tops = np.empty(1, np.float32)
_frame = (np.zeros((1, 9), np.float32), np.zeros((1, 9, 9), np.float32), np.zeros((1, 2), np.float32))
kernels.maxima(_rows, _tops)
kernels.scatter(_rows, _tops, 0.0)
kernels.widen(_rows, _tops, 0.0, *_frame)
kernels.count(_rows, _tops, 0.0, *_frame, np.ones(1, np.int64), np.zeros((1, 9, 1), np.int64))
fletcher32(np.zeros(2, np.uint16))
