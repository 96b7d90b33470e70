"""The command line, with real processes: exit codes and output.

Every test first checks that no output contains the API key.
"""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import httpx
import pytest
import yaml

from exporter import __version__
from exporter.ledger.engine.file_lock import FileLock
from simulator import DOCUMENTED_ID, Running, SimulatorSettings, running
from tests.ledger.test_ledger import opened
from tests.support.exporting import PATIENCE_SECONDS, SCRAPER

pytestmark = pytest.mark.slow

KEY = "KEY018F-never-to-be-seen"
PROG = "telnyx-session-exporter"
README = (Path(__file__).parents[2] / "README.md").read_text()
GOLDEN = (Path(__file__).parents[1] / "data" / "documented-metrics.txt").read_text().splitlines()
"""The documented call on /metrics."""
ANY_PORT = "--web.listen-address=127.0.0.1:0"
FLAG = re.compile(r"--[a-z][a-z.-]+")
TREE = """\
call-session (siptrunking-cdrs) a1b2c3d4-5e6f-7a8b-9c0d-1e2f3a4b5c6d                  event 0.0000  cumulative 0.2128  USD
├── recording (recording-cdrs) a1b2c3d4-5e6f-7a8b-9c0d-000000000001                   event 0.0051  cumulative 0.0051  USD
├── webrtc (webrtc-cdrs) a1b2c3d4-5e6f-7a8b-9c0d-000000000002                         event 0.0052  cumulative 0.0052  USD
├── sip-trunking (siptrunking-cdrs) a1b2c3d4-5e6f-7a8b-9c0d-000000000003              event 0.0052  cumulative 0.0052  USD
└── call-control (callcontrol-cdrs) a1b2c3d4-5e6f-7a8b-9c0d-000000000004              event 0.0052  cumulative 0.1973  USD
    └── ai-voice-assistant (ai-voice-assistant) a1b2c3d4-5e6f-7a8b-9c0d-000000000005  event 0.1800  cumulative 0.1921  USD
        ├── inference (inference) a1b2c3d4-5e6f-7a8b-9c0d-000000000006                event 0.0010  cumulative 0.0010  USD
        ├── inference (inference) a1b2c3d4-5e6f-7a8b-9c0d-000000000007                event 0.0015  cumulative 0.0015  USD
        ├── inference (inference) a1b2c3d4-5e6f-7a8b-9c0d-000000000008                event 0.0029  cumulative 0.0029  USD
        ├── inference (inference) a1b2c3d4-5e6f-7a8b-9c0d-000000000009                event 0.0033  cumulative 0.0033  USD
        └── inference (inference) a1b2c3d4-5e6f-7a8b-9c0d-00000000000a                event 0.0034  cumulative 0.0034  USD

checks hold: 11 events, 0.2128 in all

on /metrics, once it has settled:
"""  # noqa: E501 - as it is printed

Ended = tuple[int, str, str]
"""Exit code, output, errors."""


def environment(folder: Path, key: str | None = KEY) -> Mapping[str, str]:
    """The environment of a process: its temporary files land below `folder`, and lines are long."""
    kept = {name: value for name, value in os.environ.items() if name != "TELNYX_API_KEY"}
    keyed = {} if key is None else {"TELNYX_API_KEY": key}
    return kept | keyed | {"TMPDIR": str(folder), "COLUMNS": "200", "PYTHONUNBUFFERED": "1"}


def start(folder: Path, *arguments: str, key: str | None = KEY) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "exporter", *arguments],
        cwd=folder,
        env=environment(folder, key),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str], read: str = "") -> Ended:
    """How the process ended; `read` is what was read of its output and errors before."""
    output, errors = process.communicate(timeout=PATIENCE_SECONDS)
    for text in (read, output, errors):
        assert KEY not in text
        assert "Traceback" not in text
    return process.returncode, output, errors


def call(folder: Path, *arguments: str, key: str | None = KEY) -> Ended:
    return ended(start(folder, *arguments, key=key))


