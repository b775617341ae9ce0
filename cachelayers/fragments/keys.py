"""The keys of fragments: one per variant and per version of the code.

`serving` and `lists` build their keys here.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

from cachelayers.canonical import Unstable, canonical_form, canonical_str
from cachelayers.conf import package_settings
from cachelayers.fragments.canonical import canonical_arguments

LONGEST_NAME = 150  # characters; with "fragment:" it is a tag, which must fit the column of the log
LONGEST_HEAD = 150  # a key with digests has at most 240 characters; memcached allows 250
UNSAFE_IN_KEYS = re.compile(r"[^!-~]")


def tag_of_name(name: str) -> str:
    """Return the tag that invalidates every variant of a fragment: ``fragment:<name>``."""
    return f"fragment:{name}"


def check_name(name: object) -> str:
    """Return a fragment's name. ValueError, whose text ends a sentence."""
    if not isinstance(name, str) or not name:
        raise ValueError(f"its name is {name!r}. Write it in quotes.")
    if len(name) > LONGEST_NAME:
        raise ValueError(f"its name has {len(name)} characters. Use at most {LONGEST_NAME}.")
    if not name.isprintable():
        raise ValueError(f"its name {name!r} has control characters. Leave them out.")
    return str(name)


def digest_of(*texts: str) -> str:
    """Return one digest of all texts."""
    form = "".join(map(canonical_str, texts))
    return blake2b(form.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def make_key(
    name: str, arguments: Sequence[object], texts: tuple[str, ...], surroundings: str = ""
) -> str:
    """Return the key of a variant. ``texts``: such as the template's digest.

    Raises Unstable if an argument has no canonical form.
    """
    return finish_key(name, canonical_arguments(arguments), texts, surroundings)


def finish_key(name: str, form: str, texts: tuple[str, ...], surroundings: str = "") -> str:
    """Return the key of a variant. ``form``: the canonical form of its arguments.

    ``surroundings``: the form of dimensions that have too many values to remember.
    """
    head, begun = beginning_of(name, texts)
    return end_key(head, begun, form + surroundings)


def finish_keys(
    name: str, forms: Iterable[str | Unstable], texts: tuple[str, ...], surroundings: str = ""
) -> list[str | Unstable]:
    """Return the keys of many variants, or for some the reason why they have none."""
    head, begun = beginning_of(name, texts)
    return [
        one if isinstance(one, Unstable) else end_key(head, begun, one + surroundings)
        for one in forms
    ]


def canonical_each(arguments: Iterable[Sequence[object]]) -> list[str | Unstable]:
    """Return the canonical form of each argument list, or the reason why it has none."""
    forms: list[str | Unstable] = []
    for some in arguments:
        try:
            forms.append(canonical_arguments(some))
        except Unstable as error:
            forms.append(error)
    return forms


def end_key(head: str, begun: blake2b, form: str) -> str:
    digest = begun.copy()
    digest.update(form.encode("utf-8", "surrogatepass"))
    return head + digest.hexdigest()


@lru_cache(maxsize=4096)
def beginning_of(name: str, texts: tuple[str, ...]) -> tuple[str, blake2b]:
    """Return the common beginning of the keys of all variants, and their unfinished digest."""
    head = UNSAFE_IN_KEYS.sub("_", name)[:LONGEST_HEAD]
    begun = blake2b(canonical_form((name, *texts)).encode("utf-8", "surrogatepass"), digest_size=16)
    return f"{tag_of_name(head)}:", begun


# Their code changes only with their versions. DEPLOY_SALT may contain these.
OF_OTHERS = ("builtins", "django", "jinja2", "markupsafe")


def digest_of_code(functions: Iterable[Any]) -> str:
    """Return a digest of the files that define functions, and of DEPLOY_SALT.

    Functions that these call may be in other files, which only DEPLOY_SALT covers.
    """
    modules = {getattr(function, "__module__", None) or "builtins" for function in functions}
    own = sorted(module for module in modules if module.partition(".")[0] not in OF_OTHERS)
    return digest_of(
        package_settings().DEPLOY_SALT, *(text for name in own for text in (name, source_of(name)))
    )


@lru_cache(maxsize=1024)
def source_of(module: str) -> str:
    """Return the text of a module's file, or "" if it has none."""
    file = getattr(sys.modules.get(module), "__file__", None)
    try:
        return Path(file).read_text(errors="replace") if file else ""
    except OSError:
        return ""
