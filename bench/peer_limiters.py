"""Other Python limiters beside ours: their newest releases from the package index, in a folder of the bench's own.

They are no dependencies of the project: they are installed under the temporary folder, kept there for the next time, and looked
for after everything that is installed already. One that cannot be installed is left out, and the report says why.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path

FOLDER = Path(tempfile.gettempdir()) / "nexus-bench-limiters"
PACKAGES = {
    "limits": "limits",
    "throttled-py": "throttled",
    "aiolimiter": "aiolimiter",
    "pyrate-limiter": "pyrate_limiter",
}
"""Name in the package index -> module."""
_INSTALL_SECONDS = 300
_FROM_PIP = ("PIP_", "PATH", "HOME", "LANG", "TMPDIR", "HTTP", "http", "NO_PROXY", "no_proxy", "SSL_", "REQUESTS_")


def install() -> dict[str, str]:
    """Make them importable; returns why not, by name, for those that are not."""
    if str(FOLDER) not in sys.path:
        sys.path.append(str(FOLDER))
    trouble: dict[str, str] = {}
    for name, module in PACKAGES.items():
        importlib.invalidate_caches()
        if importlib.util.find_spec(module) is None:
            why = _install(name)
            importlib.invalidate_caches()
            if importlib.util.find_spec(module) is None:
                trouble[name] = why or "it is not there after its installation"
    return trouble


def _install(name: str) -> str:
    environment = {key: value for key, value in os.environ.items() if key.startswith(_FROM_PIP)}
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--target",
        str(FOLDER),
        name,
    ]
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, timeout=_INSTALL_SECONDS
        )
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    lines = [line for line in done.stderr.splitlines() if "ERROR" in line]
    return (lines[-1] if lines else f"pip ended with code {done.returncode}") if done.returncode else ""


def version(name: str) -> str:
    """Return the version that is measured."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""
