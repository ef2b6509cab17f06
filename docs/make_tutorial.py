"""Run docs/tutorial.ipynb and keep its outputs: `python docs/make_tutorial.py [TARGET]` (default: in place)."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).with_name("tutorial.ipynb")


def main() -> None:
    """Execute every cell in a kernel of this Python; a cell that fails ends with its traceback."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else NOTEBOOK
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    with TemporaryDirectory() as folder:
        os.environ |= {"JUPYTER_RUNTIME_DIR": folder, "IPYTHONDIR": folder, "OMP_NUM_THREADS": "1"}
        # sockets of this user's in that folder: the kernel listens on no network
        kernel = AsyncKernelManager(kernel_name="python3", transport="ipc", ip=f"{folder}/kernel")
        NotebookClient(notebook, km=kernel, timeout=280, record_timing=False).execute(cwd=folder)
    notebook.metadata["language_info"] = {"name": "python"}
    nbformat.write(notebook, target)


if __name__ == "__main__":
    main()
