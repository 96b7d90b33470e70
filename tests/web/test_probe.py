"""`/probe` shows one session as /metrics would; it books nothing, leaks nothing and starves no other request."""

import asyncio
import gzip
import hashlib
import re
import sqlite3
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from exporter.config import Budget, ConfiguredSession, Label, MetricsSettings, Threshold
from exporter.core.catalog import BY_NAME
from exporter.explain.explanation import LEDGER_FAMILIES
from exporter.ledger import Ledger
from exporter.runtime.plan import policy
from exporter.web.probe import PROBES_MAX
from simulator import DOCUMENTED_ID, SimulatorSettings, running
from tests.runtime.test_exporter import families
from tests.support.exporting import SCRAPER, Exporting, config, exporting, read
from tests.support.faulty_server import Answer, FaultyServer, answer, serving, then_silence, together
from tests.support.trees import answer as tree
from tests.support.trees import body, node

DAY = 86_400.0
PROBE = {"account": "main", "record_type": "call-session", "event_id": DOCUMENTED_ID}
EXAMPLE = SimulatorSettings(speed=0.0, sessions_max=0, documented_example=True)
OWN = ("probe_success", "probe_duration_seconds")
PHONE = "+13125550123"
OPENMETRICS = "application/openmetrics-text; version=1.0.0"
METRICS = MetricsSettings(
    new_series_zero_seconds=0,
    labels=(Label(name="assistant", field="assistant_id"), Label(name="connection", field="connection_name")),
    thresholds=(Threshold(name="long", turns=3), Threshold(name="expensive", cost=Decimal("0.01"), currency="USD")),
)
BUDGETS = (
    Budget(name="all", amount=Decimal(5), currency="USD", window="month"),
    Budget(name="ai", amount=Decimal(5), currency="USD", window=100_000_000, match=(("record_type", "inference"),)),
)

Scenario = Callable[[Exporting, FaultyServer], Awaitable[None]]


async def probe(exporter: Exporting, params: Mapping[str, str] = PROBE, **headers: str) -> httpx.Response:
    return await exporter.http.get(f"{exporter.origin}/probe", params=dict(params), headers=headers)


async def success(exporter: Exporting, params: Mapping[str, str] = PROBE) -> int:
    page = (await probe(exporter, params)).text
    return int(re.findall(r"(?m)^probe_success (\d)$", page)[0])


def lines(page: str) -> set[str]:
    """Return the sample lines, without those of the probe itself."""
    return {line for line in page.splitlines() if not line.startswith(("#", *OWN))}


def family(line: str) -> str:
    name = re.split(r"[{ ]", line)[0]
    return name if name in BY_NAME else re.sub(r"_(bucket|sum|count)$", "", name)


@asynccontextmanager
async def facing(
    folder: Path, api: FaultyServer, *, metrics: MetricsSettings = METRICS, max_attempts: int = 1, **changes: Any
) -> AsyncIterator[Exporting]:
    """Run an exporter against this server; `changes` are the account's settings."""
    with running(EXAMPLE, time.monotonic) as simulated:
        plain = config(simulated, folder, metrics=metrics)
        account = replace(plain.accounts[0], base_url=f"http://127.0.0.1:{api.port}/v2", **changes)
        polling = replace(plain.polling, max_attempts=max_attempts)
        async with exporting(replace(plain, accounts=(account,), polling=polling), simulated) as exporter:

            async def requested() -> bool:
                return len(api.lines) > 0

            await exporter.until(requested)  # by itself the exporter requests only the metadata
            yield exporter


def face(scenario: Scenario, folder: Path, *answers: Answer, by_id: Mapping[str, Answer] | None = None) -> None:
    """Run a scenario against a server with these answers by id, and `answers` for all else."""

    async def play() -> None:
        async with serving(*answers, by_id=by_id) as api, facing(folder, api) as exporter:
            await scenario(exporter, api)

    asyncio.run(play())


def asked(api: FaultyServer) -> list[str]:
    """Return the request lines for sessions."""
    return [line for line in api.lines if "/session_analysis/" in line and "/metadata " not in line]


