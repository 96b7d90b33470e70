"""Faults on request: their bytes on the wire, their share, the affected paths, and their end."""

import json
import socket
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from simulator import DOCUMENTED_ID, FAULT_KINDS, Faults, Running, SimulatorSettings, running
from simulator.faults import FaultInjector

PATH = f"/v2/session_analysis/call-session/{DOCUMENTED_ID}?max_depth=5"


@pytest.fixture(scope="module")
def simulated() -> Iterator[Running]:
    with running(SimulatorSettings(speed=0.0, sessions_max=0, documented_example=True), time.monotonic) as simulator:
        yield simulator


def misbehave(simulated: Running, **faults: Any) -> Any:
    return httpx.post(f"{simulated.origin}/_faults", json=faults).json()


def ask(simulated: Running, path: str = PATH, **headers: str) -> httpx.Response:
    key = {"authorization": f"Bearer {simulated.api_key}"}
    return httpx.get(simulated.origin + path, headers={**key, **headers})


def on_the_wire(simulated: Running) -> tuple[bytes, bool]:
    """Return the bytes of one answer until the connection ends, and whether it was reset."""
    host, port = simulated.origin.removeprefix("http://").split(":")
    lines = (f"GET {PATH} HTTP/1.1", f"Host: {host}", f"Authorization: Bearer {simulated.api_key}", "Connection: close")
    received = b""
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall("".join(f"{line}\r\n" for line in (*lines, "")).encode())
        try:
            while part := connection.recv(65536):
                received += part
        except ConnectionResetError:
            return received, True
    return received, False


def split(answer: bytes) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of an answer as it came."""
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *rest = head.decode().split("\r\n")
    return int(first.split()[1]), {k.lower(): v for k, v in (line.split(": ", 1) for line in rest)}, body


@pytest.fixture
def right(simulated: Running) -> bytes:
    misbehave(simulated)
    return split(on_the_wire(simulated)[0])[2]


STATUSES = [
    ("500", 500, "application/json"),
    ("502", 502, "text/html; charset=utf-8"),
    ("503", 503, "text/html; charset=utf-8"),
    ("429", 429, "application/json"),
]


@pytest.mark.parametrize(("kind", "status", "content_type"), STATUSES)
def test_a_failing_api_says_so_in_telnyx_words_or_the_gateways(
    simulated: Running, kind: str, status: int, content_type: str
) -> None:
    """500 and 429 have Telnyx's error body, 502 and 503 the HTML of a proxy."""
    misbehave(simulated, error_share=1.0, kinds=[kind], retry_after_seconds=7)
    answer = ask(simulated)
    assert (answer.status_code, answer.headers["content-type"]) == (status, content_type)
    assert answer.headers.get("retry-after") == ("7" if status == 429 else None)
    if content_type == "application/json":
        assert answer.json()["errors"][0]["code"]


def test_a_reset_is_a_reset(simulated: Running) -> None:
    """The connection ends with a TCP reset, before a byte of the answer."""
    misbehave(simulated, error_share=1.0, kinds=["reset"])
    assert on_the_wire(simulated) == (b"", True)


