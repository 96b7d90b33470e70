"""The history for tests of dashboards and rules is reproducible."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.history import DAY, START, lived
from tests.support.stepped import MEASURED

pytestmark = pytest.mark.slow

LIVED_SECONDS = 1.5 * DAY
ERROR_SHARE = 0.3
"""High, so that any change in the order of requests shows within days, not weeks."""


def test_two_makings_give_the_same_history(tmp_path: Path) -> None:
    """Two runs give the same samples, measures of real time aside; else tests of rules depend on chance."""
    first, second = (list(unmeasured(tmp_path / name)) for name in ("first", "second"))
    assert len(first) > 20_000
    assert any('code="503"' in line for line in first), "no request failed"
    assert first == second


def unmeasured(folder: Path) -> Iterator[str]:
    """Yield the lines of the first days of the history, ordered by scrape and text, without measures of real time."""
    folder.mkdir()
    scrapes, _ = lived(folder, int(START + LIVED_SECONDS), ERROR_SHARE)
    lines = [line for line in scrapes.read_text().splitlines() if not line.startswith(MEASURED)]
    yield from sorted(lines, key=lambda line: (line.rpartition(" ")[2], line))