@pytest.mark.slow
def test_a_probe_equals_the_exporters_own_page(tmp_path: Path) -> None:
    """A probe of each record type has exactly the samples of an exporter that follows the session."""

    async def play() -> None:
        settings = SimulatorSettings(
            speed=0.0, sessions_per_hour=4, seed=1, history_seconds=DAY, documented_example=True
        )
        with running(settings, time.monotonic) as simulated:
            simulated.clock.step(2 * DAY)  # by then all events are rated
            begun = [
                ref for ref in simulated.world.refs() if ref.outermost and ref.begun < simulated.clock.now() - 2 * DAY
            ]
            kinds = {ref.record_type: ref for ref in begun}
            assert {"call-session", "message"} < kinds.keys()
            for record_type, ref in kinds.items():
                session = ConfiguredSession(record_type=record_type, event_id=str(ref.event_id))
                folder = tmp_path / record_type
                folder.mkdir()
                made = config(simulated, folder, sessions=(session,), metrics=METRICS, budgets=BUDGETS)
                async with exporting(made, simulated) as exporter:
                    await exporter.drained()
                    simulated.clock.step(DAY / 4)
                    await exporter.drained()
                    await _compare(exporter, {"record_type": record_type, "event_id": str(ref.event_id)})

    asyncio.run(play())


async def _compare(exporter: Exporting, params: Mapping[str, str]) -> None:
    for accept in ("text/plain", OPENMETRICS):
        whole = lines((await exporter.get("/metrics", accept=accept)).text)
        alone = lines((await probe(exporter, params, accept=accept)).text)
        assert alone - whole == set()
        theirs = {
            line
            for line in whole - alone
            if family(line) in BY_NAME and BY_NAME[family(line)].rule and not line.endswith(" 0")
        }
        assert theirs == set()
        assert {family(line) for line in alone} & set(LEDGER_FAMILIES) == set()


def test_a_probe_books_nothing(tmp_path: Path) -> None:
    """Probes of a session that isn't followed change neither the ledger nor a business sample."""

    async def play() -> None:
        with running(EXAMPLE, time.monotonic) as simulated:
            async with exporting(config(simulated, tmp_path), simulated) as exporter:
                await exporter.drained()
                before = await _books(exporter)
                for params in (PROBE, PROBE | {"event_id": "unknown"}, PROBE | {"debug": "true"}):
                    assert (await probe(exporter, params)).status_code == 200
                await exporter.drained()
                assert await _books(exporter) == before

    asyncio.run(play())
    assert {path.name for path in tmp_path.iterdir()} == {"ledger.sqlite", "ledger.sqlite.lock"}


async def _books(exporter: Exporting) -> tuple[str, set[str]]:
    def content(ledger: Ledger) -> str:
        with sqlite3.connect(f"file:{ledger.location}?mode=ro", uri=True) as connection:
            tables = ("sessions", "events", "totals", "label_sets", "spend", "trees", "amendments")
            rows = [connection.execute(f"SELECT * FROM {table}").fetchall() for table in tables]
        connection.close()
        return hashlib.sha256(repr(rows).encode()).hexdigest()

    page = lines((await exporter.get("/metrics")).text)
    kept = {line for line in page if family(line) in BY_NAME and BY_NAME[family(line)].home == "ledger"}
    return await exporter.app.ledger.run(content), {line for line in kept if "size_bytes" not in line}


def test_a_probe_is_lint_free(tmp_path: Path, promtool: Path) -> None:
    """`promtool check metrics` accepts the page of a success and of a failure."""

    async def pages() -> list[bytes]:
        with running(EXAMPLE, time.monotonic) as simulated:
            made = config(simulated, tmp_path, metrics=METRICS, budgets=BUDGETS)
            async with exporting(made, simulated) as exporter:
                return [(await probe(exporter, params)).content for params in (PROBE, PROBE | {"event_id": "unknown"})]

    for page in asyncio.run(pages()):
        checked = subprocess.run([promtool, "check", "metrics"], input=page, capture_output=True, check=False)
        assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


