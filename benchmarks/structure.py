"""Measures of the code for maintainers: `python -m benchmarks.structure [--json FILE]`.

Static figures come from the syntax trees; the files that run for one operation from a profile of it
in a new process with an SQLite file.
"""

from __future__ import annotations

import argparse
import ast
import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = "cachelayers"
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
# A folder of separate helpers. Each is an interface by itself: one for all would import all.
WITHOUT_INTERFACE = f"{PACKAGE}.utils"
# They begin with an underscore, and Django and Python document them.
DOCUMENTED = {"_asdict", "_base_manager", "_default_manager", "_exit", "_fields", "_meta", "_state"}

PREPARE = """
import json, sys, threading
from pathlib import Path
import django
from django.conf import settings
folder = Path(sys.argv[1])
settings.configure(
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "cachelayers"],
    DATABASES={
        name: {"ENGINE": "django.db.backends.sqlite3", "NAME": str(folder / f"{name}.sqlite3")}
        for name in ("default", "cache")
    },
    DATABASE_ROUTERS=["cachelayers.routers.CacheRouter"],
    CACHES={"default": {"BACKEND": "cachelayers.backends.DatabaseCache", "LOCATION": "cache"}},
    CACHELAYERS={"TRACK": ["auth"]},
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates"}],
)
django.setup()
from django.core.management import call_command
call_command("migrate", verbosity=0)
call_command("migrate", database="cache", verbosity=0)
package = str(Path(sys.modules["cachelayers"].__file__).parent)

def files_of(operation):
    found = set()
    def note(frame, event, argument):
        if event == "call" and frame.f_code.co_filename.startswith(package):
            found.add(frame.f_code.co_filename)
    sys.setprofile(note)
    try:
        operation()
    finally:
        sys.setprofile(None)
    return len(found)
"""
HIT = """
from django.core.cache import cache
cache.set("key", "value")
cache.get("key")
print(files_of(lambda: cache.get("key")))
"""
FRAGMENT = """
from cachelayers import unit_of_work
from django.contrib.auth.models import Group
from django.template import Context, Template
Group.objects.create(name="Editors")
template = Template(
    "{% load cachelayers %}{% fragment 'groups' %}{{ groups.count }}{% endfragment %}"
)
def render():
    with unit_of_work():
        template.render(Context({"groups": Group.objects.all()}))
print(files_of(render))
"""


class Module:
    """A module of the package, and its imports."""

    def __init__(self, path: Path, root: Path = ROOT) -> None:
        """``path``: of the file, below ``root``."""
        self.path = path
        parts = path.relative_to(root).with_suffix("").parts
        self.is_package = parts[-1] == "__init__"
        self.name = ".".join(parts[:-1] if self.is_package else parts)
        self.text = path.read_text()
        self.lines = len(self.text.splitlines())

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    def imported(self, *, at_once: bool = False) -> Iterator[str]:
        """Yield the package's names that it imports, each of a ``from`` import by itself.

        ``at_once``: only imports at module level, not in functions.
        """
        for node in self.tree.body if at_once else ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from (one.name for one in node.names if is_ours(one.name))
            elif isinstance(node, ast.ImportFrom) and node.module and is_ours(node.module):
                yield from (f"{node.module}.{one.name}" for one in node.names)

    def exports(self) -> dict[str, str]:
        """Return where an interface has each name from, also if only type checkers import it."""
        if not self.is_package:
            return {}
        return {name.rpartition(".")[2]: name for name in self.imported()}

    def public_names(self) -> Iterator[str]:
        """Yield the functions, classes, methods and constants without an underscore."""
        for node in ast.walk(self.tree):
            if isinstance(node, DEFINITIONS) and not node.name.startswith("_"):
                yield node.name
        for statement in self.tree.body:
            targets = statement.targets if isinstance(statement, ast.Assign) else []
            for target in targets:
                if isinstance(target, ast.Name) and not target.id.startswith("_"):
                    yield target.id

    def private_accesses(self) -> int:
        """Count the private names of other objects that it uses or imports."""
        return sum(map(is_private_access, ast.walk(self.tree)))


def is_ours(name: str) -> bool:
    return name.split(".", maxsplit=1)[0] == PACKAGE


def is_within(name: str, package: str) -> bool:
    return f"{name}.".startswith(f"{package}.")


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name not in DOCUMENTED


def is_private_access(node: ast.AST) -> bool:
    if isinstance(node, ast.Attribute):
        owner = node.value.id if isinstance(node.value, ast.Name) else ""
        return is_private(node.attr) and owner not in ("self", "cls")
    if isinstance(node, ast.ImportFrom):
        return any(is_private(one.name) for one in node.names)
    return False


