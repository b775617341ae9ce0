"""{% fragment %}: what is cached, under which key, and how long."""

from __future__ import annotations

import time
from typing import Any

import pytest
from django.core.cache import caches
from django.template import TemplateSyntaxError
from jinja2 import TemplateSyntaxError as JinjaSyntaxError
from pytest_django import Settings

from cachelayers import disabled
from cachelayers.fragments.keys import make_key
from tests.fragments.conftest import Counter, plain
from tests.fragments.engines import JinjaTemplates, Templates
from tests.library.models import Author, Book


def test_a_fragment_is_rendered_once(templates: Templates, tick: Counter) -> None:
    body = f"<b>{templates.show('tick')}kept</b>"
    templates.write(page=templates.fragment(body, "card"))

    shown = [templates.render("page", tick=tick) for _ in range(3)]

    assert shown == ["<b>kept</b>"] * 3
    assert tick.since() == 1


def test_where_caching_is_disabled_it_is_rendered_each_time(
    templates: Templates, tick: Counter
) -> None:
    body = f"<b>{templates.show('tick')}kept</b>"
    templates.write(page=templates.fragment(body, "card"))

    with disabled():
        shown = [templates.render("page", tick=tick) for _ in range(2)]
    templates.render("page", tick=tick)

    assert shown == ["<b>kept</b>"] * 2
    assert tick.since() == 3


def test_what_is_kept_is_escaped_once(templates: Templates) -> None:
    templates.write(page=templates.fragment("{{ text }}", "card", "text"))

    shown = [templates.render("page", text="<i> & 'x'") for _ in range(2)]

    assert (
        shown == ["&lt;i&gt; &amp; &#x27;x&#x27;"] * 2
        or shown == ["&lt;i&gt; &amp; &#39;x&#39;"] * 2
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 2),
        (1, "1"),
        (1, True),
        (None, ""),
        ("ab", ("a", "b")),
        ([1, 2], [2, 1]),
        ({"a": 1}, {"a": 2}),
    ],
)
def test_arguments_tell_variants_apart(
    templates: Templates, one: Any, other: Any, tick: Counter
) -> None:
    templates.write(page=templates.fragment(templates.show("tick"), "card", "given"))

    rendered = []
    for given in (one, other, one):
        templates.render("page", given=given, tick=tick)
        rendered.append(tick.since())

    assert rendered == [1, 1, 0]


def test_names_tell_fragments_apart(templates: Templates) -> None:
    blocks = [templates.fragment(name, name) for name in ("first", "second", "a b:c", "a_b:c")]
    templates.write(page=" ".join(blocks))

    assert [templates.render("page") for _ in range(2)] == ["first second a b:c a_b:c"] * 2


def test_a_key_is_one_that_every_cache_takes() -> None:
    key = make_key("caf\u00e9 au lait" * 10, ["x" * 1000, None], ("a text",))

    assert key.isascii()
    assert key.isprintable()
    assert " " not in key
    assert len(key) <= 240


def test_instances_are_identified_by_their_rows_not_by_their_texts(
    templates: Templates, author: Author
) -> None:
    books = [Book.objects.create(title="Maps", author=author) for _ in range(2)]
    templates.write(page=templates.fragment("{{ book.pk }}", "card", "book"))

    shown = [templates.render("page", book=book) for book in [*books, *books]]

    assert shown == [str(book.pk) for book in [*books, *books]]


def test_a_query_that_was_run_is_identified_by_its_rows(
    templates: Templates, author: Author, tick: Counter
) -> None:
    templates.write(page=templates.fragment(templates.show("tick"), "list", "books"))
    first, second = (Book.objects.create(title=title, author=author) for title in "ab")
    templates.render("page", books=[], tick=tick)  # this process has read the log since

    rendered = []
    for books in (
        Book.objects.order_by("pk"),
        Book.objects.filter(pk=first.pk),
        Book.objects.filter(pk__in=[first.pk, second.pk]).order_by("title"),
        [first, second],  # a block may ask for its count, which a list has not
    ):
        tick.since()
        assert len(books)
        templates.render("page", books=books, tick=tick)
        rendered.append(tick.since())

    assert rendered == [1, 1, 0, 1]