def test_formats_are_negotiated_as_on_metrics(tmp_path: Path) -> None:
    """Text, OpenMetrics and gzip have the right headers and the same samples."""

    async def scenario() -> None:
        with running(EXAMPLE, time.monotonic) as simulated:
            async with exporting(config(simulated, tmp_path), simulated) as exporter:
                plain = await probe(exporter)
                assert plain.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
                assert plain.text.startswith("# HELP probe_success Displays whether")
                assert "probe_success 1\n" in plain.text
                rich = await probe(exporter, accept=OPENMETRICS)
                assert rich.headers["content-type"] == f"{OPENMETRICS}; charset=utf-8"
                assert rich.text.endswith("\n# EOF\n")
                assert f'# {{event_id="{DOCUMENTED_ID}"}} 0.2128' in rich.text
                assert {line.partition(" # ")[0] for line in lines(rich.text)} == lines(plain.text)
                assert len(families(rich.text)) > len(OWN)
                async with exporter.http.stream(
                    "GET", f"{exporter.origin}/probe", params=PROBE, headers={"accept-encoding": "gzip"}
                ) as packed:
                    assert packed.headers["content-encoding"] == "gzip"
                    raw = b"".join([chunk async for chunk in packed.aiter_raw()])
                assert lines(gzip.decompress(raw).decode()) == lines(plain.text)

    asyncio.run(scenario())


def test_a_failed_probe_says_so(tmp_path: Path) -> None:
    """An unknown session or dead API gives 200 with `probe_success 0`, the duration and no other sample."""

    async def scenario(exporter: Exporting, _: FaultyServer) -> None:
        for event_id in ("unknown", "dead", "html", "torn"):
            answered = await probe(exporter, PROBE | {"event_id": event_id})
            assert answered.status_code == 200
            assert re.findall(r"(?m)^\w+", answered.text) == list(OWN)
            assert "probe_success 0\n" in answered.text

    by_id = {
        "dead": answer(500),
        "html": answer(200, b"<html>", {"Content-Type": "text/html"}),
        "torn": answer(200, b"{"),
    }
    face(scenario, tmp_path, answer(404), by_id=by_id)


def test_an_incomplete_tree_is_no_success(tmp_path: Path) -> None:
    """A tree with an unreadable part fails the probe; the other events are still shown."""
    cut = node("call-session:root", "0", node("call-control:leg", "0.5", cumulative="0.7"))

    async def scenario(exporter: Exporting, _: FaultyServer) -> None:
        answered = await probe(exporter, PROBE | {"event_id": "root"})
        assert "probe_success 0\n" in answered.text
        assert 'telnyx_cost_total{account="main",' in answered.text

    face(scenario, tmp_path, answer(404), by_id={"root": answer(200, body(tree(_nested(4, cut), total="0.7")))})


def _nested(depth: int, leaf: dict[str, Any]) -> dict[str, Any]:
    return leaf if depth == 1 else node("call-session:root", "0", _nested(depth - 1, leaf))


WRONG = {
    "": "record_type: missing; expected a record type, such as call-session\nevent_id: missing; expected the id of the "
    "session's first event",
    "record_type=call-session": "event_id: missing; expected the id of the session's first event",
    "record_type=call-session&event_id=": "event_id: expected 1 to 500 characters",
    f"record_type=call-session&event_id={'x' * 501}": "event_id: expected 1 to 500 characters",
    "record_type=..&event_id=a": 'record_type: expected a record type, such as call-session, got ".."',
    "record_type=a/b&event_id=a": 'record_type: expected a record type, such as call-session, got "a/b"',
    "record_type=a%0D%0AX:y&event_id=a": 'record_type: expected a record type, such as call-session, got "a\\r\\nX:y"',
    f"record_type=%2B{PHONE[1:]}&event_id=a": "record_type: expected a record type, such as call-session, got "
    '"***23"; text that can be taken for something else needs quotes'.partition(";")[0],
    "record_type=message&event_id=a&account=other": "account: no account other is configured; "
    "the configured ones are main",
    "record_type=message&event_id=a&account=": 'account: expected an account\'s name, got ""',
    "record_type=message&event_id=a&event_id=b": "event_id: given twice; keep one",
    "record_type=message&event_id=a&evnt=b": "evnt: unknown key; did you mean event_id?",
    "record_type=message&event_id=a&target=b": "target: unknown key; known here are account, record_type, event_id, "
    "date_time, debug",
    "record_type=message&event_id=a&debug=1": 'debug: expected true or false, got "1"',
    "record_type=message&event_id=a&date_time=x": "date_time: expected an ISO 8601 date or date-time, such as "
    '2026-03-17 or 2026-03-17T09:30:00Z, got "x"',
}


