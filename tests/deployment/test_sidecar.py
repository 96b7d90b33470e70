"""The sidecar's promises to the app beside it, tested with processes that run as in the manifest."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from decimal import Decimal
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from simulator import SimulatorSettings, running
from tests.deployment.test_kubernetes import exporter, settings
from tests.polling.test_crash import COUNTERS
from tests.support.exporting import PATIENCE_SECONDS, PLENTY, SCRAPER, Samples, net, read, same, stated
from tests.support.processes import KEY, Process
from tests.support.waiting import until

pytestmark = pytest.mark.slow

NOWHERE = "http://127.0.0.1:1/v2"
WORLD = SimulatorSettings(
    speed=0.0, history_seconds=200_000.0, sessions_per_hour=2, sessions_max=60, api_key=KEY, quotas=PLENTY
)
STARTED_SECONDS = 30.0
"""Limit for a start, which takes a second or two on an idle machine."""
MIB = 1 << 20

# Makes all mounts but the folder $1 read-only, then runs the other arguments as a command.
READ_ONLY = """
mount --make-rprivate / && mount --bind "$1" "$1" || exit 90
while read -r _ mounted _; do
  [ "$mounted" = "$1" ] || mount -o remount,bind,ro "$mounted" 2>/dev/null
done < /proc/mounts
touch /read-only 2>/dev/null && exit 91
touch /tmp/read-only 2>/dev/null && exit 92
cd "$1" && shift && exec "$@"
"""


def configured(folder: Path, base_url: str, **changes: Any) -> list[str]:
    """Write the manifest's configuration with paths in this folder and another API; return the manifest's flags."""
    (folder / "api-key").write_text(KEY)
    (folder / "data").mkdir(exist_ok=True)
    account: dict[str, Any] = {"name": "default", "api_key_file": str(folder / "api-key"), "base_url": base_url}
    account |= {"requests_per_second": 1000, "max_in_flight": 20}
    ledger = {"url": settings("sidecar").ledger.url.replace("/data/", f"{folder}/data/")}
    (folder / "config.yaml").write_text(yaml.safe_dump({"accounts": [account], "ledger": ledger, **changes}))
    return [arg for arg in exporter("sidecar")["args"][1:] if not arg.startswith("--config.file")]


@contextmanager
def beside(folder: Path, port: int, base_url: str, **changes: Any) -> Iterator[Process]:
    """Run a sidecar until the block ends, and kill it if it is still running then."""
    process = Process(folder, port, *configured(folder, base_url, **changes))
    try:
        yield process
    finally:
        process.process.kill()
        process.process.wait()


def status(process: Process, probe: str) -> int | None:
    """Return the status code of a probe, as the kubelet gets it; None without an answer."""
    with suppress(httpx.TransportError):
        return httpx.get(process.origin + exporter("sidecar")[f"{probe}Probe"]["httpGet"]["path"]).status_code
    return None


def samples(process: Process) -> Samples:
    return read(httpx.get(f"{process.origin}/metrics", headers=SCRAPER).text)


@contextmanager
def silent() -> Iterator[str]:
    """Serve an API that accepts connections and never answers; yield its base URL."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v2"


@contextmanager
def refusing() -> Iterator[str]:
    yield NOWHERE


@pytest.mark.parametrize("api", [refusing, silent])
def test_it_starts_and_is_ready_without_an_api(tmp_path: Path, free_port: int, api: Any) -> None:
    """Start and readiness don't depend on Telnyx, since the app waits for the one and needs the other."""
    with api() as url, beside(tmp_path, free_port, url) as process:
        started = time.monotonic()
        process.until(lambda: status(process, "startup") == HTTPStatus.OK)
        process.until(lambda: status(process, "readiness") == HTTPStatus.OK)
        assert time.monotonic() - started < STARTED_SECONDS
        unreachable = "telnyx_api_up", (("account", "default"),)
        process.until(lambda: samples(process).get(unreachable) == 0 or api is silent)
        for probe in ("startup", "readiness", "liveness"):
            assert status(process, probe) == HTTPStatus.OK
        assert process.end() == 0, process.log()