def test_a_truncated_body_is_shorter_than_promised(simulated: Running, right: bytes) -> None:
    """content-length is that of the whole body, but half of it is sent before a regular close."""
    misbehave(simulated, error_share=1.0, kinds=["truncated"])
    received, was_reset = on_the_wire(simulated)
    status, headers, body = split(received)
    assert (status, was_reset, int(headers["content-length"])) == (200, False, len(right))
    assert body == right[: len(right) // 2]


@pytest.mark.parametrize("accepted", ["identity", "gzip"])
def test_corrupt_json_has_its_length_but_cannot_be_read(simulated: Running, right: bytes, accepted: str) -> None:
    """The answer is valid HTTP but invalid JSON, in every encoding."""
    misbehave(simulated, error_share=1.0, kinds=["corrupt_json"])
    answer = ask(simulated, **{"accept-encoding": accepted})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert len(answer.content) == len(right)
    with pytest.raises(json.JSONDecodeError):
        json.loads(answer.content)


def test_a_slow_body_takes_its_time_and_is_right(simulated: Running, right: bytes) -> None:
    """The answer arrives slowly over the given time, and is complete."""
    misbehave(simulated, error_share=1.0, kinds=["slow_body"], slow_body_seconds=0.3)
    started = time.monotonic()
    assert split(on_the_wire(simulated)[0])[2] == right
    assert time.monotonic() - started >= 0.3


def test_a_slow_body_is_slow_in_its_body(simulated: Running) -> None:
    """Headers arrive at once, so only a timeout over the whole answer catches it."""
    misbehave(simulated, error_share=1.0, kinds=["slow_body"], slow_body_seconds=3.0)
    started = time.monotonic()
    key = {"authorization": f"Bearer {simulated.api_key}"}
    with httpx.stream("GET", simulated.origin + PATH, headers=key) as answer:
        assert answer.status_code == 200
        assert next(answer.iter_raw())
    assert time.monotonic() - started < 3.0


def test_a_wrong_content_type_hides_a_right_body(simulated: Running, right: bytes) -> None:
    """The body is right, but its content type is HTML."""
    misbehave(simulated, error_share=1.0, kinds=["content_type"])
    answer = ask(simulated, **{"accept-encoding": "identity"})
    assert (answer.headers["content-type"], answer.content) == ("text/html; charset=utf-8", right)


def test_an_empty_body_is_a_200_with_nothing(simulated: Running) -> None:
    """The status is 200 and the body empty."""
    misbehave(simulated, error_share=1.0, kinds=["empty_body"])
    answer = ask(simulated)
    assert (answer.status_code, answer.content, answer.headers["content-length"]) == (200, b"", "0")


def test_a_redirect_leads_to_itself(simulated: Running) -> None:
    """The redirect leads back to the same path, so following it never ends."""
    misbehave(simulated, error_share=1.0, kinds=["redirect"])
    answer = ask(simulated)
    assert (answer.status_code, answer.headers["location"]) == (302, PATH.partition("?")[0])


@pytest.mark.slow
@pytest.mark.parametrize("kind", FAULT_KINDS)
def test_every_fault_passes_without_a_trace(
    simulated: Running, right: bytes, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Faults affect only the API's paths, cause no logged error, and leave the next answer right."""
    before = httpx.get(f"{simulated.origin}/_faults").json()["counts"].get(kind, 0)
    misbehave(simulated, error_share=1.0, kinds=[kind], slow_body_seconds=0.0)
    on_the_wire(simulated)
    assert httpx.get(f"{simulated.origin}/_truth").json()["events"] == 11
    assert httpx.get(f"{simulated.origin}/_faults").json()["counts"][kind] == before + 1
    misbehave(simulated)
    assert split(on_the_wire(simulated)[0])[2] == right
    assert not caplog.records


def test_latency_is_added_to_right_answers(simulated: Running, right: bytes) -> None:
    """Each answer is delayed up to the limit and right; the control plane answers at once."""
    assert misbehave(simulated, latency_seconds=0.05)["faults"]["latency_seconds"] == 0.05
    started = time.monotonic()
    bodies = {split(on_the_wire(simulated)[0])[2] for _ in range(10)}
    assert bodies == {right}
    assert time.monotonic() - started > 0.05


def test_faults_are_set_at_the_start_too() -> None:
    """A simulator can have faults from its first request on, until a command ends them."""
    settings = SimulatorSettings(
        speed=0.0, sessions_max=0, documented_example=True, faults=Faults(error_share=1.0, kinds=("503",))
    )
    with running(settings, time.monotonic) as simulated:
        assert ask(simulated).status_code == 503
        misbehave(simulated)
        assert ask(simulated).status_code == 200


def test_chance_goes_by_the_number_of_the_request() -> None:
    """A seed decides which requests fail and how; the share of faults is as configured, of all kinds."""
    drawn = {}
    for name, seed in (("first", 1), ("again", 1), ("other", 2)):
        misbehaving = FaultInjector(Faults(error_share=0.3, latency_seconds=1.0), seed)
        drawn[name] = [misbehaving.draw() for _ in range(2000)]
    assert drawn["first"] == drawn["again"] != drawn["other"]
    counts = Counter(kind for _, kind in drawn["first"])
    assert 0.25 < 1 - counts[None] / 2000 < 0.35
    assert set(counts) == {None, *FAULT_KINDS}
    assert all(0 <= late < 1 for late, _ in drawn["first"])


@pytest.mark.parametrize(
    "wrong",
    [
        {"error_share": 1.5},
        {"error_share": -0.1},
        {"kinds": []},
        {"kinds": ["meteor"]},
        {"latency_seconds": -1},
        {"slow_body_seconds": -1},
        {"retry_after_seconds": -1},
        {"share": 0.5},
    ],
)
def test_wrong_faults_are_refused(simulated: Running, wrong: dict[str, Any]) -> None:
    """An invalid command is a 400 that names the mistake and changes nothing."""
    before = misbehave(simulated, error_share=0.0, kinds=["500"])["faults"]
    answer = httpx.post(f"{simulated.origin}/_faults", json=wrong)
    assert answer.status_code == 400
    assert next(iter(wrong)) in answer.json()["errors"][0]["detail"]
    assert httpx.get(f"{simulated.origin}/_faults").json()["faults"] == before
