"""Keep the site's secret key in a file of its own. Called by the settings."""

import os
import secrets
import tempfile
from pathlib import Path


def read_or_create_secret_key(path: Path) -> str:
    """Return the key in the file, which is made at the first call, readable by its owner only."""
    if not path.exists():
        create_secret_key(path)
    return path.read_text(encoding="ascii").strip()


def create_secret_key(path: Path) -> None:
    # Written aside and then linked: of two workers that start together one makes the key,
    # and neither reads half of it. (mkstemp makes a file that only its owner can read.)
    descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(secrets.token_urlsafe(50))
    try:
        os.link(draft, path)
    except FileExistsError:
        pass  # Another worker was first, and its key counts.
    finally:
        Path(draft).unlink()
