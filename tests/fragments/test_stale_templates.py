"""A deploy never shows old markup: the key covers the templates and the code of a fragment."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from pytest_django import Settings

from cachelayers.fragments import keys
from tests.fragments.conftest import Counter
from tests.fragments.engines import DjangoTemplates, Templates
from tests.fragments.views import counted


@pytest.mark.parametrize("name", ["page", "included", "deeper"])
def test_a_change_of_a_template_that_it_is_made_of_makes_it_anew(
    templates: Templates, tick: Counter, name: str
) -> None:
    texts = {
        "page": counted(templates, '{% include "included.html" %}'),
        "included": 'i{% include "deeper.html" %}',
        "deeper": "d",
    }
    templates.write(**texts)
    templates.render("page", tick=tick)
    tick.since()

    templates.write(**{name: f"{texts[name]}!"})
    after = templates.render("page", tick=tick)

    assert after == "id!"
    assert tick.since() == 1


def test_a_deploy_that_changes_other_templates_leaves_it(
    templates: Templates, tick: Counter
) -> None:
    templates.write(page=counted(templates, "x"), other="x")
    templates.render("page", tick=tick)

    templates.write(other="y")
    templates.render("page", tick=tick)

    assert tick.since() == 1


def test_going_back_to_an_older_template_finds_what_was_made_with_it(
    templates: Templates, tick: Counter
) -> None:
    """Old and new workers run at the same time during a rolling deploy."""
    old, new = (counted(templates, body) for body in ("old", "new"))
    shown = []

    for source in (old, new, old, new):
        templates.write(page=source)
        shown.append(templates.render("page", tick=tick))

    assert shown == ["old", "new"] * 2
    assert tick.since() == 2


def test_a_block_of_a_template_that_extends_the_one_with_the_tag_is_part_of_it(
    templates: Templates,
) -> None:
    templates.write(
        base=templates.fragment("{% block main %}base{% endblock %}", "whole"),
        one='{% extends "base.html" %}{% block main %}one{% endblock %}',
        other='{% extends "base.html" %}{% block main %}other{% endblock %}',
    )

    first = [templates.render(name) for name in ("one", "other", "base", "one")]
    templates.write(one='{% extends "base.html" %}{% block main %}new{% endblock %}')

    assert first == ["one", "other", "base", "one"]
    assert templates.render("one") == "new"
    assert templates.render("other") == "other"


def test_a_parent_of_the_template_with_the_tag_is_part_of_it(
    templates: Templates, tick: Counter
) -> None:
    block = templates.fragment(templates.show("tick"), "card")
    templates.write(
        base="<{% block main %}{% endblock %}>",
        page=f'{{% extends "base.html" %}}{{% block main %}}{block}{{% endblock %}}',
    )
    templates.render("page", tick=tick)

    templates.write(base="[{% block main %}{% endblock %}]")
    templates.render("page", tick=tick)

    assert tick.since() == 2


# Names computed during the rendering


def test_a_template_whose_name_is_worked_out_is_checked_again(
    templates: Templates, tick: Counter
) -> None:
    templates.write(page=counted(templates, "{% include chosen %}"), one="one", two="two")
    given: dict[str, Any] = {"tick": tick, "chosen": "one.html"}
    templates.render("page", **given)
    templates.write(two="2")
    templates.render("page", **given)
    before = tick.since()

    templates.write(one="1")

    assert templates.render("page", **given) == "1"
    assert (before, tick.since()) == (1, 1)


def test_a_template_of_a_row_whose_name_is_worked_out_is_checked_again(
    templates: Templates,
) -> None:
    rows = templates.fragments("{% include chosen %};", "row", "n in numbers")
    templates.write(page=rows, one="old")
    given: dict[str, Any] = {"chosen": "one.html", "numbers": [1, 2]}
    before = [templates.render("page", **given) for _ in range(2)]

    templates.write(one="new")

    assert before == ["old;old;"] * 2
    assert templates.render("page", **given) == "new;new;"


def test_what_such_a_template_includes_is_checked_again(
    templates: Templates, tick: Counter
) -> None:
    templates.write(
        page=counted(templates, "{% include chosen %}"),
        one='{% include "deep.html" %}',
        deep="d",
    )
    given: dict[str, Any] = {"tick": tick, "chosen": "one.html"}
    templates.render("page", **given)

    templates.write(deep="D")

    assert templates.render("page", **given) == "D"


def test_a_name_that_was_looked_for_and_not_found_may_come_to_be(templates: Templates) -> None:
    templates.write(page=templates.fragment("{% include names %}", "card"), common="common")
    given: dict[str, Any] = {"names": ["special.html", "common.html"]}
    before = [templates.render("page", **given) for _ in range(2)]

    templates.write(special="special")

    assert before == ["common"] * 2
    assert templates.render("page", **given) == "special"


def test_the_same_include_in_a_loop_is_noted_for_each_fragment(templates: Templates) -> None:
    """An engine may remember the included template within a page."""
    row = templates.fragment("{% include chosen %}", "row", "number")
    page = templates.loop("number", "numbers", row)
    templates.write(page=page, one="1")
    given: dict[str, Any] = {"numbers": [1, 2], "chosen": "one.html"}
    templates.render("page", **given)

    templates.write(one="one")

    assert templates.render("page", **given) == "oneone"


def test_an_outer_fragment_looks_again_at_what_an_inner_hit_was_made_of(
    templates: Templates,
) -> None:
    inner = templates.fragment("{% include chosen %}", "inner")
    templates.write(page=templates.fragment(inner, "outer", "number"), one="1")
    given: dict[str, Any] = {"chosen": "one.html"}
    templates.render("page", number=1, **given)
    templates.render("page", number=2, **given)

    templates.write(one="one")

    assert templates.render("page", number=2, **given) == "one"


def test_a_template_that_is_included_as_an_object_is_part_of_it(templates: Templates) -> None:
    templates.write(page=templates.fragment("{% include given %}", "card"), one="old")

    def shown() -> str:
        found: Any = (
            templates.engine.get_template("one.html")
            if isinstance(templates, DjangoTemplates)
            else templates.environment.get_template("one.html")  # type: ignore[attr-defined]
        )
        return templates.render("page", given=found)

    before = [shown(), shown()]
    templates.write(one="new")

    assert before == ["old", "old"]
    assert shown() == "new"


# Code


def test_a_deploy_s_salt_makes_all_anew(
    templates: Templates, tick: Counter, settings: Settings
) -> None:
    templates.write(page=counted(templates))
    templates.render("page", tick=tick)

    settings.CACHELAYERS = {**settings.CACHELAYERS, "DEPLOY_SALT": "a new release"}
    templates.write()
    templates.render("page", tick=tick)

    assert tick.since() == 2


def test_a_change_of_a_tag_library_makes_it_anew(
    templates: Templates, tick: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    templates.write(page=counted(templates))
    templates.render("page", tick=tick)

    monkeypatch.setattr(keys, "source_of", lambda name: f"new {name}")
    templates.write()
    templates.render("page", tick=tick)

    assert tick.since() == 2


def test_code_whose_file_is_gone_is_identified_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("gone_one", "gone_two"):
        module: Any = ModuleType(name)
        module.__file__ = f"/nowhere/{name}.py"
        monkeypatch.setitem(sys.modules, name, module)
    digests = [
        keys.digest_of_code([SimpleNamespace(__module__=name)])
        for name in ("gone_one", "gone_two", "gone_one")
    ]

    assert digests[0] == digests[2] != digests[1]
