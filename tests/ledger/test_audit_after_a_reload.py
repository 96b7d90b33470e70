"""`ledger check` after a change of `metrics.labels`: it finds each moved cent, and nothing else."""

from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest
from msgspec.structs import replace

from exporter.cli.main import main
from exporter.core.model import Poll
from exporter.ledger import Ledger
from tests.ledger.test_ledger import ALL, POLICY, SETTINGS, net, opened, poll, ref
from tests.support.trees import node

CHANGES = {
    "added": ((), ("team",)),
    "removed": (("team",), ()),
    "renamed": (("team",), ("campaign",)),
    "another order": (("team", "campaign"), ("campaign", "team")),
    "unchanged": (("team",), ("team",)),
}


def labelled(found: Poll, names: tuple[str, ...]) -> Poll:
    """Return the poll as a reader with these labels makes it."""
    extra = tuple((name, f"{name}-red") for name in names)
    return replace(found, attributes=tuple(replace(each, labels=each.labels + extra) for each in found.attributes))


def book(ledger: Ledger, names: tuple[str, ...], price: str, now: float) -> None:
    turn = node("inference:i", "0.07")
    for claim in ledger.claim(now, ALL):
        ledger.commit([labelled(poll(claim, node("call-session:s", price, turn), now), names)])


@pytest.fixture(params=CHANGES)
def ledger(ledger_url: str, request: pytest.FixtureRequest) -> Iterator[Ledger]:
    """A ledger that was booked under one set of labels, and after a reload under another one."""
    before, after = CHANGES[request.param]
    with closing(opened(ledger_url, replace(SETTINGS, extra=before))) as ledger:
        ledger.follow([ref("s")], "file", 0.0)
        book(ledger, before, "0.30", 0.0)
        ledger.reconfigure(POLICY, replace(SETTINGS, extra=after), [], [], 50.0)
        assert ledger.check() == []
        book(ledger, after, "0.20", 100.0)
        yield ledger


def test_an_amendment_after_a_reload_is_no_difference(ledger: Ledger) -> None:
    """The cost and its credit stand under different labels, and add up to the event's price."""
    assert sum(net(ledger).values()) == Decimal("0.27")
    assert ledger.check() == []


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ("UPDATE events SET cost = '0.21' WHERE cost = '0.2'", "the total is 0.2, the rows add up to 0.21"),
        (
            "UPDATE events SET currency = 'EUR' WHERE cost = '0.2'",
            "currency=EUR}: the total is 0, the rows add up to 0.2",
        ),
        ("DELETE FROM events WHERE cost = '0.07'", "telnyx_inference_turns_total"),
    ],
)
def test_a_lost_or_moved_cent_is_found(ledger: Ledger, change: str, difference: str) -> None:
    """Between currencies and record types, too."""
    numeric = change.replace("'0.21'", "0.21").replace("'0.2'", "0.2").replace("'0.07'", "0.07")
    ledger._engine.transact(lambda: ledger._connection.execute(numeric if ledger.shared else change))  # noqa: SLF001 - damage
    assert any(difference in line for line in ledger.check())


def test_the_command_accepts_a_ledger_of_other_labels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The configuration was changed while the exporter was stopped."""
    ledger = opened(tmp_path / "ledger.sqlite", replace(SETTINGS, extra=("team",)))
    ledger.follow([ref("s")], "file", 0.0)
    book(ledger, ("team",), "0.30", 0.0)
    ledger.close()
    config = tmp_path / "config.yaml"
    config.write_text(f"ledger: {{url: 'sqlite:///{tmp_path / 'ledger.sqlite'}'}}\n")
    assert main(["ledger", "check", "--config.file", str(config)]) == 0
    assert "ok" in capsys.readouterr().out
