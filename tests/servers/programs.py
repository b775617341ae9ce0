"""Find the programs of servers, and folders and accounts for them."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import tempfile
from pathlib import Path

# Debian keeps servers where an ordinary user's PATH does not look.
MORE_FOLDERS = ("/usr/sbin", "/usr/local/sbin", "/usr/local/bin", "/usr/libexec", "/sbin")


def find_program(program: str, folders: list[str]) -> str | None:
    path = os.pathsep.join([*folders, os.environ.get("PATH", os.defpath), *MORE_FOLDERS])
    return shutil.which(program, path=path)


def explain_missing_module(module: str, requirement: str) -> str | None:
    if importlib.util.find_spec(module) is None:
        return f"the Python package {module} is not installed (pip install {requirement})"
    return None


def account_exists(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def make_folder(prefix: str) -> Path:
    """Make a temporary folder that a server's account can reach."""
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=reachable_folder()))
    folder.chmod(0o755)
    return folder


def reachable_folder() -> Path:
    folder = Path(tempfile.gettempdir()).resolve()
    if os.geteuid() == 0 and not all(
        path.stat().st_mode & 0o001 for path in (folder, *folder.parents)
    ):
        return Path("/tmp")
    return folder