@contextmanager
def started(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A process that is killed if the test fails before it ends."""
    process = start(folder, *arguments)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def simulated() -> Iterator[Running]:
    """An API that knows the documented call, long rated, and wants the key."""
    with running(SimulatorSettings(speed=0.0, documented_example=True, api_key=KEY), time.monotonic) as simulator:
        yield simulator


def configured(folder: Path, simulated: Running, file: str = "config.yaml") -> None:
    """A config.yaml that follows the documented call, and shows it without waiting."""
    settings = {
        "accounts": [{"name": "main", "base_url": simulated.url}],
        "sessions": [{"record_type": "call-session", "event_id": DOCUMENTED_ID}],
        "discovery": {"detail_records": {"record_types": []}},
        "metrics": {"new_series_zero_seconds": 0},
        "ledger": {"url": "sqlite:///ledger.sqlite"},
    }
    (folder / file).write_text(yaml.safe_dump(settings))


def spent(page: str) -> Decimal:
    lines = [line for line in page.splitlines() if line.startswith("telnyx_cost_total{")]
    return sum((Decimal(line.rpartition(" ")[2]) for line in lines), Decimal(0))


def first_spent(port: int) -> Decimal:
    """The first money that stands on /metrics."""

    async def look() -> Decimal:
        deadline = time.monotonic() + PATIENCE_SECONDS
        async with httpx.AsyncClient() as http:
            while not (shown := spent((await http.get(f"http://127.0.0.1:{port}/metrics", headers=SCRAPER)).text)):
                assert time.monotonic() < deadline, "no money was shown"
                await asyncio.sleep(0.02)
        return shown

    return asyncio.run(look())


def listening(process: subprocess.Popen[str]) -> tuple[int, str]:
    """The port that its first log line names, and the line."""
    assert process.stderr is not None
    line = process.stderr.readline()
    assert json.loads(line)["msg"] == "listening", line
    return json.loads(line)["port"], line


def test_run_ends_well_and_is_durable(tmp_path: Path, simulated: Running) -> None:
    """SIGTERM ends `run` with 0; the next one shows the money on its first page, though the API knows nothing now."""
    configured(tmp_path, simulated)
    with started(tmp_path, "run", ANY_PORT, "--log.format=json") as process:
        port, line = listening(process)
        assert first_spent(port) == Decimal("0.2128")
        process.terminate()
        code, output, errors = ended(process, line)
    assert (code, output) == (0, "")
    assert [json.loads(line)["msg"] for line in errors.splitlines()] == ["stopping"]
    file = tmp_path / "config.yaml"
    file.write_text(file.read_text().replace(simulated.url, f"{simulated.origin}/elsewhere"))
    with started(tmp_path, "run", ANY_PORT, "--log.format=json") as process:
        port, line = listening(process)
        assert spent(httpx.get(f"http://127.0.0.1:{port}/metrics").text) == Decimal("0.2128")
        process.terminate()
        assert ended(process, line)[0] == 0


@pytest.mark.parametrize(
    ("command", "file", "content", "says"),
    [
        ("run", "unknown.yaml", "acounts: []\n", "acounts: unknown key; did you mean accounts?"),
        ("check-config", "syntax.yaml", "accounts: [\n", "syntax.yaml, line 2, column 1: "),
        ("run", "absent.yaml", "", "absent.yaml: cannot be read (No such file or directory); correct --config.file"),
        ("check-config", "absent.yaml", "", "absent.yaml: cannot be read (No such file or directory); correct"),
    ],
)
def test_a_wrong_configuration_is_refused(tmp_path: Path, command: str, file: str, content: str, says: str) -> None:
    """Exit 2, and one message with the path and the cure, before anything is created."""
    if content:
        (tmp_path / file).write_text(content)
    code, output, errors = call(tmp_path, command, f"--config.file={file}")
    assert (code, output) == (2, "")
    assert errors.startswith(f"{PROG}: {says}")
    assert errors.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir() if path.name != file] == []


def test_a_missing_key_is_said(tmp_path: Path) -> None:
    """Without the variable the message names the setting, the variable and the two cures."""
    code, output, errors = call(tmp_path, "run", key=None)
    assert (code, output) == (2, "")
    assert errors == (
        f"{PROG}: accounts[0].api_key_env: the environment variable TELNYX_API_KEY is not set; export it with the"
        " account's API key, or name another variable here, or a file in api_key_file\n"
    )


def test_a_corrupt_ledger_is_refused(tmp_path: Path) -> None:
    """What is no ledger stays as it is."""
    ledger = tmp_path / "telnyx-sessions.sqlite"
    ledger.write_text("this was a ledger once")
    code, output, errors = call(tmp_path, "run", ANY_PORT)
    assert (code, output) == (2, "")
    assert errors.startswith(f"{PROG}: {ledger} is not a SQLite file or is damaged")
    assert "restore a copy or move it away" in errors
    assert ledger.read_text() == "this was a ledger once"


def test_a_ledger_in_use_is_refused(tmp_path: Path) -> None:
    """The message names the process that holds it."""
    ledger = tmp_path / "telnyx-sessions.sqlite"
    lock = FileLock(ledger)
    try:
        code, output, errors = call(tmp_path, "run", ANY_PORT)
    finally:
        lock.release()
    assert (code, output) == (2, "")
    assert errors == f"{PROG}: {ledger} is in use by process {os.getpid()}; one exporter per ledger\n"


@pytest.mark.parametrize("command", ["run", "simulate"])
def test_a_taken_port_is_said(tmp_path: Path, command: str) -> None:
    """Every command that listens exits with 2, and names the address and the cure."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        flag = f"--port={address.rpartition(':')[2]}" if command == "simulate" else f"--web.listen-address={address}"
        code, _, errors = call(tmp_path, command, flag)
    assert code == 2
    assert re.fullmatch(rf"{PROG}: .*{address}.*[Aa]ddress already in use.*; choose another .*\n", errors)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("demo", "--seconds=nan"), "argument --seconds: expected a number above 0, got 'nan'"),
        (("run", "--web.listen-address=9464"), "--web.listen-address: expected host:port, such as :9464"),
        (("session", "message", DOCUMENTED_ID, "--account=x"), "--account: no account 'x'; configured: default"),
    ],
    ids=lambda value: value[1] if isinstance(value, tuple) else "",
)
def test_a_wrong_flag_is_refused(tmp_path: Path, arguments: tuple[str, ...], says: str) -> None:
    """Exit 2, and the flag, what it takes and what it got."""
    code, output, errors = call(tmp_path, *arguments)
    assert (code, output) == (2, "")
    assert says in errors


