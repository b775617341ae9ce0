"""Tell by a digest whether the code that templates call is still the same. Used by both engines."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from cachelayers.conf import package_settings
from cachelayers.fragments.keys import digest_of

# Their code changes with their versions only, which a deploy's salt may hold.
OF_OTHERS = ("builtins", "django", "jinja2", "markupsafe")


def digest_of_code(functions: Iterable[Any]) -> str:
    """Return a digest of the files that define functions, and of the salt of the deploy.

    What these call in turn is in other files: for that there is the salt.
    """
    modules = {getattr(function, "__module__", None) or "builtins" for function in functions}
    own = sorted(module for module in modules if module.partition(".")[0] not in OF_OTHERS)
    return digest_of(
        package_settings().DEPLOY_SALT, *(text for name in own for text in (name, source_of(name)))
    )


@lru_cache(maxsize=1024)
def source_of(module: str) -> str:
    """Return the text of a module's file, or an empty one where it has none."""
    file = getattr(sys.modules.get(module), "__file__", None)
    try:
        return Path(file).read_text(errors="replace") if file else ""
    except OSError:
        return ""
