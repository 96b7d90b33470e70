"""compose.yaml as Docker Compose reads it; and the demo that it describes, as processes."""

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from exporter import __version__, config
from exporter.cli.main import parse
from tests.deployment.test_image import program
from tests.support.exporting import SCRAPER, net, read
from tests.support.waiting import until
from tools.generate_docs import TOP

pytestmark = pytest.mark.slow

COMPOSE = TOP / "compose.yaml"
FOLDER = TOP / "deploy" / "compose"
MOUNT = "/etc/telnyx-session-exporter"
KEY = "KEY-of-somebody"
START = {
    "exporter": set(),
    "alertmanager": set(),
    "prometheus": {"exporter", "alertmanager"},
    "grafana": {"prometheus"},
}
"""The services, and whose health each waits for."""
DEMO = {**START, "simulator": {"exporter"}}
MINUTE = 60.0


@cache
def services(*, demo: bool = False, **variables: str) -> Mapping[str, Any]:
    """The services that are started, as Docker Compose understands them, in an environment with these variables."""
    flags = ["--profile", "demo"] if demo else []
    command: list[str | Path] = [program("docker-compose"), "-f", COMPOSE, *flags, "config", "--format=json"]
    environment = {"PATH": os.environ["PATH"], "HOME": "/", **variables}
    run = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert (run.returncode, run.stderr) == (0, "")
    found: Mapping[str, Any] = json.loads(run.stdout)["services"]
    return found


def arguments(service: Mapping[str, Any]) -> Any:
    """What the exporter's own command line makes of the service's command."""
    return parse(service["command"])


def test_what_starts_in_which_order() -> None:
    """Each waits until those that it needs are healthy, and each can say whether it is."""
    for found, wanted in ((services(), START), (services(demo=True), DEMO)):
        waits = {name: service.get("depends_on") or {} for name, service in found.items()}
        assert {name: set(others) for name, others in waits.items()} == wanted
        assert {other["condition"] for others in waits.values() for other in others.values()} == {"service_healthy"}
        assert all(service["healthcheck"]["test"][0] == "CMD" for service in found.values())


def test_versions_are_pinned() -> None:
    """To the last number; our own image is the one of this version, built from here."""
    for name, service in services(demo=True).items():
        assert re.fullmatch(r"[a-z/-]+:v?\d+\.\d+\.\d+", service["image"]), name
        own = name in {"exporter", "simulator"}
        assert ("build" in service) is own
        assert service["image"].endswith(f"session-exporter:{__version__}") is own


def test_what_is_published() -> None:
    """On this machine only; Grafana alone elsewhere, if that is asked for."""

    def addresses(**variables: str) -> dict[str, str]:
        found = services(demo=True, **variables).items()
        return {name: port["host_ip"] for name, service in found for port in service.get("ports", ())}

    local = dict.fromkeys(START, "127.0.0.1")
    assert addresses() == local
    assert addresses(GRAFANA_ADDRESS="0.0.0.0") == {**local, "grafana": "0.0.0.0"}


def test_all_are_contained() -> None:
    """Nobody writes but to a volume or to memory, has a capability, or takes all the memory there is."""
    for name, service in services(demo=True).items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert int(service["deploy"]["resources"]["limits"]["memory"]) > 0, name
        binds = [volume for volume in service.get("volumes", ()) if volume["type"] == "bind"]
        assert all(bind["read_only"] and Path(bind["source"]).exists() for bind in binds), name
        assert "user" not in service, "each image has its own"


def test_with_a_key_it_is_your_account() -> None:
    """Without one it is the simulator's; each has a ledger, and the key comes from the environment alone."""
    demo, live = services()["exporter"], services(TELNYX_API_KEY=KEY)["exporter"]
    files = [arguments(service).config_file for service in (demo, live)]
    assert [str(file.relative_to(MOUNT)) for file in files] == ["config.yaml", "live/config.yaml"]
    assert (demo["environment"]["TELNYX_API_KEY"], live["environment"]["TELNYX_API_KEY"]) == ("", KEY)
    read = [config.parse((FOLDER / file.relative_to(MOUNT)).read_bytes(), file.name) for file in files]
    assert [one.ledger.url for one in read] == ["sqlite:////data/demo.sqlite", "sqlite:////data/ledger.sqlite"]
    assert [one.accounts[0].name for one in read] == ["demo", "default"]
    assert KEY not in COMPOSE.read_text()