def test_wrong_questions_are_refused(tmp_path: Path) -> None:
    """A wrong parameter is a 400 with name and cure, without a request to the API."""

    async def scenario(exporter: Exporting, api: FaultyServer) -> None:
        for query, says in WRONG.items():
            answered = await exporter.get(f"/probe?{query}")
            assert (answered.status_code, answered.text) == (400, f"{says}\n"), query
            assert answered.headers["content-type"] == "text/plain; charset=utf-8"
        for patience in ("x", "nan", "inf", "0", "-1", ""):
            answered = await probe(exporter, PROBE, **{next(iter(SCRAPER)): patience})
            assert answered.status_code == 400
            assert answered.text.startswith("x-prometheus-scrape-timeout-seconds: expected a number of seconds above 0")
        assert asked(api) == []

    face(scenario, tmp_path, answer(404))


IDS = (
    *("..", ".", "../../balance", "a/b", "a?max_depth=1", "a#b", "a%2Fb", "%2e%2e", "//evil.example/x", "\\..\\x"),
    *(
        "a\r\nX-Injected: 1\r\n\r\nGET /v2/balance HTTP/1.1",
        "a b",
        "\x00",
        "\u202eabc",
        "http://evil.example",
        "a@b",
        "é",
    ),
)


def test_a_name_cannot_change_the_path(tmp_path: Path) -> None:
    """Any id causes one request, below the session's own path and with the key."""

    async def scenario(exporter: Exporting, api: FaultyServer) -> None:
        for event_id in IDS:
            before = len(api.heads)
            assert await success(exporter, PROBE | {"event_id": event_id}) == 0
            (head,) = api.heads[before:]
            path = r"/v2/session_analysis/call-session/[A-Za-z0-9%_~.-]+\?max_depth=5&expand=record"
            assert re.match(rf"GET {path} HTTP/1\.1\r\n", head), head
            assert {".", ".."} & set(re.split(r"[/? ]", head.partition("\r\n")[0])) == set()
            assert "X-Injected:" not in head
            assert head.lower().count("authorization:") == 1

    face(scenario, tmp_path, answer(404))


def test_date_time_is_passed_on(tmp_path: Path) -> None:
    """A right date is sent; a wrong one is dropped after the first 404, as in a poll."""

    async def scenario(exporter: Exporting, api: FaultyServer) -> None:
        await probe(exporter, PROBE | {"event_id": "x", "date_time": "2026-03-17"})
        assert [line.split("?")[1] for line in asked(api)] == [
            "max_depth=5&expand=record&date_time=2026-03-17 HTTP/1.1",
            "max_depth=5&expand=record HTTP/1.1",
        ]

    face(scenario, tmp_path, answer(404))


GOOD = body(tree(node("call-session:x", "0.25")))


def test_few_probes_at_once(tmp_path: Path) -> None:
    """A probe above the limit is refused with Retry-After; the running ones finish and free their slots."""

    async def play() -> None:
        gate = asyncio.Barrier(PROBES_MAX + 1)
        by_id = {"slow": together(answer(200, GOOD), gate), "x": answer(200, GOOD)}
        async with serving(answer(404), by_id=by_id) as api, facing(tmp_path, api) as exporter:
            slow = PROBE | {"event_id": "slow"}
            waiting = [asyncio.create_task(probe(exporter, slow)) for _ in range(PROBES_MAX)]

            async def arrived() -> bool:
                return gate.n_waiting == PROBES_MAX

            await exporter.until(arrived)
            refused = await probe(exporter, PROBE | {"event_id": "x"})
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
            assert (
                refused.text == f"{PROBES_MAX} probes are under way; come again later, or scrape them at other times\n"
            )
            assert (await exporter.get("/metrics")).status_code == 200
            await gate.wait()
            assert {(await each).status_code for each in waiting} == {200}
            assert await success(exporter, PROBE | {"event_id": "x"}) == 1
            assert await success(exporter, PROBE | {"event_id": "unknown"}) == 0
            wanted = {"succeeded": PROBES_MAX + 1, "failed": 1, "refused": 1}

            async def counted() -> bool:
                samples = await exporter.samples()
                found = {dict(labels)["outcome"]: v for (n, labels), v in samples.items() if n == "telnyx_probes_total"}
                return found == wanted

            await exporter.until(counted)

    asyncio.run(play())


