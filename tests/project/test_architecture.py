"""The structure of the source: packages import in one direction, names are unique, the core is pure."""

import ast
from collections import Counter
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
TOP = TESTS.parent

ORDER = (
    "exporter",
    "exporter.log",
    "exporter.core",
    "exporter.config",
    "exporter.telnyx",
    *("exporter.ledger.database", "exporter.ledger.schema", "exporter.ledger.engine", "exporter.ledger.views"),
    *("exporter.ledger.totals", "exporter.ledger.queue", "exporter.ledger.accounting", "exporter.ledger.sharing"),
    "exporter.ledger",
    "exporter.metrics",
    "exporter.polling",
    "exporter.sources",
    "exporter.explain",
    "exporter.web",
    "exporter.runtime",
    "simulator",
    "exporter.cli",
    "exporter.__main__",
)
"""The packages, lowest first: a module imports only from packages below its own."""

IMPURE = {"asyncio", "httpx", "starlette", "prometheus_client"}

CLOCKS = {
    *("time.time", "time.time_ns", "time.monotonic", "time.monotonic_ns", "time.perf_counter", "time.perf_counter_ns"),
    *("datetime.datetime.now", "datetime.datetime.utcnow", "datetime.datetime.today", "datetime.date.today"),
}

CLOCK_OWNERS = {"exporter.runtime.clock", "exporter.cli.demo", "exporter.cli.simulate"}

LOGGING_SETTERS = {"addHandler", "basicConfig", "captureWarnings", "dictConfig", "fileConfig", "setLevel"}


def _name(path: Path) -> str:
    """Return the module's dotted name: exporter/core/tree/__init__.py is exporter.core.tree."""
    parts = path.relative_to(TOP).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {_name(path): path for package in ("exporter", "simulator") for path in sorted((TOP / package).rglob("*.py"))}

TEST_FILES = {str(path.relative_to(TESTS)): path for path in sorted(TESTS.rglob("test_*.py"))}

every_module = pytest.mark.parametrize("module", MODULES)


@cache
def _parsed(path: Path) -> ast.Module:
    """Return the file's tree, parsed when a test asks: every worker imports this module, one runs its tests."""
    return ast.parse(path.read_text())


def _package(module: str) -> str:
    """Return the longest entry of ORDER that the module is or lies in."""
    if module in ORDER:
        return module
    return _package(module.rpartition(".")[0])


def _imports(tree: ast.AST) -> Iterator[str]:
    """Yield every module that is imported anywhere in the tree, functions and TYPE_CHECKING blocks included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module, "imports are absolute"
            modules = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (module if module in MODULES else node.module for module in modules)


def _named(tree: ast.AST) -> set[str]:
    """Return every dotted name in the tree, with import aliases replaced by the original names."""
    origins = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            origins.update({alias.asname: alias.name for alias in node.names if alias.asname})
        elif isinstance(node, ast.ImportFrom):
            origins.update({alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names})
    named = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.Name, ast.Attribute)):
            first, *rest = ast.unparse(node).split(".")
            named.add(".".join([origins.get(first, first), *rest]))
    return named


@every_module
def test_imports_come_from_lower_packages(module: str) -> None:
    """A module imports only from its own package and from packages below it."""
    level = ORDER.index(_package(module))
    ours = [name for name in _imports(_parsed(MODULES[module])) if name in MODULES and _package(name) != "exporter"]
    assert [name for name in ours if ORDER.index(_package(name)) > level] == []


def test_no_import_cycles() -> None:
    """No module imports itself, however many modules are between."""
    imports = {
        module: {name for name in _imports(_parsed(path)) if name in MODULES} for module, path in MODULES.items()
    }
    TopologicalSorter(imports).prepare()  # raises CycleError, which names the modules


def test_class_names_are_unique() -> None:
    """A reader who meets a class's name finds one class of that name."""
    names = Counter(
        node.name
        for path in MODULES.values()
        for node in ast.walk(_parsed(path))
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    assert [name for name, count in names.items() if count > 1] == []


@pytest.mark.parametrize("module", [module for module in MODULES if _package(module) == "exporter.core"])
def test_core_is_pure(module: str) -> None:
    """The core imports no event loop, no HTTP library, no web framework and no client library."""
    assert {name.split(".")[0] for name in _imports(_parsed(MODULES[module]))} & IMPURE == set()


@every_module
def test_module_docstring(module: str) -> None:
    """Every module has a docstring whose first sentence has at least five words."""
    first = (ast.get_docstring(_parsed(MODULES[module])) or "").partition(".")
    assert first[1], "no full stop"
    assert len(first[0].split()) >= 5, first[0]


@pytest.mark.parametrize("module", [module for module in MODULES if module not in CLOCK_OWNERS])
def test_time_is_an_argument(module: str) -> None:
    """Only the system clock and the commands that start a process name the real clock."""
    assert _named(_parsed(MODULES[module])) & CLOCKS == set()


@pytest.mark.parametrize("module", [module for module in MODULES if module != "exporter.log"])
def test_logging_is_set_up_in_one_place(module: str) -> None:
    """Only the module exporter.log configures logging."""
    assert {name.rpartition(".")[2] for name in _named(_parsed(MODULES[module]))} & LOGGING_SETTERS == set()


def test_importing_log_configures_nothing() -> None:
    """The import of exporter.log doesn't change logging."""
    outside = [
        node for node in _parsed(MODULES["exporter.log"]).body if not isinstance(node, (ast.FunctionDef, ast.ClassDef))
    ]
    named = set().union(*map(_named, outside))
    assert {name.rpartition(".")[2] for name in named} & LOGGING_SETTERS == set()


@pytest.mark.parametrize("file", TEST_FILES)
def test_every_test_states_a_fact(file: str) -> None:
    """Every test has a docstring that is a sentence."""
    tests = [
        node
        for node in ast.walk(_parsed(TEST_FILES[file]))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]
    assert [test.name for test in tests if not (ast.get_docstring(test) or "").endswith(".")] == []
