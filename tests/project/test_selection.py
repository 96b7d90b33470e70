"""The order of the tests, and which of them a quick run leaves out: tests/support/selection.py."""

from pathlib import PurePath

import pytest

from tests.support.selection import LONGEST, TOP, changed_first, is_slow, longest_first

MONEY = PurePath("tests/core/test_money.py")
TREE = PurePath("tests/core/test_tree.py")
LEDGER = PurePath("tests/ledger/test_ledger.py")


def test_the_longest_files_exist_and_come_first() -> None:
    """A file that was moved would else begin late, and the run end late, without anything to show it."""
    assert [name for name in LONGEST if not (TOP / name).is_file()] == []
    assert sorted([MONEY, *map(PurePath, reversed(LONGEST))], key=longest_first) == [*map(PurePath, LONGEST), MONEY]


def test_what_has_changed_comes_first() -> None:
    """Changed tests, then the tests of changed packages, then the rest."""
    changed = [PurePath("exporter/core/money.py"), TREE, PurePath("README.md")]
    assert sorted([LEDGER, MONEY, TREE], key=changed_first(changed)) == [TREE, MONEY, LEDGER]


@pytest.mark.slow
def test_marked_tests_are_slow(request: pytest.FixtureRequest) -> None:
    """A quick run leaves them out."""
    assert is_slow(request.node)


def test_tests_of_other_programs_are_slow(request: pytest.FixtureRequest) -> None:
    """A quick run leaves them out as well, but no others."""
    asking = [item for item in request.session.items if "prometheus" in getattr(item, "fixturenames", ())]
    assert all(map(is_slow, asking))
    assert not is_slow(request.node)


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_tests_of_a_ledger_on_a_server_are_slow(request: pytest.FixtureRequest, engine: str) -> None:
    """Those of a ledger in a file are not."""
    assert is_slow(request.node) == (engine == "postgresql")
