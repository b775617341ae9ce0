"""The measures of the structure say what is there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.structure import Structure, main

FILES = {
    "cachelayers/__init__.py": "",
    "cachelayers/low/__init__.py": "from cachelayers.low.inner import Thing\n",
    "cachelayers/low/inner.py": "LIMIT = 3\n\n\nclass Thing:\n    def act(self): ...\n",
    "cachelayers/high/__init__.py": "",
    "cachelayers/high/user.py": (
        "from cachelayers.low import Thing\n"
        "from cachelayers.low.inner import LIMIT\n"
        "from cachelayers.utils.free import free\n\n\n"
        "def late():\n    from cachelayers.late import _hidden\n"
    ),
    "cachelayers/high/other.py": "from cachelayers.low import Thing\n",
    "cachelayers/utils/__init__.py": "",
    "cachelayers/utils/free.py": "def free(): ...\n",
    "cachelayers/late.py": "_hidden = 1\n",
    "tests/test_it.py": (
        "from cachelayers.late import _hidden\n\n\n"
        "def test(it, self):\n    assert it._inner and it._meta and it.__class__ and self._own\n"
    ),
}


@pytest.fixture
def structure(tmp_path: Path) -> Structure:
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Structure(tmp_path)


def test_imports_between_packages_are_told_by_whether_they_name_the_package(
    structure: Structure,
) -> None:
    assert structure.crossings() == (2, 3)  # `utils` is no package with one interface


def test_modules_with_one_importer_are_found(structure: Structure) -> None:
    assert structure.imported_once() == ["cachelayers.late", "cachelayers.utils.free"]


def test_importers_are_found_through_an_interface(structure: Structure) -> None:
    assert structure.importers()["cachelayers.low.inner"] == {
        "cachelayers.high.other",
        "cachelayers.high.user",
    }


def test_what_a_lazy_interface_passes_on_is_pulled_in(tmp_path: Path) -> None:
    lazy = (
        "if TYPE_CHECKING:\n    from cachelayers.lazy.a import A\n    import cachelayers.lazy.b\n"
    )
    for name, text in {
        "__init__": "",
        "lazy/__init__": lazy,
        "lazy/a": "A = 1\n",
        "lazy/b": "B = 1\n",
        "user": "from cachelayers.lazy import A\n",
    }.items():
        path = tmp_path / "cachelayers" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "tests").mkdir()

    found = {module.name for module in Structure(tmp_path).pulled_in_by("cachelayers.user")}

    assert found == {"cachelayers", "cachelayers.user", "cachelayers.lazy", "cachelayers.lazy.a"}


def test_what_a_module_pulls_in_leaves_out_what_a_function_imports(structure: Structure) -> None:
    pulled_in = {module.name for module in structure.pulled_in_by("cachelayers.high.user")}

    assert pulled_in == {
        "cachelayers",
        "cachelayers.high",
        "cachelayers.high.user",
        "cachelayers.low",
        "cachelayers.low.inner",
        "cachelayers.utils",
        "cachelayers.utils.free",
    }


def test_private_names_of_others_are_counted(structure: Structure) -> None:
    assert [module.private_accesses() for module in structure.tests] == [2]


def test_public_names_are_those_that_others_may_use(structure: Structure) -> None:
    inner = next(module for module in structure.modules if module.name.endswith("inner"))

    assert sorted(inner.public_names()) == ["LIMIT", "Thing", "act"]


def test_it_is_run_as_a_command(tmp_path: Path) -> None:
    main(["--json", str(tmp_path / "found.json")])

    found = json.loads((tmp_path / "found.json").read_text())
    assert found["files that run for a hit in the table"] > 0
    assert (
        found["files that run for a hit in the table"]
        < found["files that run for a missed fragment"]
        < found["files"]
    )