def test_session_prints_the_documented_tree_and_its_samples(tmp_path: Path, simulated: Running) -> None:
    """The picture is exact; the samples are those of the exporter's own page that the session leaves other than 0."""
    configured(tmp_path, simulated)
    code, output, errors = call(tmp_path, "session", "call-session", DOCUMENTED_ID)
    assert (code, errors) == (0, "")
    assert output.startswith(TREE)
    samples = output.removeprefix(TREE).splitlines()
    assert set(samples) <= set(GOLDEN)
    families = ("telnyx_cost_", "telnyx_events_total", "telnyx_inference_", "telnyx_billed_", "telnyx_session_")
    moved = {line for line in GOLDEN if line.startswith(families) and not line.endswith(" 0")}
    assert moved <= set(samples)
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


@pytest.mark.parametrize(
    ("event_id", "key", "says"),
    [
        ("00000000-0000-4000-8000-000000000000", KEY, "404"),
        (DOCUMENTED_ID, f"{KEY}-but-wrong", "check the API key of this account"),
    ],
    ids=["unknown", "refused"],
)
def test_a_session_that_cannot_be_had(tmp_path: Path, simulated: Running, event_id: str, key: str, says: str) -> None:
    """Exit 1 with what was asked and what the API said to it."""
    configured(tmp_path, simulated)
    code, output, errors = call(tmp_path, "session", "call-session", event_id, key=key)
    assert (code, output) == (1, "")
    assert errors.startswith(f"{PROG}: main: GET /v2/session_analysis/call-session/{event_id}: ")
    assert says in errors


def test_record_types_are_a_table(tmp_path: Path) -> None:
    """All 31 documented ones, with group, product and children; no key is needed."""
    code, output, errors = call(tmp_path, "record-types", key=None)
    assert (code, errors) == (0, "")
    heading, *rows = output.splitlines()
    assert heading.startswith("RECORD TYPE ")
    assert len({row.split()[0] for row in rows}) == len(rows) == 31
    assert ["message", "messaging", "messaging", "ai-messaging-assistant"] in [row.split() for row in rows]


def test_check_config_needs_no_key(tmp_path: Path, simulated: Running) -> None:
    """A configuration can be checked where its secrets are not."""
    configured(tmp_path, simulated)
    assert call(tmp_path, "check-config", key=None) == (
        0,
        "config.yaml: ok, 1 account(s), 1 configured session(s)\n",
        "",
    )


