"""Folds case and accents of texts, for the search."""

import unicodedata


def fold(text: str) -> str:
    """Return the text in lower case, without accents, with single spaces.

    >>> fold("  São  Tomé ")
    'sao tome'
    """
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    letters = "".join(letter for letter in decomposed if not unicodedata.combining(letter))
    return " ".join(letters.split())