def test_sigkill_right_after_sigterm_loses_nothing(tmp_path: Path, free_port: int) -> None:
    """After SIGKILL no counter is below a value shown before, even without an API; in the end costs are exact."""
    fast = {
        "min_interval_seconds": 1,
        "max_interval_seconds": 1,
        "scheduler_interval_seconds": 0.05,
        "settle_after_seconds": 3600,
    }
    with running(WORLD, time.monotonic) as simulated:
        changes = {
            "sessions": [{"record_type": ref.record_type, "event_id": ref.event_id} for ref in simulated.world.refs()],
            "polling": fast,
            "metrics": {"new_series_zero_seconds": 0},
        }
        with beside(tmp_path, free_port, simulated.url, **changes) as process:
            process.until(lambda: status(process, "startup") == HTTPStatus.OK)
            process.until(lambda: any(net(samples(process)).values()))
            shown = samples(process)
            process.process.send_signal(signal.SIGTERM)
            process.process.send_signal(signal.SIGKILL)
            process.process.wait(PATIENCE_SECONDS)
        with beside(tmp_path, free_port, NOWHERE, **changes) as process:
            process.until(lambda: status(process, "readiness") == HTTPStatus.OK)
            found = samples(process)
            kept = {key: value for key, value in shown.items() if key[0] in COUNTERS}
            assert sum(kept.values()) > 0
            assert {key: (kept[key], found.get(key)) for key in kept if found.get(key, Decimal(-1)) < kept[key]} == {}
        truth = stated(httpx.get(f"{simulated.origin}/_truth").json())
        with beside(tmp_path, free_port, simulated.url, **changes) as process:
            process.until(lambda: status(process, "readiness") == HTTPStatus.OK)
            process.until(lambda: same(net(samples(process)), truth))
            assert process.end() == 0, process.log()


def test_it_works_on_a_read_only_root(tmp_path: Path, free_port: int) -> None:
    """A sidecar writes only to the folder of its ledger, not even to /tmp."""
    flags = configured(tmp_path, NOWHERE)
    command = [sys.executable, "-m", "exporter", "run", f"--config.file={tmp_path / 'config.yaml'}", *flags]
    command += [f"--web.listen-address=127.0.0.1:{free_port}"]
    isolated = ["unshare", "--mount", "sh", "-c", READ_ONLY, "sh", str(tmp_path / "data"), *command]
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd()), "PYTHONDONTWRITEBYTECODE": "1"}
    process = subprocess.Popen(isolated, env=environment, stderr=subprocess.PIPE, text=True)

    def ready() -> bool:
        assert process.poll() is None, (process.returncode, process.stderr and process.stderr.read())
        with suppress(httpx.TransportError):
            return httpx.get(f"http://127.0.0.1:{free_port}/-/ready").status_code == HTTPStatus.OK
        return False

    try:
        until(ready)
        process.terminate()
        _, log = process.communicate(timeout=PATIENCE_SECONDS)
    finally:
        process.kill()
    assert process.returncode == 0, log
    assert "Traceback" not in log
    assert {file.name for file in (tmp_path / "data").iterdir()} == {"ledger.sqlite", "ledger.sqlite.lock"}


def test_an_idle_sidecar_fits_its_memory_request(tmp_path: Path, free_port: int) -> None:
    """An idle sidecar needs less memory than its request, which is below half of the limit."""
    with beside(tmp_path, free_port, NOWHERE) as process:
        process.until(lambda: status(process, "readiness") == HTTPStatus.OK)
        samples(process)
        (resident,) = re.findall(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{process.process.pid}/status").read_text())
    requested, limit = (
        int(exporter("sidecar")["resources"][which]["memory"].removesuffix("Mi")) * MIB
        for which in ("requests", "limits")
    )
    assert int(resident) * 1024 < requested < limit / 2
