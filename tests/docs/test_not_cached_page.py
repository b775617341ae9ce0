"""The page on values that are not cached quotes every message of the code, and no other."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from cachelayers.invalidation.sql.tokens import Source
from tests.docs.test_links import prose_of
from tests.environment import PROJECT

PACKAGE = PROJECT / "cachelayers"
# Where the code says why something is not cached, and the calls whose argument is the reason.
REASONS = {
    "fragments/serving.py": ("refuse", "warn_once", "reasons.append"),
    "fragments/markup.py": ("obstacles.append",),
    "fragments/nodes.py": ("obstacles.append",),
    "fragments/jinja.py": ("obstacles.append",),
    "invalidation/reports.py": ("logger.warning",),
}
# Functions that return or yield reasons.
REASONING = {
    "fragments/serving.py": ("explain",),
    "invalidation/sql/analysis.py": ("_doubt_of", "_doubts_of_names"),
    "invalidation/sql/statements.py": ("doubt_of",),
}


def texts_in(node: ast.AST) -> Iterator[str]:
    """Yield a piece of text from each literal."""
    for part in ast.walk(node):
        if isinstance(part, ast.Constant) and isinstance(part.value, str) and " " in part.value:
            yield part.value


def reasons_in_code() -> Iterator[str]:
    yield from (source.value for source in Source)
    for path, names in REASONS.items():
        tree = ast.parse((PACKAGE / path).read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(names):
                yield "".join(map(str, texts_in(node.args[0])))
    for path, names in REASONING.items():
        tree = ast.parse((PACKAGE / path).read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and node.name in names:
                for one in ast.walk(node):
                    if isinstance(one, ast.Return | ast.Yield) and one.value is not None:
                        yield "".join(map(str, texts_in(one.value)))


def quotes_on_page() -> list[str]:
    """Return the quoted messages, without the parts for which dots stand."""
    rows = re.findall(r"^\| (`.*?) \| ", prose_of(PROJECT / "docs/not_cached.md"), re.MULTILINE)
    return [quote for row in rows for quote in re.findall(r"`([^`]{12,})`", row)]


def literal_parts(quote: str) -> list[str]:
    return [part for part in re.split(r"\s*'?\.\.\.'?\s*|: it |^it ", quote) if len(part) > 8]


def test_every_reason_in_the_code_is_on_the_page() -> None:
    parts = [part for quote in quotes_on_page() for part in literal_parts(quote)]

    reasons = [reason for reason in reasons_in_code() if reason.strip()]
    assert len(reasons) > 20
    assert [reason for reason in reasons if not any(part in reason for part in parts)] == []


def test_every_quoted_message_is_in_the_code() -> None:
    code = "".join(
        "".join(texts_in(ast.parse(path.read_text(encoding="utf-8"))))
        for path in PACKAGE.rglob("*.py")
    )

    assert [
        part for quote in quotes_on_page() for part in literal_parts(quote) if part not in code
    ] == []