class Structure:
    """The modules of the package and of its tests."""

    def __init__(self, root: Path = ROOT) -> None:
        """``root``: the folder of the package and its tests."""
        found = sorted((root / PACKAGE).rglob("*.py"))
        self.modules = [Module(path, root) for path in found if "migrations" not in path.parts]
        self.tests = [Module(path, root) for path in sorted((root / "tests").rglob("*.py"))]
        self._by_name = {module.name: module for module in self.modules}
        packages = {module.name for module in self.modules if module.is_package}
        self._packages = {name for name in packages if name.count(".") == 1} - {WITHOUT_INTERFACE}
        self._exports = {module.name: module.exports() for module in self.modules}

    def importers(self) -> dict[str, set[str]]:
        """Return for each module the modules that import it, also through its interface."""
        found: dict[str, set[str]] = defaultdict(set)
        for module in self.modules:
            for name in module.imported():
                target = self._module_of(self._origin_of(name))
                is_own = target is not None and is_within(target.name, module.name)
                if target is not None and not (module.is_package and is_own):
                    found[target.name].add(module.name)
        return found

    def imported_once(self) -> list[str]:
        """Return the modules that only one other module imports."""
        importers = self.importers()
        return [
            module.name
            for module in self.modules
            if not module.is_package and len(importers[module.name]) == 1
        ]

    def crossings(self) -> tuple[int, int]:
        """Return the number of imports that name another package itself, and of all to others."""
        by_interface = total = 0
        for module in self.modules:
            own = self._package_of(module.name)
            for name in set(module.imported()):
                target = self._module_of(name)
                package = "" if target is None else self._package_of(target.name)
                if target is None or package in ("", own):
                    continue
                total += 1
                by_interface += target.name == package
        return by_interface, total

    def pulled_in_by(self, name: str) -> list[Module]:
        """Return the modules that are imported with a module, including itself."""
        found: dict[str, Module] = {}
        waiting = [name]
        while waiting:
            name = self._origin_of(waiting.pop())
            module = self._module_of(name)
            if module is None or module.name in found:
                continue
            found[module.name] = module
            waiting += [*module.imported(at_once=True), *parents_of(module.name)]
        return list(found.values())

    def _package_of(self, name: str) -> str:
        """Return the first-level package of a module, or ""."""
        first = ".".join(name.split(".")[:2])
        return first if first in self._packages else ""

    def _origin_of(self, name: str) -> str:
        """Follow an imported name through the interfaces that only pass it on."""
        package, _, last = name.rpartition(".")
        if name in self._by_name or last not in self._exports.get(package, {}):
            return name
        return self._origin_of(self._exports[package][last])

    def _module_of(self, name: str) -> Module | None:
        """Return the module that an import names, or that contains the imported name."""
        return self._by_name.get(name) or self._by_name.get(name.rpartition(".")[0])


def parents_of(name: str) -> Iterator[str]:
    """Yield the packages that contain a module: Python imports them first."""
    while name := name.rpartition(".")[0]:
        yield name


def run(code: str) -> int:
    """Return the number that a program prints, in a process and a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        ended = subprocess.run(
            [sys.executable, "-c", code, folder],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
    return int(ended.stdout.split()[-1])


def measure(structure: Structure) -> dict[str, int | str]:
    """Return each measure by its name."""
    sizes = [module.lines for module in structure.modules]
    by_interface, crossings = structure.crossings()
    alone = structure.pulled_in_by(f"{PACKAGE}.backends.database.cache")
    return {
        "files": len(sizes),
        "lines": sum(sizes),
        "median lines of a file": sorted(sizes)[len(sizes) // 2],
        "public names": sum(len(set(module.public_names())) for module in structure.modules),
        "modules that one other imports": len(structure.imported_once()),
        "imports between packages by their interface": f"{by_interface} of {crossings}",
        "lines that DatabaseCache alone pulls in": sum(one.lines for one in alone),
        "files that run for a hit in the table": run(PREPARE + HIT),
        "files that run for a missed fragment": run(PREPARE + FRAGMENT),
        "private names that tests use": sum(one.private_accesses() for one in structure.tests),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the measures; write them to a file with --json."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.structure", description=__doc__)
    parser.add_argument("--json", type=Path, help="where to write the measures")
    options = parser.parse_args(arguments)
    found = measure(Structure())
    for name, value in found.items():
        print(f"{name:<46} {value}")
    if options.json:
        options.json.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
