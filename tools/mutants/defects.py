"""The list of defects: how it is read, and what in it no longer fits the checkout."""

import re
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, zip_longest
from pathlib import Path

import msgspec
from msgspec import Struct

TOP = Path(__file__).parents[2]
LIST = Path(__file__).with_name("defects.toml")


class Defect(Struct, frozen=True, forbid_unknown_fields=True):
    """One change to one file that makes the exporter wrong."""

    name: str
    file: str
    old: str
    """A text that occurs in the file exactly once; short, so that rewording around it does no harm."""
    new: str
    tests: tuple[str, ...]
    """Test files or node ids that notice; the narrowest ones."""
    hangs: bool = False
    """The tests may never end: then a time-out counts as noticed."""

    def applied(self, text: str) -> str:
        """Return the file's text with the defect; raises ValueError unless `old` occurs exactly once."""
        count = text.count(self.old)
        if count != 1:
            raise ValueError(f"{self.file} has the old text {count} times instead of once: {self.old!r}")
        return text.replace(self.old, self.new)


def read_defects(path: Path = LIST) -> tuple[Defect, ...]:
    """Return all defects, in the order of the list."""
    rows = tomllib.loads(path.read_text())["defect"]
    return msgspec.convert(rows, tuple[Defect, ...])


def problems(defects: Iterable[Defect], top: Path = TOP) -> Iterator[str]:
    """Yield what is wrong with the list: names used twice, old texts and tests that aren't there any more."""
    names: set[str] = set()
    for defect in defects:
        if defect.name in names:
            yield f"{defect.name}: the name is used twice"
        names.add(defect.name)
        yield from (f"{defect.name}: {problem}" for problem in _problems(defect, top))


def _problems(defect: Defect, top: Path) -> Iterator[str]:
    try:
        text = (top / defect.file).read_text()
        changed = defect.applied(text)
        compile(changed, defect.file, "exec")
        if changed == text:
            yield "the new text is the old one"
    except (OSError, ValueError, SyntaxError) as error:
        yield str(error)
    if not defect.tests:
        yield "it names no test"
    for test in defect.tests:
        file, _, node = test.partition("::")
        function = node.partition("[")[0].rpartition("::")[2]
        source = (top / file).read_text() if (top / file).is_file() else None
        if source is None or (function and not re.search(rf"def {function}\b", source)):
            yield f"there is no test {test}"


def in_turns(defects: Iterable[Defect]) -> list[Defect]:
    """Return the defects, one of each file in turn, so that any first few are spread over many files."""
    by_file: dict[str, list[Defect]] = {}
    for defect in defects:
        by_file.setdefault(defect.file, []).append(defect)
    return [defect for defect in chain.from_iterable(zip_longest(*by_file.values())) if defect is not None]


def touched(defects: Sequence[Defect], changed: Iterable[str]) -> list[Defect]:
    """Return the defects whose file, or one of whose tests' files, is among the changed ones."""
    files = set(changed)
    return [
        defect
        for defect in defects
        if defect.file in files or any(test.partition("::")[0] in files for test in defect.tests)
    ]
