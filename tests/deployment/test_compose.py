"""compose.yaml as Docker Compose reads it, and the commands of its demo run as processes."""

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
KEY = "KEY-of-a-user"
START = {
    "exporter": set(),
    "alertmanager": set(),
    "prometheus": {"exporter", "alertmanager"},
    "grafana": {"prometheus"},
}
"""The services, each with those that must be healthy before it starts."""
DEMO = {**START, "simulator": {"exporter"}}
MINUTE = 60.0


@cache
def services(*, demo: bool = False, **variables: str) -> Mapping[str, Any]:
    """Return the services that Docker Compose starts in an environment with these variables."""
    flags = ["--profile", "demo"] if demo else []
    command: list[str | Path] = [program("docker-compose"), "-f", COMPOSE, *flags, "config", "--format=json"]
    environment = {"PATH": os.environ["PATH"], "HOME": "/", **variables}
    run = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert (run.returncode, run.stderr) == (0, "")
    found: Mapping[str, Any] = json.loads(run.stdout)["services"]
    return found


def arguments(service: Mapping[str, Any]) -> Any:
    """Parse the service's command with the exporter's own parser."""
    return parse(service["command"])


def test_services_start_in_order() -> None:
    """Each service has a health check and waits until the services that it needs are healthy."""
    for found, wanted in ((services(), START), (services(demo=True), DEMO)):
        waits = {name: service.get("depends_on") or {} for name, service in found.items()}
        assert {name: set(others) for name, others in waits.items()} == wanted
        assert {other["condition"] for others in waits.values() for other in others.values()} == {"service_healthy"}
        assert all(service["healthcheck"]["test"][0] == "CMD" for service in found.values())


def test_versions_are_pinned() -> None:
    """Every image has a full version; the exporter's own image is built from the checkout, with its version."""
    for name, service in services(demo=True).items():
        assert re.fullmatch(r"[a-z/-]+:v?\d+\.\d+\.\d+", service["image"]), name
        own = name in {"exporter", "simulator"}
        assert ("build" in service) is own
        assert service["image"].endswith(f"session-exporter:{__version__}") is own


def test_published_ports() -> None:
    """Ports are published on the loopback only; GRAFANA_ADDRESS publishes Grafana elsewhere."""

    def addresses(**variables: str) -> dict[str, str]:
        found = services(demo=True, **variables).items()
        return {name: port["host_ip"] for name, service in found for port in service.get("ports", ())}

    local = dict.fromkeys(START, "127.0.0.1")
    assert addresses() == local
    assert addresses(GRAFANA_ADDRESS="0.0.0.0") == {**local, "grafana": "0.0.0.0"}


def test_all_are_contained() -> None:
    """Every service has a read-only root, no capabilities, a memory limit, and read-only bind mounts."""
    for name, service in services(demo=True).items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert int(service["deploy"]["resources"]["limits"]["memory"]) > 0, name
        binds = [volume for volume in service.get("volumes", ()) if volume["type"] == "bind"]
        assert all(bind["read_only"] and Path(bind["source"]).exists() for bind in binds), name
        assert "user" not in service, "each image sets its own user"


def test_with_a_key_it_is_your_account() -> None:
    """With a key the exporter polls its account, without one the simulator; each case has its own ledger."""
    demo, live = services()["exporter"], services(TELNYX_API_KEY=KEY)["exporter"]
    files = [arguments(service).config_file for service in (demo, live)]
    assert [str(file.relative_to(MOUNT)) for file in files] == ["config.yaml", "live/config.yaml"]
    assert (demo["environment"]["TELNYX_API_KEY"], live["environment"]["TELNYX_API_KEY"]) == ("", KEY)
    read = [config.parse((FOLDER / file.relative_to(MOUNT)).read_bytes(), file.name) for file in files]
    assert [one.ledger.url for one in read] == ["sqlite:////data/demo.sqlite", "sqlite:////data/ledger.sqlite"]
    assert [one.accounts[0].name for one in read] == ["demo", "default"]
    assert KEY not in COMPOSE.read_text()


def test_prometheus_reads_its_configuration(promtool: Path, tmp_path: Path) -> None:
    """Prometheus accepts its configuration with the mounted rules, and stores exemplars."""
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
    """Data source and dashboards are mounted where Grafana's provisioning expects them."""
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
    """Return two free ports of the loopback."""
    with socket.socket() as one, socket.socket() as two:
        for listener in (one, two):
            listener.bind(("127.0.0.1", 0))
        return one.getsockname()[1], two.getsockname()[1]


def shown(origin: str) -> bool:
    """Return whether many record types have costs and some sessions have settled."""
    with suppress(httpx.TransportError):
        samples = read(httpx.get(f"{origin}/metrics", headers=SCRAPER).text)
        settled = samples.get(("telnyx_sessions", (("account", "demo"), ("state", "settled"))), Decimal(0))
        return settled > 0 and len([cost for cost in net(samples).values() if cost > Decimal(0)]) > 10
    return False


def test_the_demo_shows_money_within_a_minute(tmp_path: Path) -> None:
    """The demo's commands and files, with other hosts, ports and paths, give costs within a minute."""
    demo = services(demo=True)
    own, other = free_ports()
    moved = {"exporter:9464": f"127.0.0.1:{own}", "simulator:9465": f"127.0.0.1:{other}", "/data/": f"{tmp_path}/"}
    moved |= {"=0.0.0.0": "=127.0.0.1", "--port=9465": f"--port={other}"}

    def here(text: str) -> str:
        for old, new in moved.items():
            text = text.replace(old, new)
        return text

    (tmp_path / "config.yaml").write_text(here((FOLDER / "config.yaml").read_text()))
    run = [part.replace(MOUNT, str(tmp_path)) for part in demo["exporter"]["command"]]
    origin = f"http://127.0.0.1:{own}"
    with ExitStack() as processes:
        variables = demo["exporter"]["environment"]
        processes.enter_context(started(*run, f"--web.listen-address=127.0.0.1:{own}", "--log.level=warn", **variables))
        processes.enter_context(started(*map(here, demo["simulator"]["command"])))
        until(lambda: shown(origin), lambda: read(httpx.get(f"{origin}/metrics").text), MINUTE)