@pytest.mark.slow
def test_a_probe_ends_before_its_scraper_gives_up(tmp_path: Path) -> None:
    """If the API never answers, `probe_success 0` comes before the scrape timeout, and the slot is free again."""

    async def scenario(exporter: Exporting, _: FaultyServer) -> None:
        hurried = {next(iter(SCRAPER)): "1"}
        for params in [PROBE | {"event_id": "silent"}] * (PROBES_MAX + 1):
            started = time.monotonic()
            answered = await probe(exporter, params, **hurried)
            assert time.monotonic() - started < 1
            (took,) = re.findall(r"(?m)^probe_duration_seconds (.*)$", answered.text)
            assert 0.5 <= float(took) < 1
            assert "probe_success 0\n" in answered.text
        probed = (await probe(exporter, PROBE | {"event_id": "silent", "debug": "true"}, **hurried)).text
        assert "failed: main: the session could not be read within 0.5 s; try again with more time\n" in probed

    face(scenario, tmp_path, answer(404), by_id={"silent": then_silence(b"")})


def test_a_probe_does_not_keep_the_exporter_from_stopping(tmp_path: Path) -> None:
    """A stop answers waiting probes at once, though the API never answers."""

    async def play() -> None:
        async with serving(answer(404), by_id={"silent": then_silence(b"")}) as api:
            async with facing(tmp_path, api) as exporter:
                probed = asyncio.create_task(probe(exporter, PROBE | {"event_id": "silent", "debug": "true"}))

                async def under_way() -> bool:
                    return len(asked(api)) == 1

                await exporter.until(under_way)
                started = time.monotonic()
                exporter.app.stop()
                assert "failed: main: the exporter is stopping; try again once it runs\n" in (await probed).text
            assert time.monotonic() - started < 5

    asyncio.run(play())


def test_an_account_that_is_no_longer_there(tmp_path: Path) -> None:
    """A probe whose account a reload removes meanwhile fails and says why."""

    async def scenario(exporter: Exporting, api: FaultyServer) -> None:
        exporter.app.prober.apply_config(exporter.app.config, policy(exporter.app.config), {})
        probed = (await probe(exporter, PROBE | {"debug": "true"})).text
        assert probed.endswith("\nfailed: account: main is no longer configured; name another one\n")
        assert await success(exporter) == 0
        assert asked(api) == []

    face(scenario, tmp_path, answer(404))


def test_probes_take_no_slot_that_they_cannot_wait_for(tmp_path: Path) -> None:
    """A probe that would exceed the account's rate limit fails at once instead of delaying polls."""

    async def play() -> None:
        async with (
            serving(answer(200, GOOD)) as api,
            facing(tmp_path, api, requests_per_second=0.02, max_in_flight=1) as exporter,
        ):
            await probe(exporter, PROBE | {"event_id": "first"})  # takes the only slot
            for _ in range(20):
                probed = (await probe(exporter, PROBE | {"event_id": "x", "debug": "true"})).text
                assert "requests:\nnone\n" in probed
                says = r"failed: main: the account's pace allows no request for (\d+\.\d) s;"
                (seconds,) = re.findall(says, probed)
                assert 30 < float(seconds) <= 50
            assert len(asked(api)) == 1

    asyncio.run(play())


@pytest.mark.slow
def test_probes_leave_the_polls_their_pace(tmp_path: Path) -> None:
    """Probes without a pause don't keep a day's followed sessions from being booked."""

    async def play() -> None:
        with running(
            SimulatorSettings(speed=0.0, sessions_per_hour=5, seed=4, documented_example=True), time.monotonic
        ) as simulated:
            made = config(simulated, tmp_path)
            paced = replace(made.accounts[0], requests_per_second=200, max_in_flight=4)
            async with exporting(replace(made, accounts=(paced,)), simulated) as exporter:
                simulated.clock.step(DAY)
                over = asyncio.Event()

                async def flood() -> int:
                    answered = 0
                    while not over.is_set():
                        answered += (await probe(exporter)).status_code == 200
                    return answered

                flooding = [asyncio.create_task(flood()) for _ in range(2 * PROBES_MAX)]
                await exporter.follow_started()
                await exporter.drained()
                over.set()
                assert sum(await asyncio.gather(*flooding)) > PROBES_MAX
                states = await exporter.samples()
                active = states["telnyx_sessions", (("account", "main"), ("state", "active"))]
                assert active > 50
                discovered = states["telnyx_sessions", (("account", "main"), ("state", "discovered"))]
                assert discovered < active / 10

    asyncio.run(play())


