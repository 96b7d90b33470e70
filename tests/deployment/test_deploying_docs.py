"""docs/deploying.md is true: the names in it exist, its backups work, and a downgrade ends as it says."""

import re
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
import yaml

from exporter import config
from exporter.core.catalog import BY_NAME
from exporter.ledger.schema.version import SCHEMA_VERSION
from simulator import SimulatorSettings, running
from tests.deployment.test_sidecar import NOWHERE, beside, configured, samples, status
from tests.monitoring.test_rules import ALERTS
from tests.project.test_docs import examples
from tests.support.exporting import PLENTY, net, read, same, stated
from tests.support.processes import KEY
from tools.generate_docs import TOP

pytestmark = pytest.mark.slow

PAGE = (TOP / "docs" / "deploying.md").read_text()
LEDGER = "/data/ledger.sqlite"
COPY = "/data/backup.sqlite"
WORLD = SimulatorSettings(
    speed=0.0, history_seconds=100_000.0, sessions_per_hour=2, sessions_max=40, api_key=KEY, quotas=PLENTY
)


def by_statement(ledger: Path, copy: Path) -> None:
    """Back up with the statement that the page gives for `python -m sqlite3`."""
    (statement,) = set(re.findall(rf'python -m sqlite3 {LEDGER} "(.*)"', PAGE))
    with closing(sqlite3.connect(ledger)) as connection:
        connection.execute(statement.replace(COPY, str(copy)))


def by_backup(ledger: Path, copy: Path) -> None:
    """Back up as `.backup` of the program `sqlite3` does."""
    with closing(sqlite3.connect(ledger)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)


def checked(file: Path) -> tuple[int, str]:
    """Return exit code and output of `ledger check` for a configuration."""
    command = [sys.executable, "-m", "exporter", "ledger", "check", f"--config.file={file}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_copies_of_a_ledger_in_use(tmp_path: Path, free_port: int) -> None:
    """Both kinds of backup of a ledger in use pass its check, and an exporter with a copy shows the same costs."""
    with running(WORLD, time.monotonic) as simulated:
        sessions = [{"record_type": ref.record_type, "event_id": ref.event_id} for ref in simulated.world.refs()]
        truth = stated(httpx.get(f"{simulated.origin}/_truth").json())
        changes = {"sessions": sessions, "metrics": {"new_series_zero_seconds": 0}}
        with beside(tmp_path, free_port, simulated.url, **changes) as process:
            process.until(lambda: status(process, "startup") == HTTPStatus.OK)
            process.until(lambda: any(net(samples(process)).values()))
            by_backup(tmp_path / "data" / "ledger.sqlite", tmp_path / "early.sqlite")
            process.until(lambda: same(net(samples(process)), truth))
            by_statement(tmp_path / "data" / "ledger.sqlite", tmp_path / "copy.sqlite")
            assert process.end() == 0, process.log()
    for name in ("early", "copy"):
        (tmp_path / f"{name}.yaml").write_text(f"ledger: {{url: 'sqlite:///{tmp_path / name}.sqlite'}}")
        assert checked(tmp_path / f"{name}.yaml")[0] == 0
    for file in (tmp_path / "data").glob("ledger.sqlite*"):
        file.unlink()
    (tmp_path / "copy.sqlite").rename(tmp_path / "data" / "ledger.sqlite")
    with beside(tmp_path, free_port, NOWHERE, **changes) as process:
        process.until(lambda: status(process, "readiness") == HTTPStatus.OK)
        assert same(net(read(httpx.get(f"{process.origin}/metrics").text)), truth)


def test_an_older_version_refuses_a_newer_ledger(tmp_path: Path, free_port: int) -> None:
    """An exporter refuses a newer ledger with the message on the page, before it has written a byte."""
    configured(tmp_path, NOWHERE)
    ledger = tmp_path / "data" / "ledger.sqlite"
    with beside(tmp_path, free_port, NOWHERE) as process:
        process.until(lambda: status(process, "readiness") == HTTPStatus.OK)
        assert process.end() == 0
    with closing(sqlite3.connect(ledger)) as connection, connection:
        connection.execute("UPDATE meta SET value = ? WHERE key = 'schema_version'", (str(SCHEMA_VERSION + 1),))
        connection.commit()
    before = ledger.read_bytes()
    with beside(tmp_path, free_port, NOWHERE) as process:
        assert process.process.wait(60) == 2
        refusal = process.log().splitlines()[-1]
    (promised,) = re.findall(r"(?m)^ledger\.sqlite (was written by .*)$", PAGE)
    numbers = iter((SCHEMA_VERSION + 1, SCHEMA_VERSION))
    assert refusal.endswith(f"{ledger} {re.sub(r'[0-9]+', lambda _: str(next(numbers)), promised)}")
    assert ledger.read_bytes() == before


def test_names_on_the_page_exist() -> None:
    """The files, settings, metrics and alerts on the page exist."""
    links = [urlsplit(link) for link in re.findall(r"\]\(([^)]+)\)", PAGE)]
    assert [link.path for link in links if not link.scheme and not (TOP / "docs" / link.path).exists()] == []
    assert set(re.findall(r"\btelnyx_[a-z_]+\b", PAGE)) <= BY_NAME.keys()
    assert set(re.findall(r"\bTelnyx[A-Z]\w+", PAGE)) <= ALERTS.keys()
    (discovery,) = [text for text in examples("yaml", PAGE) if "discovery" in yaml.safe_load(text)]
    parsed = config.parse(discovery.encode(), "deploying.md").discovery
    assert (parsed.http.enabled, parsed.detail_records.record_types) == (True, ())
    settings = set(re.findall(r"`(?:[a-z_]+\.)+([a-z_]+)`", PAGE)) - {"sqlite", "yaml"}
    known = (TOP / "docs" / "configuration.md").read_text()
    assert {name for name in settings if f"`{name}`" not in known and f".{name}`" not in known} == set()
