"""The mutation gate: its list fits the checkout, and its verdicts are right."""

from pathlib import Path

import pytest

from tools.mutants.defects import Defect, in_turns, problems, read_defects, touched
from tools.mutants.runner import Outcome, run

PACKAGES = ("core", "ledger/accounting", "ledger/queue", "ledger/totals", "polling", "config")


def test_every_defect_fits_the_checkout() -> None:
    """Each old text occurs exactly once, each new one is Python, each test is there; `make mutants` needs all of it."""
    assert list(problems(read_defects())) == []


def test_the_list_covers_the_packages_that_count_money() -> None:
    """There are at least 80 defects, and at least 5 in each package that counts money or schedules polls."""
    files = [defect.file for defect in read_defects()]
    assert len(files) >= 80
    assert {package for package in PACKAGES if sum(f"exporter/{package}/" in file for file in files) < 5} == set()


# Verdicts, on a checkout of two files

SOURCE = "from time import sleep\nLIMIT = 3\n\ndef over(number):\n    return number > LIMIT\n"
TESTS = """\
import pytest
from product import over

@pytest.fixture
def four():
    assert over(4)
    return 4

def test_over():
    assert over(4)

def test_not_over():
    assert not over(2)

def test_by_fixture(four):
    assert four
"""
FILES = {"product.py": SOURCE, "test_product.py": TESTS}


def defect(old: str, new: str, test: str = "test_product.py::test_over", *, hangs: bool = False) -> Defect:
    return Defect("d", "product.py", old, new, (test,), hangs)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def judged(checkout: Path, *defects: Defect, timeout_seconds: float = 60.0) -> list[Outcome]:
    """Return the outcomes; the checkout itself must not change."""
    outcomes = run(defects, checkout, FILES, processes=2, report=lambda *_: None, timeout_seconds=timeout_seconds)
    assert {name: (checkout / name).read_text() for name in FILES} == FILES
    return outcomes


@pytest.mark.slow
def test_verdicts(checkout: Path) -> None:
    """A failing test kills, a passing one doesn't, and a defect that breaks before any test fails is an error."""
    outcomes = judged(
        checkout,
        defect("LIMIT = 3", "LIMIT = 5"),
        defect("LIMIT = 3", "LIMIT = 2"),
        defect("LIMIT = 3", "LIMIT = three"),
        defect("number > LIMIT", "number > LIMITS"),
        defect("LIMIT = 3", "LIMIT = 5", "test_product.py::test_by_fixture"),
        defect("LIMIT", "limit"),
    )
    assert [outcome.verdict for outcome in outcomes] == ["killed", "survived", "error", "error", "error", "error"]
    assert outcomes[0].detail.startswith("test_product.py::test_over - assert ")
    assert outcomes[5].detail == "product.py has the old text 2 times instead of once: 'LIMIT'"


@pytest.mark.slow
@pytest.mark.parametrize("hangs", [True, False])
def test_a_time_out_kills_only_what_may_hang(checkout: Path, hangs: bool) -> None:
    """For any other defect a time-out is an error."""
    forever = defect("return number", "sleep(60)\n    return number", hangs=hangs)
    (outcome,) = judged(checkout, forever, timeout_seconds=3.0)
    assert (outcome.verdict, outcome.detail) == ("killed" if hangs else "error", "timed out")


@pytest.mark.slow
@pytest.mark.parametrize("line", ["    assert over(3)\n", "    pytest.skip()\n"])
def test_nothing_is_judged_by_a_test_that_fails_or_is_skipped(checkout: Path, line: str) -> None:
    """The tests run without a defect first: a failing test would kill every defect, a skipped one none."""
    files = FILES | {"test_product.py": TESTS.replace("    assert over(4)\n\ndef test_not", f"{line}\ndef test_not")}
    (checkout / "test_product.py").write_text(files["test_product.py"])
    seen: list[Outcome] = []
    outcomes = run(
        [defect("LIMIT = 3", "LIMIT = 5")], checkout, files, processes=1, report=lambda _, found: seen.append(found)
    )
    assert [outcome.verdict for outcome in outcomes] == ["error"]
    assert outcomes[0].detail.startswith("without a defect, a test fails or is skipped")
    assert seen == outcomes


# Problems of a list


def test_a_list_that_does_not_fit_is_refused(checkout: Path) -> None:
    """Each problem is named: a text that is gone or ambiguous, a change of nothing, a test that is gone."""
    fits = defect("LIMIT = 3", "LIMIT = 5")
    wrong = [
        (fits, "the name is used twice"),
        (defect("LIMIT = 7", "LIMIT = 5"), "product.py has the old text 0 times instead of once: 'LIMIT = 7'"),
        (defect("number", "n"), "product.py has the old text 2 times instead of once: 'number'"),
        (defect("LIMIT = 3", "LIMIT = 3"), "the new text is the old one"),
        (defect("LIMIT = 3", "LIMIT ="), "invalid syntax (product.py, line 2)"),
        (defect("LIMIT = 3", "LIMIT = 5", "test_product.py::test_ov"), "there is no test test_product.py::test_ov"),
        (defect("LIMIT = 3", "LIMIT = 5", "test_absent.py"), "there is no test test_absent.py"),
    ]
    assert list(problems([fits], checkout)) == []
    for number, (each, problem) in enumerate(wrong):
        named = each if each is fits else Defect(f"d{number}", each.file, each.old, each.new, each.tests)
        assert list(problems([fits, named], checkout)) == [f"{named.name}: {problem}"]


# Selection


def test_a_few_defects_are_spread_over_the_files() -> None:
    """The first few are of as many files as possible."""
    named = [Defect(name, name[0], "o", "n", ("t",)) for name in ("a1", "a2", "a3", "b1", "c1", "c2")]
    assert [each.name for each in in_turns(named)] == ["a1", "b1", "c1", "a2", "c2", "a3"]


def test_a_changed_file_or_test_has_its_defects_run() -> None:
    """A change of the code or of its tests runs the defect."""
    named = [Defect("code", "a.py", "o", "n", ("t.py",)), Defect("test", "b.py", "o", "n", ("u.py::test_u",))]
    assert [each.name for each in touched(named, ["a.py", "z.py"])] == ["code"]
    assert [each.name for each in touched(named, ["u.py"])] == ["test"]
    assert touched(named, []) == []