def test_debug_shows_every_step(tmp_path: Path) -> None:
    """Debug output has requests with retries, tree, checks, samples, and the rule of each family."""

    async def scenario(exporter: Exporting, _: FaultyServer) -> None:
        probed = (await probe(exporter, PROBE | {"event_id": "root", "debug": "true"})).text
        named, requests = re.split(r"\n\n", probed)[:2]
        assert named.startswith("call-session root of account main\nprobe_success 1, 0.")
        path = r"GET /v2/session_analysis/call-session/root\?max_depth=5&expand=record"
        assert re.fullmatch(
            rf"requests:\n{path}  200  \d\.\d{{3}} s, {len(content)} bytes",
            requests,
        )
        assert "├── call-control (callcontrol-cdrs) leg" in probed
        assert "check event_sum fails: the events add up to 0.75, cost.total is 0.8: -0.05 apart\n" in probed
        assert 'telnyx_reconciliation_failures_total{account="main",check="event_sum"} 1\n' in probed
        shown = {family(line) for line in probed.splitlines() if line.startswith("telnyx_") and "{" in line}
        rules = dict(re.findall(r"(?m)^(telnyx_\w+): (.+)$", probed))
        assert rules.keys() == shown
        assert rules["telnyx_cost_total"] == (
            f"{BY_NAME['telnyx_cost_total'].rule}; by record_type, product, currency, assistant, connection"
        )

    root = node("call-session:root", "0", node("call-control:leg", "0.5"), node("recording:r", "0.25"))
    content = body(tree(root, total="0.8"))
    face(scenario, tmp_path, answer(404), by_id={"root": answer(200, content)})


def test_debug_shows_retries(tmp_path: Path) -> None:
    """Debug output has a line with number and status for each attempt."""

    async def play() -> None:
        again = answer(503, b'{"errors": []}', {"retry-after-ms": "1"})
        async with serving(answer(404)) as api, facing(tmp_path, api, max_attempts=3) as exporter:
            api.answers[:] = [again, again, answer(200, GOOD)]
            probed = (await probe(exporter, PROBE | {"event_id": "x", "debug": "true"})).text
        codes = re.findall(r"(?m)^GET \S+  (\d+)  \S+ s, (\d+) bytes(?:, attempt (\d))?$", probed)
        assert codes == [("503", "14", ""), ("503", "14", "2"), ("200", str(len(GOOD)), "3")]

    asyncio.run(play())


CURES = {
    "unknown": (answer(404), "404; check the id and the account; a new session is unknown until its first record"),
    "bad": (answer(400), "400; check record type and id (`record-types` lists the types), and the rights of"),
    "key": (answer(401), "401: check the API key of this account"),
    "down": (answer(503), "503; try again later"),
    "torn": (answer(200, b"{"), "the answer is not JSON, or is cut off"),
}


def test_debug_says_why_a_probe_failed(tmp_path: Path) -> None:
    """A failed probe's debug output ends with the failure, its place and its cure."""

    async def scenario(exporter: Exporting, _: FaultyServer) -> None:
        for event_id, (_bad, says) in CURES.items():
            probed = (await probe(exporter, PROBE | {"event_id": event_id, "debug": "true"})).text
            assert says in probed.splitlines()[-1]
            assert probed.splitlines()[-1].startswith("failed: ")

    face(scenario, tmp_path, answer(404), by_id={name: bad for name, (bad, _) in CURES.items()})


HOSTILE = (
    *("<script>alert(1)</script>", "\x1b[31mred\x1b]0;title\x07", "\u202egnp.exe", "a\r\nfake_metric 1", "\x9b2J\x00"),
    *(
        "=cmd|' /C calc'!A0",
        "\u2028line",
        "\u200b\ufeff",
        '"}\\',
        f"sip:{PHONE}@example.com",
        PHONE,
        "{{7*7}}",
        "'; --",
    ),
)


