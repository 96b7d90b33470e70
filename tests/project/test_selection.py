"""The order of the tests and the selection of a quick run (tests/support/selection.py)."""

from pathlib import PurePath

import pytest

from tests.support.selection import LONGEST, TOP, changed_first, is_slow, longest_first

MONEY = PurePath("tests/core/test_money.py")
TREE = PurePath("tests/core/test_tree.py")
LEDGER = PurePath("tests/ledger/test_ledger.py")


def test_the_longest_files_exist_and_come_first() -> None:
    """The longest files exist and run first; a renamed file would silently start late and delay the end."""
    assert [name for name in LONGEST if not (TOP / name).is_file()] == []
    assert sorted([MONEY, *map(PurePath, reversed(LONGEST))], key=longest_first) == [*map(PurePath, LONGEST), MONEY]


def test_changed_tests_come_first() -> None:
    """Changed tests run first, then the tests of changed packages, then the rest."""
    changed = [PurePath("exporter/core/money.py"), TREE, PurePath("README.md")]
    assert sorted([LEDGER, MONEY, TREE], key=changed_first(changed)) == [TREE, MONEY, LEDGER]


@pytest.mark.slow
def test_marked_tests_are_slow(request: pytest.FixtureRequest) -> None:
    """A quick run excludes tests that are marked slow."""
    assert is_slow(request.node)


def test_tests_of_other_programs_are_slow(request: pytest.FixtureRequest) -> None:
    """A quick run excludes tests that use other programs, and no other unmarked tests."""
    asking = [item for item in request.session.items if "prometheus" in getattr(item, "fixturenames", ())]
    assert all(map(is_slow, asking))
    assert not is_slow(request.node)


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_tests_of_a_ledger_on_a_server_are_slow(request: pytest.FixtureRequest, engine: str) -> None:
    """A quick run excludes tests of a ledger in PostgreSQL, and includes those in SQLite."""
    assert is_slow(request.node) == (engine == "postgresql")