def test_prometheus_reads_its_configuration(promtool: Path, tmp_path: Path) -> None:
    """With the rules where they are mounted, and with exemplars."""
    prometheus = services()["prometheus"]
    mounts = {volume["target"]: volume["source"] for volume in prometheus["volumes"]}
    (tmp_path / "prometheus.yml").write_bytes(Path(mounts["/etc/prometheus/prometheus.yml"]).read_bytes())
    (tmp_path / "rules").symlink_to(mounts["/etc/prometheus/rules"])
    command: list[str | Path] = [promtool, "check", "config", tmp_path / "prometheus.yml"]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    assert checked.stdout.count("rules found") == 3
    assert "--enable-feature=exemplar-storage" in prometheus["command"]
    known = yaml.safe_load((tmp_path / "prometheus.yml").read_text())
    targets = {
        target for job in known["scrape_configs"] for group in job["static_configs"] for target in group["targets"]
    }
    assert {target.partition(":")[0] for target in targets} - {"localhost"} <= services().keys()


def test_grafana_finds_what_is_provisioned() -> None:
    """Data source and dashboards are mounted where they look for each other."""
    mounts = {volume["target"] for volume in services()["grafana"]["volumes"]}
    provider = yaml.safe_load((TOP / "grafana/provisioning/dashboards/telnyx.yaml").read_text())["providers"][0]
    source = yaml.safe_load((TOP / "grafana/provisioning/datasources/prometheus.yaml").read_text())["datasources"][0]
    assert {provider["options"]["path"], "/etc/grafana/provisioning"} <= mounts
    assert source["url"] == "http://prometheus:9090"
    assert "TELNYX_EXPORTER_URL" in services()["grafana"]["environment"]


@contextmanager
def started(*command: str, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-m", "exporter", *command], env={**os.environ, **variables})
    try:
        yield process
    finally:
        process.terminate()
        assert process.wait(MINUTE) == 0


def free_ports() -> tuple[int, int]:
    """Two of the loopback's that nothing listens on."""
    with socket.socket() as one, socket.socket() as two:
        for listener in (one, two):
            listener.bind(("127.0.0.1", 0))
        return one.getsockname()[1], two.getsockname()[1]


def shown(origin: str) -> bool:
    """Whether there is money in many kinds of event, and some sessions have settled."""
    with suppress(httpx.TransportError):
        samples = read(httpx.get(f"{origin}/metrics", headers=SCRAPER).text)
        settled = samples.get(("telnyx_sessions", (("account", "demo"), ("state", "settled"))), Decimal(0))
        return settled > 0 and len([cost for cost in net(samples).values() if cost > Decimal(0)]) > 10
    return False


def test_the_demo_shows_money_within_a_minute(tmp_path: Path) -> None:
    """The exporter and the simulator with the commands and files of the demo, but for hosts, ports and paths."""
    demo = services(demo=True)
    own, other = free_ports()
    moved = {"exporter:9464": f"127.0.0.1:{own}", "simulator:9465": f"127.0.0.1:{other}", "/data/": f"{tmp_path}/"}
    moved |= {"=0.0.0.0": "=127.0.0.1", "--port=9465": f"--port={other}"}

    def here(text: str) -> str:
        for there, place in moved.items():
            text = text.replace(there, place)
        return text

    (tmp_path / "config.yaml").write_text(here((FOLDER / "config.yaml").read_text()))
    run = [part.replace(MOUNT, str(tmp_path)) for part in demo["exporter"]["command"]]
    origin = f"http://127.0.0.1:{own}"
    with ExitStack() as processes:
        variables = demo["exporter"]["environment"]
        processes.enter_context(started(*run, f"--web.listen-address=127.0.0.1:{own}", "--log.level=warn", **variables))
        processes.enter_context(started(*map(here, demo["simulator"]["command"])))
        until(lambda: shown(origin), lambda: read(httpx.get(f"{origin}/metrics").text), MINUTE)