class Speaking:
    """It is neither a value nor a row, but it has a text."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __str__(self) -> str:
        return self.text


def test_an_object_is_identified_by_what_it_holds(templates: Templates, tick: Counter) -> None:
    templates.write(page=templates.fragment(f"{templates.show('tick')}x", "card", "given"))

    for text in ("one", "two", "one"):
        templates.render("page", given=Speaking(text), tick=tick)

    assert tick.since() == 2


class AlsoSpeaking(Speaking):
    """Another class."""


def test_things_of_two_kinds_with_one_text_are_distinguished(
    templates: Templates, tick: Counter
) -> None:
    templates.write(page=templates.fragment(templates.show("tick"), "card", "given"))

    for given in (Speaking("one"), AlsoSpeaking("one")):
        templates.render("page", given=given, tick=tick)

    assert tick.since() == 2


def test_an_argument_that_holds_itself_has_a_key(templates: Templates, tick: Counter) -> None:
    templates.write(page=templates.fragment(templates.show("tick"), "card", "given"))
    given: list[Any] = [1]
    given.append(given)

    for _ in range(2):
        templates.render("page", given=given, tick=tick)

    assert tick.since() == 1


@pytest.mark.parametrize("given", [object(), [object()], Book(title="unsaved")])
def test_what_tells_nothing_is_rendered_each_time_with_one_warning(
    templates: Templates, tick: Counter, caplog: pytest.LogCaptureFixture, given: Any
) -> None:
    templates.write(page=templates.fragment(f"{templates.show('tick')}x", "card", "given"))

    shown = [templates.render("page", given=given, tick=tick) for _ in range(3)]

    assert shown == ["x"] * 3
    assert tick.since() == 3
    assert len(caplog.records) == 1
    assert "page.html, line 1: the fragment 'card' is not cached" in caplog.text


def test_it_is_rendered_again_after_its_time(
    templates: Templates, tick: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    templates.write(page=templates.fragment(templates.show("tick"), "card", timeout="60"))
    templates.render("page", tick=tick)
    now = time.time()

    monkeypatch.setattr(time, "time", lambda: now + 59)
    templates.render("page", tick=tick)
    before = tick.since()
    monkeypatch.setattr(time, "time", lambda: now + 61)
    templates.render("page", tick=tick)

    assert (before, tick.since()) == (1, 1)


def test_a_stale_one_is_rendered_by_the_caller_that_finds_it(
    templates: Templates, tick: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = templates.fragment(f"{templates.show('tick')}x", "card", timeout="60", stale="60")
    templates.write(page=source)
    templates.render("page", tick=tick)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 61)

    templates.render("page", tick=tick)
    after_the_first = tick.since()
    templates.render("page", tick=tick)

    assert (after_the_first, tick.since()) == (2, 0)


@pytest.mark.parametrize("timeout", ["None", '"60"', "60.5", "seconds"])
def test_a_timeout_is_a_number_a_text_a_variable_or_none(
    templates: Templates, tick: Counter, timeout: str
) -> None:
    templates.write(page=templates.fragment(templates.show("tick"), "card", timeout=timeout))

    for _ in range(2):
        templates.render("page", tick=tick, seconds=60)

    assert tick.since() == 1


def test_a_timeout_of_0_keeps_nothing(templates: Templates, tick: Counter) -> None:
    templates.write(page=templates.fragment(templates.show("tick"), "card", timeout="0"))

    for _ in range(2):
        templates.render("page", tick=tick)

    assert tick.since() == 2


def test_it_is_kept_in_the_chosen_cache(templates: Templates, tick: Counter) -> None:
    templates.write(
        page=templates.fragment(templates.show("tick"), "card", using='"memory"'),
    )
    caches["memory"].clear()
    templates.render("page", tick=tick)

    caches["memory_table"].clear()
    templates.render("page", tick=tick)
    caches["memory"].clear()
    templates.render("page", tick=tick)

    assert tick.since() == 2


def test_it_is_kept_in_django_s_alias_for_fragments_where_there_is_one(
    templates: Templates, tick: Counter, settings: Settings
) -> None:
    memory = {"BACKEND": "cachelayers.backends.MemoryCache", "LOCATION": "for fragments"}
    settings.CACHES = {**settings.CACHES, "template_fragments": memory}
    templates.write(page=templates.fragment(templates.show("tick"), "card"))
    templates.render("page", tick=tick)

    caches["template_fragments"].clear()
    templates.render("page", tick=tick)

    assert tick.since() == 2


def test_settings_that_change_count_for_a_tag_that_was_used_before(
    templates: Templates, tick: Counter, settings: Settings
) -> None:
    templates.write(page=templates.fragment(templates.show("tick"), "card", timeout="60"))
    templates.render("page", tick=tick)

    caches["memory"].clear()
    settings.CACHELAYERS = {**settings.CACHELAYERS, "ALIAS": "memory"}
    templates.render("page", tick=tick)

    assert tick.since() == 2


def test_an_option_that_varies_counts_each_time(templates: Templates, tick: Counter) -> None:
    source = templates.fragment(templates.show("tick"), "card", timeout="seconds")
    templates.write(page=source)
    templates.render("page", tick=tick, seconds=0)

    for _ in range(2):
        templates.render("page", tick=tick, seconds=60)

    assert tick.since() == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"timeout": '"soon"'}, "'soon' is no number of seconds"),
        ({"timeout": "-1"}, "timeout is -1"),
        ({"timeout": "missing"}, "no number of seconds"),
        ({"stale": "true_value"}, "stale is True"),
        ({"freshness": "-1"}, "freshness is -1"),
        ({"freshness": '"soon"'}, "'soon' is no number of seconds"),
        ({"using": '"nowhere"'}, "using='nowhere' is no alias of CACHES"),
        ({"tags": '"a,,b"'}, "A tag is empty"),
        ({"tags": "number"}, "A tag is a string, not 5"),
    ],
)
def test_an_option_that_is_invalid_is_refused_with_its_location(
    templates: Templates, options: dict[str, str], message: str
) -> None:
    templates.write(page="\n" + templates.fragment("x", "card", **options))

    with pytest.raises(
        TemplateSyntaxError, match=r"page.html, line 2: .* cannot be cached"
    ) as info:
        templates.render("page", true_value=True, number=5, missing="")

    assert message in str(info.value)


def test_a_template_without_a_name_is_said_to_have_none() -> None:
    template = JinjaTemplates().environment.from_string(
        "{% fragment 'card', timeout=-1 %}x{% endfragment %}"
    )

    with pytest.raises(TemplateSyntaxError, match="a template without a name, line 1"):
        template.render()


@pytest.mark.parametrize("options", [{"vary": "1"}, {"key": '"x"'}])
def test_an_unknown_option_is_refused_with_those_that_there_are(
    templates: Templates, options: dict[str, str]
) -> None:
    templates.write(page=templates.fragment("x", "card", **options))

    with pytest.raises(
        (TemplateSyntaxError, JinjaSyntaxError), match="timeout, stale, tags, using"
    ):
        templates.render("page")


def test_an_option_that_is_given_twice_is_refused(templates: Templates) -> None:
    tag = templates.fragment("x", "card", timeout="1")
    templates.write(page=tag.replace("timeout=1", "timeout=1 timeout=2"))

    with pytest.raises((TemplateSyntaxError, JinjaSyntaxError), match="twice"):
        templates.render("page")


@pytest.mark.parametrize("name", ["", "x" * 151, "a\x00b"])
def test_a_name_that_is_none_is_refused(templates: Templates, name: str) -> None:
    tag = templates.fragment("x", "NAME").replace('"NAME"', "given")
    templates.write(page=tag)

    with pytest.raises(TemplateSyntaxError, match="its name"):
        templates.render("page", given=name)


def test_a_tag_without_a_name_is_refused(templates: Templates) -> None:
    templates.write(page="{% fragment %}x{% endfragment %}")

    with pytest.raises((TemplateSyntaxError, JinjaSyntaxError), match="has no name"):
        templates.render("page")


def test_a_stale_one_is_served_where_rendering_it_anew_fails(
    templates: Templates, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    source = templates.fragment(templates.show("call"), "card", timeout="60", stale="60")
    templates.write(page=source)
    templates.render("page", call=plain(lambda: "kept"))
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 61)

    def fail() -> str:
        raise ZeroDivisionError("the view's own")

    assert [templates.render("page", call=plain(fail)) for _ in range(2)] == ["kept"] * 2
    assert caplog.text.count("its refresh failed") == 1


def test_a_cache_that_is_down_means_it_is_rendered(
    templates: Templates, tick: Counter, settings: Settings
) -> None:
    settings.CACHES = {
        **settings.CACHES,
        "down": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": "redis://127.0.0.1:9/0",
        },
    }
    source = templates.fragment(f"{templates.show('tick')}x", "card", using='"down"')
    templates.write(page=source)

    assert [templates.render("page", tick=tick) for _ in range(2)] == ["x", "x"]
    assert tick.since() == 2
