"""`make bench`: every benchmark in turn, each a table of ratios measured side by side in one run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPTS = ("filter_scores", "analysis", "capture", "flatness", "audits")


def main() -> None:
    for name in SCRIPTS:
        print(f"\n## {name}\n", flush=True)
        subprocess.run([sys.executable, Path(__file__).with_name(f"{name}.py")], check=True)


if __name__ == "__main__":
    main()
