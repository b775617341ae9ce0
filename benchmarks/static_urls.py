"""The cost of a static file's URL: `python -m benchmarks.static_urls`, also by `make bench`.

Renders a template with one tag for each file, with each storage and tag in turn. The peer is
Django's `{% static %}` with the manifest storage and a manifest of collectstatic.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.report import print_table

FILES = 20
FILE_BYTES = 50_000
ROUNDS = 15
ROUND_SECONDS = 0.05  # of rendering, for each contender
SEED = 20_260_101

PLAIN = "django.contrib.staticfiles.storage.StaticFilesStorage"
MANIFEST = "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"
OURS = "cachelayers.storage.HashedStaticFilesStorage"

Render = Callable[[], str]
Measure = Callable[[Render], float]


@dataclass(frozen=True, slots=True)
class Contender:
    """A tag with a storage."""

    name: str
    tag: str
    storage: str
    dev_mode: bool = False


REFERENCE = Contender("static, manifest storage", "static", MANIFEST)
CONTENDERS = (
    REFERENCE,
    Contender("static, plain storage: no hash", "static", PLAIN),
    Contender("hashed_static, plain storage", "hashed_static", PLAIN),
    Contender("hashed_static, manifest storage", "hashed_static", MANIFEST),
    Contender("static, HashedStaticFilesStorage", "static", OURS),
    Contender("static_integrity, plain storage", "static_integrity", PLAIN),
    Contender("hashed_static, plain storage, dev mode", "hashed_static", PLAIN, dev_mode=True),
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.static_urls", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args(arguments)
    with TemporaryDirectory() as folder:
        configure(Path(folder))
        collect(Path(folder))
        again = measure_in_turns(options.rounds, seconds_of_another)
        first = measure_in_turns(options.rounds, seconds_of_the_first)
        with ids_shared():
            shared = measure_in_turns(options.rounds, seconds_of_the_first)
    rows = [
        [each.name, *(cell(each, taken) for taken in (again, first, shared))] for each in CONTENDERS
    ]
    headings = ["", "when known", "the first time", "the first time, ids shared"]
    print_table(f"Microseconds a URL, {FILES} files of {FILE_BYTES:,} B", headings, rows)


def cell(contender: Contender, taken: dict[Contender, list[float]]) -> str:
    """Return the microseconds of one URL, absolute and in multiples of the reference."""
    microseconds = statistics.median(taken[contender]) / FILES * 1e6
    if contender == REFERENCE:
        return f"{microseconds:.2f}"
    pairs = zip(taken[contender], taken[REFERENCE], strict=True)
    return f"{microseconds:.2f} ({statistics.median(own / peer for own, peer in pairs):.2f}x)"


def measure_in_turns(rounds: int, measure: Measure) -> dict[Contender, list[float]]:
    """Return the seconds of one rendering, by contender, one figure for each round."""
    taken: dict[Contender, list[float]] = {contender: [] for contender in CONTENDERS}
    for _ in range(rounds):
        for contender in CONTENDERS:
            with newly_begun(contender) as render:
                taken[contender].append(measure(render))
    return taken


def seconds_of_the_first(render: Render) -> float:
    """Return the seconds of the first rendering, which finds all ids."""
    began = time.perf_counter()
    render()
    return time.perf_counter() - began


def seconds_of_another(render: Render) -> float:
    """Return the seconds of a rendering with all ids known."""
    first = render()
    count, began = 0, time.perf_counter()
    while (taken := time.perf_counter() - began) < ROUND_SECONDS:
        text = render()
        count += 1
    if text != first:
        raise AssertionError(f"{first!r} has become {text!r}")
    return taken / count


@contextmanager
def newly_begun(contender: Contender) -> Iterator[Render]:
    """Yield the rendering function, with storage and memory as in a new process."""
    from django.conf import settings
    from django.template import Context, Template
    from django.test import override_settings

    names = [f"'{name}'" for name in file_names()]
    tags = [f"{{% {contender.tag} {name} %}}" for name in names]
    template = Template("{% load static cachelayers %}" + "\n".join(tags))
    with override_settings(
        STORAGES={**settings.STORAGES, "staticfiles": {"BACKEND": contender.storage}},
        CACHELAYERS={"STATIC_DEV_MODE": contender.dev_mode},
    ):
        yield lambda: checked(template.render(Context()))


def checked(text: str) -> str:
    """Return the text if it has a value for each file, and no marker."""
    if text.count("\n") != FILES - 1 or "ERROR" in text or "\n\n" in text:
        raise AssertionError(f"not what was asked for: {text!r}")
    return text


@contextmanager
def ids_shared() -> Iterator[None]:
    """Put every id into the shared cache, as `warm_cache --static` does."""
    from django.test import override_settings

    memory = {"BACKEND": "cachelayers.backends.MemoryCache"}
    with override_settings(CACHES={"default": memory}):
        for contender in CONTENDERS:
            with newly_begun(contender) as render:
                render()
        yield


def file_names() -> list[str]:
    """Return the names in the template."""
    return [f"site/file{number}.css" for number in range(FILES)]


def configure(folder: Path) -> None:
    """Set Django up with a folder of static files and a dummy cache."""
    import django
    from django.conf import settings

    settings.configure(
        CACHES={"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}},
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        INSTALLED_APPS=["django.contrib.staticfiles", "cachelayers"],
        STATIC_ROOT=str(folder / "collected"),
        STATIC_URL="/static/",
        STATICFILES_DIRS=[str(folder / "source")],
        TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates"}],
    )
    django.setup()


def collect(folder: Path) -> None:
    """Make the files, and collect them with a manifest."""
    from django.core.management import call_command
    from django.test import override_settings

    chance = random.Random(SEED)
    for name in file_names():
        path = folder / "source" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"/* {chance.randbytes(FILE_BYTES // 2).hex()} */")
    with override_settings(STORAGES={"staticfiles": {"BACKEND": MANIFEST}}):
        call_command("collectstatic", interactive=False, verbosity=0)


if __name__ == "__main__":
    main()