def test_the_demo_shows_money_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """Within seconds sessions are live and settled and money is on /metrics; Ctrl-C ends it, its files included."""
    with started(tmp_path, "demo", ANY_PORT) as process:
        assert process.stdout is not None
        read = []
        for line in process.stdout:
            read.append(line)
            progress = re.fullmatch(r"sessions: (\d+) live, (\d+) settled; .* USD booked, ([0-9.]+) shown\n", line)
            if progress is not None and all(map(Decimal, progress.groups())):
                break
        (origin,) = re.findall(r"(?m)^metrics +(http://\S+)/metrics$", "".join(read))
        page = httpx.get(f"{origin}/metrics").text
        process.send_signal(signal.SIGINT)
        code, output, errors = ended(process, "".join(read))
    assert spent(page) > 0
    assert (code, errors) == (0, "")
    assert output.endswith("ended cleanly\n")
    assert list(tmp_path.iterdir()) == []


def test_the_demo_can_end_by_itself(tmp_path: Path) -> None:
    """`--seconds` stops the demo without a signal."""
    code, output, errors = call(tmp_path, "demo", ANY_PORT, "--seconds=1", key=None)
    assert (code, errors) == (0, "")
    assert output.endswith("ended cleanly\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_simulator_ends_quietly(tmp_path: Path, free_port: int, number: signal.Signals) -> None:
    """Both signals end `simulate` with 0 and without a word."""
    with started(tmp_path, "simulate", f"--port={free_port}") as process:
        assert process.stdout is not None
        line, second = process.stdout.readline(), process.stdout.readline()
        process.send_signal(number)
        assert ended(process, line) == (0, "", "")
    assert re.fullmatch(r"webhooks to where POST /_webhooks says, public key [A-Za-z0-9+/]{43}=\n", second)
    assert line == f"simulator at http://127.0.0.1:{free_port}/v2, key KEY-simulator, truth at /_truth\n"


@pytest.mark.parametrize("command", ["demo", "simulate"])
def test_commands_of_the_simulator_need_it(tmp_path: Path, command: str) -> None:
    """Without the package `simulator`, which is installed by the extra `demo`, the command says how to install it."""
    script = "import sys; sys.modules['simulator'] = None; from exporter.__main__ import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", script, command], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    cure = "this command needs the simulator; install telnyx-session-exporter[demo]"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"{PROG}: {command}: {cure}\n")


def test_a_webhook_url_that_is_none_is_refused(tmp_path: Path) -> None:
    """`simulate` exits with 2 and says what it expected."""
    code, output, errors = call(tmp_path, "simulate", "--webhook-url=nowhere")
    assert (code, output) == (2, "")
    assert "url: expected an http or https URL, got 'nowhere'" in errors


def test_the_readme_names_flags_and_commands_that_exist(tmp_path: Path) -> None:
    """Its table has the flags of `run`, all of them; its examples use no other, and it names every command."""
    flags = set(FLAG.findall(call(tmp_path, "run", "--help")[1])) - {"--help"}
    assert set(re.findall(r"(?m)^\| `(--[a-z.-]+)` \|", README)) == flags
    used = re.findall(rf"(?m)^{PROG} ([a-z-]+)(.*)$", README)
    assert used
    assert {flag for _, rest in used for flag in FLAG.findall(rest)} <= flags
    commands = re.findall(r"(?m)^    ([a-z-]+)\b", call(tmp_path, "--help")[1])
    assert {command for command, _ in used} <= set(commands)
    assert [command for command in commands if f"`{command}" not in README and f"{PROG} {command}" not in README] == []


def test_the_version_is_printed(tmp_path: Path) -> None:
    """Also behind a command, as the README's table says."""
    assert call(tmp_path, "run", "--version") == (0, f"{PROG} {__version__}\n", "")


def test_ledger_commands_look_after_a_stopped_exporters_ledger(tmp_path: Path) -> None:
    """`check` says ok, or that there is none; `rename-account` says what it can't find."""
    config = tmp_path / "config.yaml"
    config.write_text(f"ledger: {{url: 'sqlite:///{tmp_path / 'l.sqlite'}'}}")
    code, _, errors = call(tmp_path, "ledger", "check", f"--config.file={config}", key=None)
    assert (code, "doesn't exist" in errors) == (2, True)
    opened(tmp_path / "l.sqlite").close()
    code, output, _ = call(tmp_path, "ledger", "check", f"--config.file={config}", key=None)
    assert (code, ": ok, " in output) == (0, True)
    code, _, errors = call(tmp_path, "ledger", "rename-account", "a", "b", f"--config.file={config}", key=None)
    assert (code, "no account 'a' in this ledger" in errors) == (2, True)
