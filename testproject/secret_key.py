"""Stores the site's secret key in a file, for the settings."""

import os
import secrets
import tempfile
from pathlib import Path


def read_or_create_secret_key(path: Path) -> str:
    """Return the key in the file. The first call creates it, readable by its owner only."""
    if not path.exists():
        create_secret_key(path)
    return path.read_text(encoding="ascii").strip()


def create_secret_key(path: Path) -> None:
    # Written to a temporary file and then linked: of two workers that start at the same time, one
    # creates the key, and neither reads half of it. (mkstemp makes a file that only its owner can
    # read.)
    descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(secrets.token_urlsafe(50))
    try:
        os.link(draft, path)
    except FileExistsError:
        pass  # another worker was first, and its key is used
    finally:
        Path(draft).unlink()
