"""The process of `filterlens.process.isolated.IsolatedCheck`: loads one program, and answers until its parent ends.

Run as `python -I -S isolated_program.py PROGRAM FOLDER…` with the folders of what the program imports: nothing of
filterlens is imported, so that it starts in a tenth of a second, and what hangs or crashes a library ends it alone.
One JSON object a line comes in (`path`, `options`, `seconds`), one goes out: `refused`, empty where all is well, and
`last`, where this process is not to be asked again.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import resource
import signal
import sys
from types import ModuleType
from typing import Final

MEMORY: Final = 1 << 30  # bytes that a check may take beyond what the imports took


def limit_memory() -> None:
    """Bound the address space at what is taken now and `MEMORY` more."""
    with contextlib.suppress(OSError, ValueError), open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123
        taken = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY, taken + MEMORY))


def load(path: str) -> ModuleType:
    """Load the program."""
    spec = importlib.util.spec_from_file_location("program", path)
    if spec is None or spec.loader is None:
        raise ImportError(path)
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    return program


def refusal(program: ModuleType, path: str, options: dict[str, object]) -> str:
    """Say in one line why a file is not to be read; empty where it may be."""
    try:
        program.check(path, **options)
    except MemoryError:
        return f"checking it takes more than {MEMORY >> 20} MB"
    except Exception as error:  # noqa: BLE001 - whatever a library makes of a damaged file
        return " ".join(str(error).split())[:300] or type(error).__name__
    return ""


def main() -> None:
    """Answer until the parent closes the pipe, or has ended."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.path.extend(sys.argv[2:])
    program = load(sys.argv[1])
    limit_memory()
    for line in sys.stdin.buffer:
        asked = json.loads(line)
        # processor time, whatever the machine's load; the signal ends the process, also inside a library
        signal.setitimer(signal.ITIMER_PROF, asked["seconds"])
        refused = refusal(program, asked["path"], asked["options"])
        signal.setitimer(signal.ITIMER_PROF, 0)
        sys.stdout.buffer.write(json.dumps({"refused": refused, "last": program.is_spent()}).encode() + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