EVERYWHERE = (*HOSTILE, "x" * 1_000_000, f"{PHONE} " * 70_000, [PHONE] * 500, {PHONE: {"to": "A"}})
"""Hostile values of a field, including long and nested ones."""


def hostile(value: object) -> dict[str, Any]:
    """Return a tree in which every field that is read has this value."""
    text = str(value)
    record = {
        **dict.fromkeys(("assistant_id", "connection_name", "model", "started_at", "billed_sec", "from", "to"), value),
    }
    leaf = node(f"inference:leaf {text}", "0.1", currency=text) | {"record": record, "event_name": text}
    odd = node("x:y", "0.2") | {"id": text, "product": text, "event_name": text, "record": record}
    odd["cost"] |= {"currency": text}
    root = node("call-session:root", "0", leaf, odd, cumulative=text) | {"record": record}
    return tree(root, total="0.9")


def harmless(shown: str) -> bool:
    """Assert that every line is printable and none is forged."""
    return all(line.isprintable() for line in shown.split("\n")) and "\nfake_metric" not in shown


@pytest.mark.parametrize(
    "value", [*HOSTILE, "x" * 1_000_000, f"{PHONE} " * 70_000, [PHONE] * 500, {PHONE: {"to": "A"}}]
)
def test_hostile_values_are_harmless(tmp_path: Path, value: object) -> None:
    """With hostile values the debug output is short, printable and masked, and the exposition can be parsed."""

    async def scenario(exporter: Exporting, _: FaultyServer) -> None:
        params = PROBE | {"event_id": "root"}
        probed = await probe(exporter, params | {"debug": "true"})
        assert probed.headers["content-type"] == "text/plain; charset=utf-8"
        assert probed.headers["x-content-type-options"] == "nosniff"
        assert harmless(probed.text)
        assert PHONE not in probed.text
        assert PHONE[1:] not in probed.text
        assert len(probed.text) < 100_000
        page = await probe(exporter, params)
        assert ("probe_success", ()) in read(page.text)

    face(scenario, tmp_path, answer(404), by_id={"root": answer(200, body(hostile(value)))})


def test_neither_key_nor_number_is_shown(tmp_path: Path) -> None:
    """Phone numbers in ids, records and API errors, and the key, are not in the debug output."""

    async def play() -> None:
        said = body({"errors": [{"code": "1", "title": f"no {PHONE}", "detail": "token simulator-key, sip:a@b.c"}]})
        record = {"from": PHONE, "to": "sip:alice@example.com", "assistant_id": f"line {PHONE}", "model": "m"}
        root = node(f"call-session:{PHONE}", "0.1") | {"record": record}
        by_id = {"%2B13125550123": answer(200, body(tree(root))), "bad%40example.com": answer(400, said)}
        async with serving(answer(404), by_id=by_id) as api, facing(tmp_path, api) as exporter:
            key = exporter.app.config.accounts[0].api_key().reveal()
            for event_id in (PHONE, "bad@example.com"):
                probed = (await probe(exporter, PROBE | {"event_id": event_id, "debug": "true"})).text
                assert "call-session/***" in probed
                for secret in (key, PHONE, PHONE[1:], "alice", "bad@", "bad%40", "a@b"):
                    assert secret not in probed

    asyncio.run(play())


def test_a_personal_label_is_masked_for_people(tmp_path: Path) -> None:
    """An allowed personal label is on /probe as on /metrics, and masked in the debug output."""

    async def play() -> None:
        root = node("call-session:root", "0.1", node("call-control:leg", "0.2") | {"record": {"caller_name": "Alice"}})
        label = Label(name="caller", field="caller_name", allow_personal=True)
        async with serving(answer(404), by_id={"root": answer(200, body(tree(root)))}) as api:
            metrics = MetricsSettings(new_series_zero_seconds=0, labels=(label,))
            async with facing(tmp_path, api, metrics=metrics) as exporter:
                params = PROBE | {"event_id": "root"}
                assert 'caller="Alice"' in (await probe(exporter, params)).text
                probed = (await probe(exporter, params | {"debug": "true"})).text
                assert 'caller="***"' in probed
                assert 'caller="none"' in probed
                assert "Alice" not in probed

    asyncio.run(play())
