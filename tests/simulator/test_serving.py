"""The simulator as a server: in a thread for tests and the demo, in the foreground for the command."""

import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress

import httpx
import pytest

from simulator import DOCUMENTED_ID, SimulatorSettings, running, serve
from tests.support.waiting import until

SETTINGS = SimulatorSettings(speed=0.0, documented_example=True, sessions_max=0)

PROGRAM = """
import sys, time
from simulator import SimulatorSettings, serve
serve(SimulatorSettings(sessions_max=0), "127.0.0.1", int(sys.argv[1]), time.monotonic)
"""


def test_a_running_simulator_says_how_to_reach_it() -> None:
    """URL, key, world and clock of a simulator in a thread are those of the API that answers."""
    with running(SETTINGS, time.monotonic) as simulator:
        path = f"{simulator.url}/session_analysis/call-session/{DOCUMENTED_ID}"
        answer = httpx.get(path, headers={"authorization": f"Bearer {simulator.api_key}"})
        assert answer.json()["cost"]["total"] == "0.2128"
        simulator.clock.step(5.0)
        truth = httpx.get(f"{simulator.origin}/_truth").json()
        assert truth["now"] == SETTINGS.start + 5.0
        assert truth["events"] == simulator.world.truth().events == 11
    with pytest.raises(httpx.ConnectError):
        httpx.get(simulator.url)


def test_a_taken_port_is_an_error() -> None:
    """On a port in use, neither way of serving starts."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match="in use"), running(SETTINGS, time.monotonic, port=port):
            pass
        with pytest.raises(OSError, match="in use"):
            serve(SETTINGS, "127.0.0.1", port, time.monotonic)


def answers(program: subprocess.Popen[bytes], url: str) -> bool:
    """Return whether the program answers by now; fails if it has ended."""
    assert program.poll() is None, program.communicate()
    with suppress(httpx.ConnectError):
        return httpx.get(url).is_success
    return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serving_in_the_foreground_ends_with_a_signal(number: signal.Signals) -> None:
    """`serve` answers until it is interrupted or terminated."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    program = subprocess.Popen([sys.executable, "-c", PROGRAM, str(port)], stderr=subprocess.PIPE)
    try:
        until(lambda: answers(program, f"http://127.0.0.1:{port}/_truth"))
        program.send_signal(number)
        program.communicate(timeout=20)
        assert program.returncode in {-number, 0}
    finally:
        program.kill()
        program.wait()
