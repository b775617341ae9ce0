"""Make the key of an argument list: two different ones never share it. Touches no database."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

from cachelayers.entries.spelling import Draft, Unstable, spell

LONGEST_HEAD = 160  # characters; with the digest a key has at most 193, and memcached takes 250
UNSAFE_IN_KEYS = re.compile(r"[^!-~]")  # what is not printable ASCII; a space is not safe either
REQUIRED = inspect.Parameter.empty
POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class DraftGiven(TypeError):
    """An argument is, or holds, a row that was not read from a database."""


class ArgumentKeys:
    """Makes the keys of one function, called ``path`` (see path_of)."""

    def __init__(
        self, path: str, signature: inspect.Signature, *, place: str = "", held: str = ""
    ) -> None:
        """Prepare what is the same for every call.

        ``place`` and ``held`` tell functions of one path apart; where ``key=`` does, ``place``.
        """
        self.where = path.replace(":", ".")
        self._signature = signature
        self._head = UNSAFE_IN_KEYS.sub("_", self.where)[:LONGEST_HEAD]
        self._digest = self._begin_digest(path, f"arguments{place}{held}")
        self._digest_of_text = self._begin_digest(path, f"text{place}")
        self._fill_ins = [fill_in(parameter) for parameter in signature.parameters.values()]
        self._most, self._fewest = count_positional(signature)

    def key(self, arguments: tuple[Any, ...], keywords: Mapping[str, Any]) -> str:
        """Return the key of a call; TypeError where it is no call or an argument has no key."""
        values = self.values(arguments, keywords)
        try:
            spelling = "".join([spell(value) for value in values])
        except (Unstable, RecursionError):
            raise self._name_the_culprit(values) from None
        return self._finish(self._digest, spelling)

    def key_of_text(self, text: object) -> str:
        """Return the key for a text that the function's own ``key=`` has made."""
        if not isinstance(text, str):
            raise TypeError(
                f"{self.where}: key= returned {text!r} ({type(text).__name__}). It must be a str."
            )
        return self._finish(self._digest_of_text, text)

    def values(self, arguments: tuple[Any, ...], keywords: Mapping[str, Any]) -> list[Any]:
        """Return one value for each parameter, in its order, defaults filled in."""
        # inspect.Signature.bind() takes as long as all the rest, and most calls are this simple.
        if not keywords and self._fewest <= len(arguments) <= self._most:
            return [*arguments, *self._fill_ins[len(arguments) :]]
        return list(self.bind(arguments, keywords).arguments.values())

    def bind(
        self, arguments: tuple[Any, ...], keywords: Mapping[str, Any]
    ) -> inspect.BoundArguments:
        """Return a call in the one form that all its spellings have, defaults filled in."""
        try:
            bound = self._signature.bind(*arguments, **keywords)
        except TypeError as error:
            raise TypeError(f"{self.where}(): {error}") from None
        bound.apply_defaults()
        return bound

    def _begin_digest(self, path: str, kind: str) -> blake2b:
        # The parameters too: another version of the code may give their values another meaning.
        shape = [
            f"{parameter.kind}{name}" for name, parameter in self._signature.parameters.items()
        ]
        beginning = spell((path, kind, shape))
        return blake2b(beginning.encode("utf-8", "surrogatepass"), digest_size=16)

    def _finish(self, begun: blake2b, text: str) -> str:
        digest = begun.copy()
        digest.update(text.encode("utf-8", "surrogatepass"))
        return f"{self._head}:{digest.hexdigest()}"

    def _name_the_culprit(self, values: list[Any]) -> TypeError:
        for name, value in zip(self._signature.parameters, values, strict=True):
            try:
                spell(value)
            except Unstable as error:
                kind = DraftGiven if isinstance(error, Draft) else TypeError
                return kind(self._refusal(name, value, str(error)))
            except RecursionError:
                reason = "it is nested too deeply, or contains itself"
                return TypeError(self._refusal(name, value, reason))
        return TypeError(f"{self.where}(): an argument changed while its key was made.")

    def _refusal(self, name: str, value: object, reason: str) -> str:
        return (
            f"{self.where}(): the argument {name!r} ({type(value).__name__}) makes no key:"
            f" {reason}. Pass a stable value, such as its id or a string, or give cached(key=...)."
        )


def fill_in(parameter: inspect.Parameter) -> Any:
    """Return what a parameter holds when the call gives it nothing."""
    if parameter.kind is parameter.VAR_POSITIONAL:
        return ()
    return {} if parameter.kind is parameter.VAR_KEYWORD else parameter.default


def count_positional(signature: inspect.Signature) -> tuple[int, int]:
    """Return the most and the fewest arguments of a call that needs no binding by name."""
    parameters = signature.parameters.values()
    named = [parameter for parameter in parameters if parameter.kind in POSITIONAL]
    required = [parameter for parameter in named if parameter.default is REQUIRED]
    if any(
        parameter.kind is parameter.KEYWORD_ONLY and parameter.default is REQUIRED
        for parameter in parameters
    ):
        return -1, 0  # never: such a call always has keywords
    return len(named), len(required)
