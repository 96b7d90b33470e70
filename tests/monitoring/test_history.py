"""The history that dashboards and rules are asked about: the same each time that it is made."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.history import DAY, START, lived
from tests.support.stepped import MEASURED

pytestmark = pytest.mark.slow

LIVED_SECONDS = 1.5 * DAY
ERROR_SHARE = 0.3
"""So many requests go wrong here that any change of their order is seen in days, not weeks."""


def test_two_makings_give_the_same_history(tmp_path: Path) -> None:
    """To the sample, real time's own measures aside; else what rules say of it would be chance."""
    first, second = (list(unmeasured(tmp_path / name)) for name in ("first", "second"))
    assert len(first) > 20_000
    assert any('code="503"' in line for line in first), "chance spoilt no request"
    assert first == second


def unmeasured(folder: Path) -> Iterator[str]:
    """The first days of the history, scrape by scrape, each in order of its lines."""
    folder.mkdir()
    scrapes, _ = lived(folder, int(START + LIVED_SECONDS), ERROR_SHARE)
    lines = [line for line in scrapes.read_text().splitlines() if not line.startswith(MEASURED)]
    yield from sorted(lines, key=lambda line: (line.rpartition(" ")[2], line))
