"""The web config file of a whole exporter: command line, metrics, sources, and a real Prometheus."""

import asyncio
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import bcrypt
import httpx
import pytest

from exporter.config import DiscoverySettings, HttpSettings
from simulator import SimulatorSettings, running
from tests.metrics.test_prometheus import query, ready
from tests.runtime.test_exporter import value
from tests.support.certificates import authority, issue, issue_server
from tests.support.exporting import NO_RECORDS, Exporting, config, exporting, read

pytestmark = pytest.mark.slow

PASSWORD = "dave-distinctive"
HASH = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
USERS = f"basic_auth_users: {{dave: {HASH}}}\n"
DAVE = ("dave", PASSWORD)
TLS = "tls_server_config: {cert_file: server.crt, key_file: server.key"
IF_GIVEN = f"{TLS}, client_auth_type: VerifyClientCertIfGiven"
FAILURES, REFUSALS = "telnyx_exporter_web_config_failures_total", "telnyx_exporter_web_refusals_total"
ROOT, CLIENTS = authority("root"), authority("clients")

PROMETHEUS = """
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
- job_name: telnyx
  scheme: https
  tls_config: {{ca_file: root.crt, cert_file: client.crt, key_file: client.key}}
  basic_auth: {{username: dave, password: {password}}}
  static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
- job_name: stranger
  scheme: https
  tls_config: {{ca_file: root.crt}}
  basic_auth: {{username: dave, password: wrong}}
  static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""


def files(folder: Path, text: str) -> Path:
    """Write a web config file with this text, and the certificates that it may name."""
    issue_server(ROOT).write(folder, "server")
    CLIENTS.write(folder, "clients")
    issue(CLIENTS, "client").write(folder, "client")
    ROOT.write(folder, "root")
    (folder / "web.yml").write_text(text)
    return folder / "web.yml"


@asynccontextmanager
async def guarded(folder: Path, text: str) -> AsyncIterator[Exporting]:
    """Run an exporter with this web config that accepts lists of sessions."""
    with running(SimulatorSettings(speed=0.0, sessions_max=0), time.monotonic) as simulated:
        settings = config(
            simulated, folder, discovery=DiscoverySettings(http=HttpSettings(enabled=True), detail_records=NO_RECORDS)
        )
        async with exporting(settings, simulated, web_config=files(folder, text)) as exporter:
            yield exporter


# Sources


def secure(exporter: Exporting) -> str:
    return exporter.origin.replace("http:", "https:")


async def posted(url: str, client: httpx.AsyncClient, **headers: str) -> int:
    headers = {"X-Forwarded-For": "192.0.2.1", "Host": "exporter.example.org", **headers}
    answer = await client.post(
        f"{url}/api/v1/sessions", json=[{"record_type": "message", "event_id": "a"}], headers=headers
    )
    return answer.status_code


def test_lists_of_who_has_a_password(tmp_path: Path) -> None:
    """A list through a proxy is accepted from a caller with a password, but never from a browser."""

    async def play() -> None:
        async with guarded(tmp_path, USERS) as exporter, httpx.AsyncClient(auth=DAVE) as dave:
            assert await posted(exporter.origin, exporter.http) == 401
            assert await posted(exporter.origin, dave) == 200
            assert await posted(exporter.origin, dave, Origin="https://evil.example.org") == 403

    asyncio.run(play())


@pytest.mark.parametrize(
    ("text", "shown", "status"),
    [
        (f"{IF_GIVEN}, client_ca_file: clients.crt}}", True, 200),
        (f"{IF_GIVEN}, client_ca_file: clients.crt}}", False, 403),
        (f"{TLS}}}", True, 403),
    ],
)
def test_lists_of_who_has_a_certificate(tmp_path: Path, text: str, status: int, *, shown: bool) -> None:
    """A list through a proxy is accepted from a caller with a verified certificate."""

    async def play() -> int:
        async with guarded(tmp_path, text) as exporter:
            context = ssl.create_default_context(cafile=str(tmp_path / "root.crt"))
            if shown:
                context.load_cert_chain(tmp_path / "client.crt", tmp_path / "client.key")
            async with httpx.AsyncClient(verify=context) as client:
                return await posted(secure(exporter), client)

    assert asyncio.run(play()) == status


def test_a_certificate_of_a_public_root_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a configured client CA, a certificate allows reading but doesn't authenticate a caller."""

    async def play() -> int:
        async with guarded(tmp_path, f"{IF_GIVEN}}}") as exporter:
            context = ssl.create_default_context(cafile=str(tmp_path / "root.crt"))
            context.load_cert_chain(tmp_path / "client.crt", tmp_path / "client.key")
            async with httpx.AsyncClient(verify=context) as client:
                return await posted(secure(exporter), client)

    CLIENTS.write(tmp_path, "clients")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "clients.crt"))  # the system's roots
    assert asyncio.run(play()) == 403


# Metrics


