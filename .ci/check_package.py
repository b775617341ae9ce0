"""Build the wheel as a user would get it, and look that nothing is missing or too much in it."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
PACKAGE = PROJECT / "cachelayers"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        wheel = build_wheel(Path(folder))
        names = set(zipfile.ZipFile(wheel).namelist())
    missing = expected_names() - names
    surplus = {name for name in names if not is_expected_place(name)}
    if missing or surplus:
        sys.exit(f"{wheel.name} lacks {sorted(missing)}, and should not hold {sorted(surplus)}.")
    sys.stdout.write(f"{wheel.name} holds all {len(expected_names())} files of cachelayers/.\n")


def build_wheel(folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "wheel", "-qq", "--no-deps", "--wheel-dir"]
    subprocess.run([*command, str(folder), str(PROJECT)], check=True)
    (wheel,) = folder.glob("django_cachelayers-*.whl")
    return wheel


def expected_names() -> set[str]:
    """Return every file of the package: modules, py.typed, migrations, templates, static files."""
    return {
        str(path.relative_to(PROJECT))
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    } | {"cachelayers/py.typed", "cachelayers/migrations/__init__.py"}


def is_expected_place(name: str) -> bool:
    return name.startswith(("cachelayers/", "django_cachelayers-"))


if __name__ == "__main__":
    main()
