"""Telnyx's own SDK reads what the simulated API serves, with strict validation: it is shaped like the real one."""

import time
from collections.abc import Iterator

import pytest
from telnyx import AuthenticationError, BadRequestError, NotFoundError, Telnyx
from telnyx.types.event_node import EventNode

from exporter.record_types import RecordTypes
from exporter.simulator import DOCUMENTED_ID, Running, Settings, running

SESSIONS = 200


@pytest.fixture(scope="module")
def simulator() -> Iterator[Running]:
    settings = Settings(
        seed=20260317, speed=0.0, sessions_per_hour=3600.0, sessions_max=SESSIONS, documented_example=True
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
    """A wrong key, name or id becomes the SDK's own error for it."""
    with pytest.raises(BadRequestError):
        sdk.session_analysis.retrieve(DOCUMENTED_ID, record_type="nothing")
    with pytest.raises(NotFoundError):
        sdk.session_analysis.retrieve(DOCUMENTED_ID, record_type="verify")
    stranger = sdk.with_options(api_key="KEY-other")
    with pytest.raises(AuthenticationError):
        stranger.session_analysis.metadata.retrieve()
    assert simulator.world.truth().events > 0
