"""The rooms stand in one order, and each keeps its law; judged by reading the source, not by running it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
TOP = TESTS.parent

CORE = (
    *("", "errors", "model", "money", "privacy", "config", "log", "record_types"),
    *("tree.decode", "tree.walk", "tree.rollup", "tree.stitch", "tree"),
    *("costs", "lifecycle", "labels", "catalog", "budgets", "known"),
)
"""The pure rooms; the first is exporter/__init__.py."""

EDGES = (
    *(
        "keys",
        "exposition",
        "pacing",
        "transport",
        "answers",
        "client",
        "ledger",
        "metrics",
        "booker",
        "intake",
        "poll",
        "plan",
        "metadata",
        "explain",
        "sources",
        "discovery",
        "jobs",
        "fleet",
        "upkeep",
        "web",
        "health",
        "reception",
        "reloading",
        "app",
        "dashboards",
    ),
    *("simulator", "demo", "healthcheck", "cli", "__main__"),
)

ORDER = (*CORE, *EDGES)

IMPURE = {"asyncio", "httpx", "sqlalchemy", "starlette", "prometheus_client"}

CLOCKS = {
    *("time.time", "time.time_ns", "time.monotonic", "time.monotonic_ns", "time.perf_counter", "time.perf_counter_ns"),
    *("datetime.datetime.now", "datetime.datetime.utcnow", "datetime.datetime.today", "datetime.date.today"),
}

CLOCK_OWNERS = {"app", "cli.demo", "cli.simulate"}

LOGGING_SETTERS = {"addHandler", "basicConfig", "captureWarnings", "dictConfig", "fileConfig", "setLevel"}


def _name(path: Path) -> str:
    """The module's name below `exporter`: exporter/tree/walk.py is tree.walk, exporter/tree/__init__.py is tree."""
    parts = path.relative_to(TOP / "exporter").with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {_name(path): ast.parse(path.read_text()) for path in sorted((TOP / "exporter").rglob("*.py"))}

TEST_FILES = {path.name: ast.parse(path.read_text()) for path in sorted(TESTS.glob("test_*.py"))}

every_module = pytest.mark.parametrize("module", MODULES)


def _room(module: str) -> str | None:
    """The longest entry of the order that the module is, or lies in."""
    if module in ORDER:
        return module
    return _room(module.rpartition(".")[0]) if "." in module else None


def _imports(tree: ast.AST) -> Iterator[str]:
    """Every module that is imported anywhere in the tree, functions and TYPE_CHECKING blocks included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module, "imports are absolute"
            if node.module == "exporter":
                names = [alias.name for alias in node.names]
                yield from (f"exporter.{name}" if name in ORDER else "exporter" for name in names)
            else:
                yield node.module


def _named(tree: ast.AST) -> set[str]:
    """Every dotted name in the tree, with what was imported under another name spelt out."""
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
def test_place(module: str) -> None:
    """Every module belongs to a room, and each room has its place in the order."""
    assert _room(module) is not None, f"exporter.{module} has no place in ORDER"


@every_module
def test_imports_stand_before(module: str) -> None:
    """A module imports only from rooms that stand before its own, and from its own package."""
    place = ORDER.index(_room(module) or "")
    ours = [name.removeprefix("exporter").lstrip(".") for name in _imports(MODULES[module]) if _ours(name)]
    assert [name for name in ours if ORDER.index(_room(name) or "") > place] == []


def _ours(name: str) -> bool:
    return name == "exporter" or name.startswith("exporter.")


@pytest.mark.parametrize("module", [module for module in MODULES if _room(module) in CORE])
def test_core_is_pure(module: str) -> None:
    """The core knows no event loop, no network, no database, no web and no client library."""
    assert {name.split(".")[0] for name in _imports(MODULES[module])} & IMPURE == set()


@every_module
def test_law(module: str) -> None:
    """Every module opens with its law: a docstring whose first sentence says something."""
    first = (ast.get_docstring(MODULES[module]) or "").partition(".")
    assert first[1], "no full stop"
    assert len(first[0].split()) >= 5, first[0]


@pytest.mark.parametrize("module", [module for module in MODULES if module not in CLOCK_OWNERS])
def test_time_is_an_argument(module: str) -> None:
    """Only the modules that start a process name the real clock."""
    assert _named(MODULES[module]) & CLOCKS == set()


@pytest.mark.parametrize("module", [module for module in MODULES if module != "log"])
def test_logging_is_set_up_in_one_place(module: str) -> None:
    """No module but log changes what is logged, or where to."""
    assert {name.rpartition(".")[2] for name in _named(MODULES[module])} & LOGGING_SETTERS == set()


def test_importing_log_sets_nothing_up() -> None:
    """The log module does nothing to logging until it is asked to."""
    outside = [node for node in MODULES["log"].body if not isinstance(node, (ast.FunctionDef, ast.ClassDef))]
    named = set().union(*map(_named, outside))
    assert {name.rpartition(".")[2] for name in named} & LOGGING_SETTERS == set()


@pytest.mark.parametrize("file", TEST_FILES)
def test_every_test_states_a_fact(file: str) -> None:
    """Every test has a docstring that is a sentence."""
    tests = [
        node
        for node in ast.walk(TEST_FILES[file])
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]
    assert [test.name for test in tests if not (ast.get_docstring(test) or "").endswith(".")] == []
