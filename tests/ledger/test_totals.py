"""Totals: buckets, zero series and bounds of label values."""

from collections.abc import Sequence
from decimal import Decimal

from msgspec.structs import replace

from exporter.config import Buckets, Config, Label
from exporter.core.model import Poll
from exporter.ledger import Ledger, TotalsSettings
from tests.ledger.test_ledger import ALL, book, opened, poll, ref, values
from tests.support.trees import node


def test_an_observation_at_a_bound_is_in_its_bucket(ledger_url: str) -> None:
    """A bound counts as printed: 0.3 is in the bucket of 0.3, though the float 0.3 is a little less."""
    plain = Config()
    buckets = Buckets(session_cost=tuple(map(Decimal, ("0.1", "0.3", "1"))))
    ledger = opened(ledger_url, TotalsSettings.of(replace(plain, metrics=replace(plain.metrics, buckets=buckets))))
    ledger.follow([ref("s")], "file", 0.0)
    for at in (0.0, 3601.0):
        book(ledger, node("call-session:s", "0.3"), at)
    cost = next(total for total in ledger.totals() if total.family == "telnyx_session_cost")
    assert cost.counts == (0, 1, 0, 0)
    ledger.close()


def test_a_cost_series_begins_with_its_credits(ledger_url: str) -> None:
    """Net cost is a difference of two series, so both exist from the first booking on."""
    ledger = opened(ledger_url)
    ledger.follow([ref("s")], "file", 0.0)
    book(ledger, node("call-session:s", "0.3"), 0.0)
    assert values(ledger, "telnyx_cost_credits_total", "record_type") == {("call-session",): Decimal(0)}
    ledger.close()


def test_a_new_counter_waits_to_be_exposed(ledger_url: str) -> None:
    """Counters and histograms are pending until they were scraped at 0; a gauge is exposed at once."""
    ledger = opened(ledger_url)
    ledger.follow([ref("s")], "file", 0.0)
    for at in (0.0, 3601.0):
        book(ledger, node("call-session:s", "0.3"), at)
    exposed = {total.family: total.exposed for total in ledger.totals()}
    assert exposed["telnyx_cost_total"] is exposed["telnyx_session_cost"] is False
    assert exposed["telnyx_sessions"] is True
    ledger.close()


def teams(found: Poll, names: Sequence[str]) -> Poll:
    """The poll with its events under these values of the label `team`."""
    labelled = zip(found.attributes, names, strict=True)
    return replace(
        found, attributes=tuple(replace(each, labels=(*each.labels, ("team", name))) for each, name in labelled)
    )


def test_values_of_a_label_fold_past_their_bound(ledger_url: str) -> None:
    """Two teams are shown, and the third is `other`. `other` and `none` don't use up the maximum."""
    plain = Config()
    labels = (Label(name="team", field="team", values_max=2),)
    ledger: Ledger = opened(
        ledger_url, TotalsSettings.of(replace(plain, metrics=replace(plain.metrics, labels=labels)))
    )
    ledger.follow([ref("s")], "file", 0.0)
    (claim,) = ledger.claim(0.0, ALL)
    tree = node("call-session:s", "1", *(node(f"recording:{number}", "1") for number in range(5)))
    ledger.commit([teams(poll(claim, tree, 0.0), ["other", "none", "red", "blue", "green", "red"])])
    costs = values(ledger, "telnyx_cost_total", "team")
    assert costs == {("other",): Decimal(2), ("none",): Decimal(1), ("red",): Decimal(2), ("blue",): Decimal(1)}
    assert values(ledger, "telnyx_label_overflows_total", "label") == {("team",): Decimal(1)}
    ledger.close()
