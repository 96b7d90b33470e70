"""Telnyx's own SDK reads what the simulated API serves, with strict validation: it is shaped like the real one."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace
from telnyx import AuthenticationError, BadRequestError, NotFoundError, Telnyx
from telnyx.types.event_node import EventNode

from exporter.core.record_types import RecordTypes
from simulator import DOCUMENTED_ID, WORLD_A, Running, Signer, SimulatedWebhooks, SimulatorSettings, running
from simulator.records import LISTABLE_TYPES
from tests.simulator.test_webhooks import receiving, sent

pytestmark = pytest.mark.slow

SESSIONS = 200


@pytest.fixture(scope="module")
def simulator() -> Iterator[Running]:
    settings = SimulatorSettings(
        seed=20260317,
        speed=0.0,
        sessions_per_hour=3600.0,
        sessions_max=SESSIONS,
        documented_example=True,
        # The SDK requires a price of each event, which bundled ones don't have.
        api=replace(WORLD_A, bundled_tts=False),
        quotas={"detail_records": 10**6},
    )
    with running(settings, time.monotonic) as simulator:
        simulator.clock.step(4 * 3600.0)  # most events are rated, some not yet
        yield simulator


@pytest.fixture(scope="module")
def sdk(simulator: Running) -> Iterator[Telnyx]:
    with Telnyx(
        api_key=simulator.api_key, base_url=simulator.url, max_retries=0, _strict_response_validation=True
    ) as sdk:
        yield sdk


def count(node: EventNode) -> int:
    return 1 + sum(map(count, node.children))


def test_the_sdk_reads_200_sessions(simulator: Running, sdk: Telnyx) -> None:
    """Every session that exists is read with every parameter; the others are not found."""
    read = 0
    for place, ref in enumerate(simulator.world.refs()):
        try:
            answer = sdk.session_analysis.retrieve(
                ref.event_id,
                record_type=ref.record_type,
                max_depth=1 + place % 5,
                expand=("record", "none")[place % 2],
                include_children=place % 7 > 0,
                date_time=ref.date_time,
            )
        except NotFoundError:
            continue
        read += 1
        assert answer.root.id == ref.event_id
        assert answer.cost.total == answer.root.cost.cumulative_cost
        assert count(answer.root) <= answer.meta.event_count
    assert read >= SESSIONS * 0.9


def test_the_sdk_reads_the_documented_call(sdk: Telnyx) -> None:
    """The guide's call has 11 events and costs 0.2128."""
    answer = sdk.session_analysis.retrieve(DOCUMENTED_ID, record_type="call-session", max_depth=5)
    assert (answer.meta.event_count, answer.cost.total) == (11, "0.2128")
    assert count(answer.root) == 11


def test_the_sdk_reads_the_metadata(sdk: Telnyx) -> None:
    """The overview and each of the 31 types are read."""
    overview = sdk.session_analysis.metadata.retrieve()
    names = [each.record_type for each in overview.record_types]
    assert names == [each.name for each in RecordTypes.documented()]
    for name in names:
        details = sdk.session_analysis.metadata.retrieve_record_type(name)
        assert details.record_type == name
        assert details.meta.total_children == len(details.child_relationships)


def test_the_sdk_knows_the_refusals(simulator: Running, sdk: Telnyx) -> None:
    """A wrong key, name or id raises the SDK's error for it."""
    with pytest.raises(BadRequestError):
        sdk.session_analysis.retrieve(DOCUMENTED_ID, record_type="nothing")
    with pytest.raises(NotFoundError):
        sdk.session_analysis.retrieve(DOCUMENTED_ID, record_type="verify")
    stranger = sdk.with_options(api_key="KEY-other")
    with pytest.raises(AuthenticationError):
        stranger.session_analysis.metadata.retrieve()
    assert simulator.world.truth().events > 0


def test_the_sdk_reads_every_kind_of_detail_record(sdk: Telnyx) -> None:
    """All pages of all kinds are read, filtered and sorted by the kind's own time."""
    read = 0
    for name, listable in LISTABLE_TYPES.items():
        asked: Any = {"record_type": name, listable.times[0]: {"gte": "2026-03-17T00:00:00Z"}}
        page = sdk.detail_records.list(filter=asked, sort=[f"-{listable.times[0]}"], page_size=50)
        records = list(page)
        assert all(record.record_type for record in records)
        times = [datetime.fromisoformat(str(getattr(record, listable.times[0]))) for record in records]
        assert times == sorted(times, reverse=True)
        read += len(records)
    assert read > SESSIONS


def test_the_sdk_reads_a_message_s_record(sdk: Telnyx) -> None:
    """The fields of a message are those of the SDK's type, with its types."""
    asked: Any = {"record_type": "messaging"}
    record: Any = next(iter(sdk.detail_records.list(filter=asked)))
    assert sdk.session_analysis.retrieve(record.uuid, record_type="message").root.id == record.uuid
    assert (record.currency, record.message_type) == ("USD", "SMS")
    assert Decimal(record.cost) == record.parts * Decimal("0.00400")
    assert record.created_at.tzinfo == UTC


def test_the_sdk_knows_the_refusals_of_the_list(sdk: Telnyx) -> None:
    """A page that can't be raises the SDK's error for a bad request."""
    asked: Any = {"record_type": "call-control"}
    with pytest.raises(BadRequestError):
        sdk.detail_records.list(filter=asked, page_number=0)


def test_the_sdk_reads_records_without_a_price() -> None:
    """Those of text-to-speech in conversations have no cost and no currency."""
    with running(SimulatorSettings(speed=0.0, sessions_max=50), time.monotonic) as simulated:
        simulated.clock.step(86_400.0 * 2)
        sdk = Telnyx(api_key=simulated.api_key, base_url=simulated.url, _strict_response_validation=True)
        asked: Any = {"record_type": "tts"}
        found: Any = list(sdk.detail_records.list(filter=asked, page_size=50))
    assert {record.cost is None for record in found} == {True, False}


def test_the_sdk_reads_the_balance(simulator: Running, sdk: Telnyx) -> None:
    """The balance is the amount paid in minus the true costs."""
    data = sdk.balance.retrieve().data
    assert data is not None
    assert data.balance is not None
    spent = sum(total.cost for total in simulator.world.truth().totals)
    assert Decimal(data.balance) == Decimal(1000) - spent
    assert (data.record_type, data.currency, data.credit_limit) == ("balance", "USD", "100.00")


def test_the_sdk_accepts_the_webhooks() -> None:
    """Each one's signature holds, and its content is that of the SDK's type; with one byte changed it doesn't."""
    with receiving() as receiver:
        settings = SimulatorSettings(
            speed=0.0, sessions_max=30, sessions_per_hour=3600.0, webhooks=SimulatedWebhooks(url=receiver.url)
        )
        with running(settings, time.monotonic, wall=time.time) as simulator:
            simulator.clock.step(86_400.0)
            sent(simulator)
    sdk = Telnyx(api_key="KEY", public_key=simulator.public_key)
    assert simulator.public_key == Signer(settings).public_key
    assert receiver.posted
    for each in receiver.posted:
        event: Any = sdk.webhooks.unwrap(each.body.decode(), headers=each.headers)
        assert event.data.event_type == each.data["event_type"]
        assert event.data.to_dict(mode="json")["id"] == each.data["id"]
        with pytest.raises(ValueError, match="signature does not match"):
            sdk.webhooks.unwrap(each.body.decode() + " ", headers=each.headers)
