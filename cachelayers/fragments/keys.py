"""The keys of fragments: one for each variant, and for each version of the code behind it."""

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

LONGEST_NAME = 150  # characters; with "fragment:" it is a word, which the log's column must hold
LONGEST_HEAD = 150  # with the digests a key has at most 240 characters; memcached takes 250
UNSAFE_IN_KEYS = re.compile(r"[^!-~]")


def word_of(name: str) -> str:
    """Return the word that invalidates every variant of a name: ``invalidate("fragment:...")``."""
    return f"fragment:{name}"


def check_name(name: object) -> str:
    """Return a fragment's name; ValueError, as the end of a sentence, for what is none."""
    if not isinstance(name, str) or not name:
        raise ValueError(f"its name is {name!r}. Write it in quotes.")
    if len(name) > LONGEST_NAME:
        raise ValueError(f"its name has {len(name)} characters. Use at most {LONGEST_NAME}.")
    if not name.isprintable():
        raise ValueError(f"its name {name!r} has control characters. Leave them out.")
    return str(name)


def digest_of(*texts: str) -> str:
    """Return a digest that no other texts have."""
    form = "".join(map(canonical_str, texts))
    return blake2b(form.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def make_key(name: str, arguments: Sequence[object], texts: tuple[str, ...]) -> str:
    """Return the key of a variant. ``texts``: what else tells it, such as the template's digest.

    Raises Unstable where an argument has nothing that tells it from others.
    """
    return finish_key(name, canonical_arguments(arguments), texts)


def finish_key(name: str, form: str, texts: tuple[str, ...], place: str = "") -> str:
    """Return the key of a variant, of the spelling of its arguments.

    ``place``: what else it is told by, which differs too much to be remembered as texts are.
    """
    head, begun = beginning_of(name, texts)
    return end_key(head, begun, form + place)


def finish_keys(
    name: str, forms: Iterable[str | Unstable], texts: tuple[str, ...], place: str = ""
) -> list[str | Unstable]:
    """Return the keys of many variants, in place of those that can have none the reason."""
    head, begun = beginning_of(name, texts)
    return [
        one if isinstance(one, Unstable) else end_key(head, begun, one + place) for one in forms
    ]


def canonical_each(arguments: Iterable[Sequence[object]]) -> list[str | Unstable]:
    """Return the spelling of each of several argument lists, or why there is none."""
    forms: list[str | Unstable] = []
    for some in arguments:
        try:
            forms.append(canonical_arguments(some))
        except Unstable as error:
            forms.append(error)
    return forms


def end_key(head: str, begun: blake2b, form: str) -> str:
    """Return a key, of what it begins with and the spelling of the arguments."""
    digest = begun.copy()
    digest.update(form.encode("utf-8", "surrogatepass"))
    return head + digest.hexdigest()


@lru_cache(maxsize=4096)
def beginning_of(name: str, texts: tuple[str, ...]) -> tuple[str, blake2b]:
    """Return what the keys of all variants begin with, and the digest that they end with, begun."""
    head = UNSAFE_IN_KEYS.sub("_", name)[:LONGEST_HEAD]
    begun = blake2b(canonical_form((name, *texts)).encode("utf-8", "surrogatepass"), digest_size=16)
    return f"{word_of(head)}:", begun


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
