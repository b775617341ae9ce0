"""A process that renders pages of fragments, or edits their rows, by commands on its input.

It answers each line with a line of JSON.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import django

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.consistency.settings"
django.setup()

from django.conf import settings  # noqa: E402
from django.db import transaction  # noqa: E402

from cachelayers import unit_of_work  # noqa: E402
from tests.fragments.engines import ENGINES  # noqa: E402
from tests.library.models import Book  # noqa: E402

STORE, DATABASE, ENGINE = sys.argv[1:4]
LEASE_SECONDS = 1
rendered: list[int] = []
waiting_seconds = [0.0]  # while each block is rendered


def answer(found: Any) -> None:
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.flush()


# The functions that templates call: plain functions, which hold no data


def tick() -> str:
    rendered.append(1)
    time.sleep(waiting_seconds[0])
    return ""


def hang() -> str:
    answer("rendering")
    time.sleep(60)
    return ""


def titles() -> str:
    return " ".join(book.title for book in books())


def books() -> list[Book]:
    return list(Book.objects.using(DATABASE).order_by("pk"))


def show(tick: Callable[[], str]) -> str:
    """The view: read the rows and render the page, in one unit of work."""
    with unit_of_work():
        names = {"tick": tick, "titles": titles, "books": books()}
        return templates.render_here("page", None, **names)


# Commands


def render() -> dict[str, Any]:
    """Render the page in a unit of work; return each half of it, and what was rendered."""
    rendered.clear()
    read, rows = show(tick).split("|")
    return {"read": read.split(), "rows": rows.split(), "rendered": len(rendered)}


def render_cold(begin: str, seconds: str) -> dict[str, Any]:
    """Render it at a given time, slowly."""
    waiting_seconds[0] = float(seconds)
    time.sleep(max(0.0, float(begin) - time.time()))
    return render()


def render_and_hang() -> None:
    """Begin to render the page, and never finish."""
    show(hang)


def edit(key: str | int, title: str) -> str:
    with transaction.atomic(DATABASE):
        Book.objects.using(DATABASE).filter(pk=key).update(title=title)
    return "done"


def edit_for(seconds: str, least_edits: str) -> int:
    """Change rows one after the other, with increasing numbers; return how often.

    At least so many times, like render_for().
    """
    end, edits = time.monotonic() + float(seconds), 0
    keys = [book.pk for book in books()]
    number = max(map(int, titles().split()))
    while time.monotonic() < end or edits < int(least_edits):
        edits += 1
        edit(keys[edits % len(keys)], str(number + edits))
        time.sleep(0.01)
    return edits


def render_for(seconds: str, least_pages: str) -> dict[str, Any]:
    """Render the page repeatedly, and compare it with the rows before and after.

    At least so many times, because on a busy machine the time is soon over.
    """
    end = time.monotonic() + float(seconds)
    found: dict[str, Any] = {"pages": 0, "made": 0, "stale": [], "unseen": []}
    while time.monotonic() < end or found["pages"] < int(least_pages):
        before = titles().split()
        page = render()
        after = titles().split()
        found["pages"] += 1
        found["made"] += page["rendered"]
        for half in (page["read"], page["rows"]):
            for least, shown, most in zip(before, half, after, strict=True):
                if int(shown) < int(least):
                    found["stale"].append([least, shown, most])
                if int(shown) > int(most):
                    found["unseen"].append([least, shown, most])
    return found


ORDERS = {
    order.__name__: order
    for order in (render, render_cold, render_and_hang, edit, edit_for, render_for)
}


def main() -> None:
    answer("ready")
    for line in sys.stdin:
        name, *arguments = line.split()
        answer(ORDERS[name](*arguments))


if __name__ == "__main__":
    settings.CACHELAYERS = {
        **settings.CACHELAYERS,
        "ALIAS": STORE,
        "LEASE_SECONDS": LEASE_SECONDS,
    }
    templates = ENGINES[ENGINE]()
    templates.write(
        page=templates.fragment(templates.show("tick") + templates.show("titles"), "titles")
        + "|"
        + templates.fragments(templates.show("tick") + "{{ book.title }} ", "row", "book in books")
    )
    main()
