"""A hole in a fragment is rendered for each request, with the same text as without the fragment."""

from __future__ import annotations

from typing import Any

import pytest

from cachelayers.fragments.markup import current_rendering
from tests.fragments.conftest import Counter
from tests.fragments.engines import DjangoTemplates, JinjaTemplates, Templates


def test_a_hole_is_rendered_for_each_request(templates: Templates, tick: Counter) -> None:
    hole = templates.uncached("[{{ now }}]")
    templates.write(page=templates.fragment(f"a{hole}b{templates.show('tick')}{hole}c", "card"))

    shown = [templates.render("page", now=number, tick=tick) for number in range(3)]

    assert shown == [f"a[{number}]b[{number}]c" for number in range(3)]
    assert tick.since() == 1


def test_a_hole_without_a_fragment_is_just_rendered(templates: Templates) -> None:
    templates.write(page="a" + templates.uncached("{{ now }}") + "b")

    assert [templates.render("page", now=number) for number in (1, 2)] == ["a1b", "a2b"]


def test_a_hole_in_an_inner_fragment_is_one_in_the_outer_one(
    templates: Templates, tick: Counter
) -> None:
    inner = templates.fragment("i" + templates.uncached("{{ now }}"), "inner")
    templates.write(page=templates.fragment(inner + templates.show("tick") + "o", "outer"))

    shown = [templates.render("page", now=number, tick=tick) for number in range(3)]

    assert shown == ["i0o", "i1o", "i2o"]
    assert tick.since() == 1


def test_a_hole_sees_the_loop_around_the_outermost_fragment(templates: Templates) -> None:
    hole = templates.uncached("{{ item }}{{ now }}")
    templates.write(
        page=templates.loop("item", "items", templates.fragment(f"<{hole}>", "x", "item"))
    )

    shown = [templates.render("page", items="ab", now=number) for number in (1, 2)]

    assert shown == ["<a1><b1>", "<a2><b2>"]


def test_a_hole_may_use_what_no_fragment_may(templates: Templates, rf: Any) -> None:
    hole = templates.uncached("{{ csrf_token }}")
    templates.write(page=templates.fragment(f"<{hole}>", "form"))

    def shown() -> str:
        request = rf.get("/")
        request._messages = []
        return templates.render("page", request)

    first, second = shown(), shown()

    assert len(first) == len(second) > 32
    assert first != second


def test_what_users_have_written_is_not_taken_for_a_hole(templates: Templates) -> None:
    hole = templates.uncached("hole")
    templates.write(page=templates.fragment("{{ text }}" + hole, "card", "text"))
    text = "0;1; cachelayers:parts"

    assert [templates.render("page", text=text) for _ in range(2)] == [f"{text}hole"] * 2


def test_what_looks_like_another_fragment_s_hole_is_not_taken_for_one(
    templates: Templates,
) -> None:
    """The mark of a hole is different for each rendered fragment."""
    marks: list[str] = []

    def note_mark() -> str:
        rendering = current_rendering()
        assert rendering is not None
        marks.append(rendering.mark)
        return ""

    hole = templates.uncached("hole")
    body = templates.show("note_mark") + "{{ text|safe }}" + hole
    templates.write(page=templates.fragment(body, "card", "text"))
    templates.render("page", text="", note_mark=note_mark)
    text = f"{marks[0]}0;"

    shown = [templates.render("page", text=text, note_mark=note_mark) for _ in range(2)]

    assert shown == [f"{text}hole"] * 2


def test_what_stands_behind_a_hole_is_escaped_as_without_it() -> None:
    templates = DjangoTemplates()
    body = f"{{% autoescape off %}}{templates.uncached('{{ text }}')}{{% endautoescape %}}"
    templates.write(page=templates.fragment(body, "card") + "{{ text }}")

    assert [templates.render("page", text="<b>") for _ in range(2)] == ["<b>&lt;b&gt;"] * 2


def test_an_error_in_a_hole_is_the_template_s_and_the_rest_stays(
    templates: Templates, tick: Counter
) -> None:
    hole = templates.uncached(templates.show("call"))
    templates.write(page=templates.fragment(templates.show("tick") + hole, "card"))

    def fail() -> str:
        raise ZeroDivisionError("the view's own")

    with pytest.raises(ZeroDivisionError, match="the view's own"):
        templates.render("page", call=fail, tick=tick)

    assert templates.render("page", call=lambda: "fine", tick=tick) == "fine"
    assert tick.since() == 1


# What is around a hole and would change it