def test_what_is_counted(tmp_path: Path) -> None:
    """Refusals and bad changes are counted on /metrics, from 0 at the start."""

    async def play() -> None:
        async with guarded(tmp_path, USERS) as exporter, httpx.AsyncClient(auth=DAVE) as dave:

            async def counted(family: str, **labels: str) -> int:
                return int(value(read((await dave.get(f"{exporter.origin}/metrics")).text), family, **labels))

            await exporter.drained()
            for reason in ("unauthorized", "crowded", "rate_limited", "client_certificate"):
                assert await counted(REFUSALS, reason=reason) == 0
            assert await counted(FAILURES) == 0
            assert (await exporter.http.get(f"{exporter.origin}/metrics")).status_code == 401
            (tmp_path / "web.yml").write_text("basic_auth_users: []")

            async def both() -> bool:
                await exporter.app.maintenance.update_gauges()
                await exporter.drained()
                return (await counted(FAILURES), await counted(REFUSALS, reason="unauthorized")) == (1, 1)

            await exporter.until(both)

    asyncio.run(play())


# The command line


def called(folder: Path, *arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "exporter", *arguments],
        cwd=folder,
        env={"PYTHONPATH": str(Path(__file__).parents[2]), "TELNYX_API_KEY": "KEY"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert PASSWORD not in done.stdout + done.stderr
    assert HASH not in done.stdout + done.stderr
    return done.returncode, done.stdout + done.stderr


def test_check_config(tmp_path: Path) -> None:
    """`check-config` checks the web config file too, and lists settings without effect."""
    (tmp_path / "config.yaml").write_text("{}\n")
    files(tmp_path, f"{USERS}{TLS}, min_version: TLS11}}")
    checked = called(tmp_path, "check-config", "--web.config.file=web.yml")
    assert checked[0] == 0
    assert checked[1].splitlines() == [
        "config.yaml: ok, 1 account(s), 0 configured session(s)",
        "web.yml: ok, https, 1 user(s)",
        "web.yml: tls_server_config.min_version lets clients use TLS11, which is no longer safe",
    ]
    (tmp_path / "web.yml").write_text(f"basic_auth_users: {{dave: {PASSWORD}}}\nheaders: {{}}")
    code, output = called(tmp_path, "check-config", "--web.config.file=web.yml")
    assert code == 2
    assert "telnyx-session-exporter: web.yml: \nheaders: unknown key; known here are tls_server_config" in output
    assert 'basic_auth_users: the value for "dave" is not a bcrypt hash' in output


def test_no_name_is_no_file(tmp_path: Path) -> None:
    """An empty file name equals no flag, as with Prometheus."""
    (tmp_path / "config.yaml").write_text("{}\n")
    checked = called(tmp_path, "check-config", "--web.config.file=")
    assert checked == (0, "config.yaml: ok, 1 account(s), 0 configured session(s)\n")


def test_run_with_a_bad_file(tmp_path: Path) -> None:
    """`run` ends at once, with the file, the key and the cure, before it opens a ledger."""
    files(tmp_path, f"{TLS.replace('server.key', 'gone.key')}}}")
    code, output = called(tmp_path, "run", "--web.config.file=web.yml")
    problem = "web.yml: tls_server_config.key_file: cannot read gone.key (No such file or directory); create the file"
    assert (code, output) == (2, f"telnyx-session-exporter: {problem} or correct the path\n")
    assert not list(tmp_path.glob("*.sqlite*"))


# Prometheus


def test_prometheus_scrapes(tmp_path: Path, prometheus: Path, free_port: int) -> None:
    """A real Prometheus scrapes with TLS, a certificate and a password, also after all of them changed."""

    async def play() -> None:
        text = f"{TLS}, client_auth_type: RequireAndVerifyClientCert, client_ca_file: clients.crt}}\n{USERS}"
        async with guarded(tmp_path, text) as exporter, httpx.AsyncClient() as http:
            (tmp_path / "prometheus.yml").write_text(PROMETHEUS.format(port=exporter.app.web.port, password=PASSWORD))
            process = await asyncio.create_subprocess_exec(
                prometheus,
                f"--config.file={tmp_path / 'prometheus.yml'}",
                f"--storage.tsdb.path={tmp_path / 'tsdb'}",
                f"--web.listen-address=127.0.0.1:{free_port}",
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
            )
            origin = f"http://127.0.0.1:{free_port}"
            try:
                await exporter.until(lambda: ready(http, origin))
                await scraped(exporter, http, origin, 3)
                issue_server(ROOT).write(tmp_path, "server")
                (tmp_path / "web.yml").write_text(f"{TLS}, min_version: TLS13}}\n{USERS}")
                await exporter.until(lambda: refuses_old(exporter))
                await scraped(exporter, http, origin, 6)
            finally:
                process.terminate()
                await process.wait()

    async def refuses_old(exporter: Exporting) -> bool:
        """Return whether the second web config is in use: only the first one accepts TLS 1.2."""
        context = ssl.create_default_context(cafile=str(tmp_path / "root.crt"))
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(tmp_path / "client.crt", tmp_path / "client.key")
        async with httpx.AsyncClient(verify=context) as client:
            try:
                await client.get(secure(exporter))
            except httpx.ConnectError:
                return True
            return False

    async def scraped(exporter: Exporting, http: httpx.AsyncClient, origin: str, times: int) -> None:
        async def often() -> bool:
            seen = await query(http, origin, 'sum(count_over_time(up{job="telnyx"}[5m]))')
            return sum(seen.values()) >= times

        await exporter.until(often)
        up = await query(http, origin, 'min(min_over_time(up{job="telnyx"}[5m]))')
        down = await query(http, origin, 'max(max_over_time(up{job="stranger"}[5m]))')
        assert (sum(up.values()), sum(down.values())) == (1, 0)

    asyncio.run(play())
