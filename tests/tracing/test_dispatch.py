"""A watched forward pass does not load torch's compiler."""

from __future__ import annotations

import subprocess
import sys

WATCHED = """
import sys
import torch
from torch import nn
from filterlens.tracing.capture import capture_downsampling
from filterlens.tracing.depth import trace

network = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3)).eval()
images = torch.rand(1, 3, 8, 8)
assert trace(network, images).places == {"0": 0, "2": 1}
found = []
with capture_downsampling(network, found.append):
    network(images)
assert [one.layer for one in found] == ["0"]
print(*sys.modules)
"""


def test_watching_loads_no_compiler() -> None:
    done = subprocess.run([sys.executable, "-c", WATCHED], capture_output=True, text=True, check=True)
    assert not {"torch._dynamo", "torch._inductor", "sympy"} & set(done.stdout.split())