def test_a_hole_that_a_filter_would_change_is_rendered_with_the_rest(
    templates: Templates, caplog: pytest.LogCaptureFixture
) -> None:
    hole = templates.uncached("{{ now }}z")
    body = "{% filter upper %}a" + hole + "{% endfilter %}"
    templates.write(page=templates.fragment(body, "card"))

    shown = [templates.render("page", now=number) for number in (1, 2)]

    assert shown == ["A1Z", "A2Z"]
    assert "{% filter %} is around an {% uncached %}" in caplog.text


def test_a_block_with_a_changed_hole_is_rendered_once(templates: Templates, tick: Counter) -> None:
    body = "{% filter upper %}" + templates.show("tick") + templates.uncached("x")
    templates.write(page=templates.fragment(body + "{% endfilter %}", "card"))

    assert templates.render("page", tick=tick) == "X"
    assert tick.since() == 1


@pytest.mark.parametrize("is_included", [False, True])
@pytest.mark.parametrize(
    "tag_filter",
    ["urlencode", "escapejs", "upper", 'cut:";"'],
)
def test_a_filter_that_takes_a_hole_s_mark_apart_is_tracked(
    tag_filter: str, is_included: bool, caplog: pytest.LogCaptureFixture
) -> None:
    templates = DjangoTemplates()
    source = "{% filter FILTER %}abc{}{{ text }}{% endfilter %}".replace("FILTER", tag_filter)
    hole = templates.uncached("xyz")
    within = '{% include "part.html" %}' if is_included else hole
    templates.write(
        page=templates.fragment(source.replace("{}", within), "card"),
        part=hole,
        plain=source.replace("{}", "xyz"),
    )
    text = "some more text that is longer than the mark which stands for a hole, to be cut"

    shown = [templates.render("page", text=text) for _ in range(2)]

    assert shown == [templates.render("plain", text=text)] * 2
    reason = "something around {% uncached %} changes" if is_included else "{% filter %} is around"
    assert reason in caplog.text


@pytest.mark.parametrize("is_included", [False, True])
@pytest.mark.parametrize("tag_filter", ["force_escape", "striptags", "linebreaks"])
def test_a_filter_around_a_hole_makes_what_is_in_it_harmless(
    tag_filter: str, is_included: bool
) -> None:
    templates = DjangoTemplates()
    inner = f"{{% filter {tag_filter} %}}{{}}{{% endfilter %}}"
    body = "{% autoescape off %}{{ text }}{% endautoescape %}"
    hole = templates.uncached(body)
    within = '{% include "part.html" %}' if is_included else hole
    templates.write(
        plain=inner.replace("{}", body),
        page=templates.fragment(inner.replace("{}", within), "card"),
        part=hole,
    )
    text = "<script>\n\n1</script>"

    shown = [templates.render("page", text=text) for _ in range(2)]

    assert shown == [templates.render("plain", text=text)] * 2


def test_a_filter_around_a_hole_makes_what_is_in_it_harmless_in_jinja() -> None:
    templates = JinjaTemplates()
    body = templates.uncached("{{ text|safe }}")
    templates.write(
        page=templates.fragment("{% filter striptags %}" + body + "{% endfilter %}", "card")
    )

    assert templates.render("page", text="<script>1</script>") == "1"


@pytest.mark.parametrize(("outer", "inner"), [("off", "on"), ("on", "off")])
def test_a_hole_is_escaped_as_it_is_written(outer: str, inner: str) -> None:
    templates = DjangoTemplates()
    hole = templates.uncached("{{ text }}")
    body = f"{{% autoescape {inner} %}}{hole}{{% endautoescape %}}"
    templates.write(
        page=f"{{% autoescape {outer} %}}{templates.fragment(body, 'card')}{{% endautoescape %}}"
    )

    shown = [templates.render("page", text="<b>") for _ in range(2)]

    assert shown == ["&lt;b&gt;" if inner == "on" else "<b>"] * 2


@pytest.mark.parametrize(("outer", "inner"), [("false", "true"), ("true", "false")])
def test_a_hole_is_escaped_as_it_is_written_in_jinja(outer: str, inner: str) -> None:
    templates = JinjaTemplates()
    hole = templates.uncached("{{ text }}")
    body = f"{{% autoescape {inner} %}}{hole}{{% endautoescape %}}"
    templates.write(
        page=f"{{% autoescape {outer} %}}{templates.fragment(body, 'card')}{{% endautoescape %}}"
    )

    shown = [templates.render("page", text="<b>") for _ in range(2)]

    assert shown == ["&lt;b&gt;" if inner == "true" else "<b>"] * 2
