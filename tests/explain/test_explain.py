"""The explanation of one session in all formats: exact, documented, masked, and harmless in any viewer."""

import asyncio
import csv
import io
import json
import re
import subprocess
import sys
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from msgspec.structs import replace

from exporter.config import Budget, Config, Label, MetricsSettings, Threshold, WebSettings
from exporter.core.attributes import AttributeReader
from exporter.core.catalog import FAMILIES
from exporter.core.lifecycle import PollPolicy
from exporter.core.model import Session, SessionRef
from exporter.explain import FORMS, Explanation, ProbeResult, full_text
from exporter.explain.explanation import LEDGER_FAMILIES
from exporter.telnyx.client import Exchange
from exporter.web.probe import ProbeParameters
from tests.cli.test_cli import KEY, PROG, environment
from tests.support import trees
from tests.support.faulty_server import answer, serving
from tests.support.trees import body, node
from tests.web.test_probe import EVERYWHERE, PHONE, harmless, hostile

DOCS = (Path(__file__).parents[2] / "docs" / "explain.md").read_text()
POLICY = PollPolicy(30, 3600, 21_600, (86_400,), 172_800, 86_400)
NOW = 1_773_800_000.0
METRICS = MetricsSettings(
    labels=(Label(name="assistant", field="assistant_id"), Label(name="who", field="caller_name", allow_personal=True)),
    thresholds=(Threshold(name="expensive", cost=Decimal("0.01"), currency="USD"),),
)
CONFIG = Config(metrics=METRICS, budgets=(Budget(name="all", amount=Decimal(5), currency="USD", window=100_000_000),))
EXCHANGES = (
    Exchange("/v2/session_analysis/call-session/root?max_depth=5", "503", 0.25, 14, 1),
    Exchange("/v2/session_analysis/call-session/root?max_depth=5", "200", 0.5, 999, 2),
)


def story(content: object, config: Config = CONFIG, at: float = NOW) -> Explanation:
    """Return the explanation of an answer of the API."""
    attribute_reader = AttributeReader(config.metrics.labels)
    session: Session = trees.read(content, fields=tuple(attribute_reader.record_fields))
    facts = attribute_reader.event_attributes(session)
    look = ProbeResult(
        session.ref, at, 0.75, EXCHANGES, session, facts, attribute_reader.session_attributes(session, facts)
    )
    return Explanation.of(look, config, POLICY)


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def keys(value: object) -> object:
    """Return the shape of a document; entries of a list, and label sets, count as one."""
    if isinstance(value, dict):
        free = {"labels", "record", "buckets", "rules"}
        return {name: "free" if name in free else keys(below) for name, below in value.items()}
    if isinstance(value, list):
        return [shape for i, shape in enumerate(map(keys, value)) if shape not in list(map(keys, value[:i]))]
    return "text" if isinstance(value, str) else type(value).__name__


def test_the_json_has_the_documented_shape() -> None:
    """The example in docs/explain.md has every key of a real document, with values of the same types."""
    (example,) = re.findall(r"(?ms)^```json\n(.*?)^```$", DOCS)
    broken = json.loads(trees.documented())
    broken["cost"]["total"] = "0.3"
    shape = keys(json.loads(FORMS["json"](story(body(broken)))))
    documented = keys(json.loads(example))
    assert isinstance(shape, dict)
    assert isinstance(documented, dict)
    optional = {"date_time", "problem"}
    for name in documented.keys() - optional - {"events"}:
        assert shape[name] == documented[name], name
    assert shape.keys() == documented.keys()
    (root, *_), (event,) = shape["events"], documented["events"]
    assert root == event


def test_the_json_says_what_the_api_said() -> None:
    """JSON has exact costs, depth and parent of each event, the record fields, and each request."""
    explained = json.loads(FORMS["json"](story(trees.documented())))
    assert [(e["depth"], e["parent"]) for e in explained["events"]][:7] == [
        *((0, None), (1, 0), (1, 0), (1, 0), (1, 0), (2, 4), (3, 5))
    ]
    assert [e["event_cost"] for e in explained["events"]][:6] == [
        "0.0000",
        "0.0051",
        "0.0052",
        "0.0052",
        "0.0052",
        "0.1800",
    ]
    assert explained["events"][0]["cumulative_cost"] == "0.2128"
    assert [(r["code"], r["attempt"], r["bytes"]) for r in explained["requests"]] == [("503", 1, 14), ("200", 2, 999)]
    spent = [Decimal(s["value"]) for s in explained["samples"] if s["family"] == "telnyx_cost_total"]
    assert sum(spent) == Decimal("0.2128")
    (cost,) = [s for s in explained["samples"] if s["family"] == "telnyx_session_cost"]
    assert (cost["sum"], cost["count"], sum(cost["buckets"].values())) == ("0.2128", 1, 1)


def test_the_csv_has_a_row_per_event() -> None:
    """CSV has depth, ids and exact costs, empty if unpriced; each record field is a column."""
    leaf = node("inference:turn", None) | {"record": {"model": "m", "input_tokens": 3, "assistant_id": "a"}}
    root = node("call-session:root", "0", node("call-control:leg", "-0.000000010000", leaf), cumulative="0.5")
    first, leg, turn = rows(FORMS["csv"](story(trees.answer(root, total="0.5"))))
    assert (first["depth"], first["id"], first["parent_id"], first["cumulative_cost"]) == ("0", "root", "", "0.5")
    assert (leg["depth"], leg["parent_id"], leg["event_cost"]) == ("1", "root", "-0.000000010000")
    assert (turn["depth"], turn["parent_id"], turn["event_cost"], turn["currency"]) == ("2", "leg", "", "USD")
    assert (turn["record.model"], turn["record.input_tokens"], leg["record.model"]) == ("m", "3", "")


FORMULAS = ("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", "\uff1d1", '"=1', "=cmd|' /C calc'!A0")


@pytest.mark.parametrize("text", FORMULAS)
def test_no_cell_is_a_formula(text: str) -> None:
    """A spreadsheet reads every CSV value as text; quotes, commas and line breaks stay in their cell."""
    odd = node("x:y", "-0.5") | {"id": text, "product": text, "event_name": f'{text}",\n"x'}
    odd["record"] = {"assistant_id": text, "model": [text, {text: text}], "billed_sec": -7}
    odd["cost"]["currency"] = text
    written = FORMS["csv"](story(trees.answer(node("call-session:root", "0", odd))))
    assert written.count("\r\n") == written.count("\n") == 3
    _, row = rows(written)
    assert [cell for cell in row.values() if cell.lstrip().startswith(("+", "=", "@", "\uff1d"))] == []
    negative = [name for name, cell in row.items() if cell.startswith("-")]
    assert negative == ["event_cost", "cumulative_cost", "record.billed_sec"]
    assert row["id"].lstrip("'").replace("\\t", "\t").replace("\\r", "\r") == text


def test_every_rule_stands_in_the_catalogue() -> None:
    """Every family that a session adds to has a rule, which is printed with the family's labels."""
    leaf = node("inference:turn", "0.1") | {
        "record": {
            "model": "m",
            "input_tokens": 3,
            "cached_input_tokens": 2,
            "characters": 9,
            "billed_sec": 2,
            "duration_sec": 3,
        }
    }
    root = node("call-session:root", "0", leaf, node("recording:r", None), node("recording:", "0.1"), cumulative="7")
    explained = story(trees.answer(root, total="9", event_count=77))
    booked = {total.family for total in explained.totals}
    ruled = {family.name for family in FAMILIES if family.rule}
    assert {family.name for family in FAMILIES if family.name in booked and not family.rule} == set()
    later = {"telnyx_events_priced_late_total", "telnyx_label_overflows_total"}
    assert ruled - booked == later | {"telnyx_events_bundled_total"}  # here no sum fits
    assert booked & set(LEDGER_FAMILIES) == set()
    lines = full_text(explained).partition("\nwhere each comes from:\n")[2].splitlines()
    assert "telnyx_events_total: 1 for each distinct event (product, event_name and id); " in lines[1]
    assert "by record_type, product, currency, assistant, who" in lines[0]


def test_a_story_is_the_same_twice() -> None:
    """Explaining twice gives the same result: nothing is kept in between."""
    content = trees.documented()
    assert FORMS["json"](story(content)) == FORMS["json"](story(content))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("value", EVERYWHERE)
def test_hostile_values_are_harmless_in_every_form(form: str, value: object) -> None:
    """Hostile values stay printable, short, masked and on one line; JSON and CSV can be parsed."""
    shown = FORMS[form](story(body(hostile(value))))
    assert harmless(shown.replace("\r\n", "\n"))
    assert len(shown) < 200_000
    if form != "openmetrics":  # OpenMetrics labels are as on /metrics
        assert PHONE not in shown
        assert PHONE[1:] not in shown
    if form == "json":
        assert shown.isascii()
        assert len(json.loads(shown)["events"]) == 3
    if form == "csv":
        assert [len(row) for row in csv.reader(io.StringIO(shown, newline=""))][1:] == [
            shown.split("\r\n")[0].count(",") + 1
        ] * 3


NUMBERS: Mapping[str, object] = {
    "1" * 400: "... (1326 bits)",
    "9007199254740993": "9007199254740993",
    "-12": -12,
    "0.10": "0.10",
    "1e999999": "1E+999999",
    "true": True,
}


@pytest.mark.parametrize("number", NUMBERS)
def test_numbers_in_records_stay_exact(number: str) -> None:
    """A number that a JSON reader would round is text; a number that would fill the screen is only mentioned."""
    content = body(trees.answer(node("call-session:root", "1") | {"record": {"assistant_id": "N"}}))
    explained = story(content.replace(b'"N"', number.encode()))
    record = json.loads(FORMS["json"](explained))["events"][0]["record"]
    assert record.get("assistant_id") in {NUMBERS[number], None}
    assert len(FORMS["csv"](explained)) < 2000


def test_personal_fields_are_masked_unless_the_list_is_empty() -> None:
    """A personal field is masked in all forms for people; with an empty list it is shown."""
    content = trees.answer(node(f"call-session:{PHONE}", "1") | {"record": {"caller_name": "Alice", "model": [PHONE]}})
    for form in ("tree", "json", "csv"):
        shown = FORMS[form](story(content))
        assert "Alice" not in shown
        assert PHONE[1:] not in shown
        assert "***23" in shown
        assert PHONE in FORMS[form](story(content, replace(CONFIG, web=WebSettings(redact_fields=()))))


@pytest.mark.parametrize("digits", range(1, 12))
def test_no_part_of_a_number_slips_through_where_a_text_is_cut(digits: int) -> None:
    """Long texts are cut; a phone number at the cut is masked, not cut in half."""
    before = f"{'a' * (10_000 - len('@b.c +') - digits)}@b.c "
    content = trees.answer(node("call-session:root", "1") | {"record": {"model": f"{before}{PHONE} and more"}})
    shown = json.loads(FORMS["json"](story(content)))["events"][0]["record"]["model"]
    assert shown == f"***... ({len(before) + len(PHONE) + 9} characters)"


def test_budgets_are_as_of_the_poll() -> None:
    """Yesterday's costs count in a budget's counter, but not in today's window."""
    midnight = 1_773_792_000.0
    day = Budget(name="day", amount=Decimal(5), currency="USD", window="day")
    content = trees.answer(node("call-session:root", "1") | {"record": {"started_at": "2026-03-17T23:00:00Z"}})
    explained = story(content, replace(CONFIG, budgets=(day,)), at=midnight + 3600)
    amounts = {
        total.family: int(total.value) for total in explained.totals if total.family.startswith("telnyx_budget_")
    }
    assert (amounts["telnyx_budget_cost_total"], amounts["telnyx_budget_spent"]) == (1, 0)


def test_a_failed_poll_is_explained_too() -> None:
    """Without a session the explanation gives the reason, in text and JSON, and has no samples."""
    look = ProbeResult(
        SessionRef("main", "call-session", PHONE), NOW, 0.1, (), problem=f"main: GET /x/{PHONE}: 404\x1b[1m"
    )
    explained = Explanation.of(look, CONFIG, POLICY)
    assert full_text(explained).splitlines()[-1] == "failed: main: GET /x/***23: 404\\x1b[1m"
    document = json.loads(FORMS["json"](explained))
    assert (document["success"], document["events"], document["samples"], document["rules"]) == (False, [], [], {})
    assert document["problem"] == "main: GET /x/***23: 404\x1b[1m"


# The command


def printed(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "exporter", "session", *arguments]
    ended = subprocess.run(command, cwd=folder, env=environment(folder), capture_output=True, text=True, check=False)
    assert KEY not in ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr
    return ended


def command(folder: Path, content: bytes, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Return the output of `session` against a server that answers this."""

    async def play() -> subprocess.CompletedProcess[str]:
        async with serving(content) as api:
            account = {"name": "main", "base_url": f"http://127.0.0.1:{api.port}/v2"}
            label = {"name": "assistant", "field": "assistant_id"}
            settings = {"accounts": [account], "polling": {"max_attempts": 1}, "metrics": {"labels": [label]}}
            (folder / "config.yaml").write_text(yaml.safe_dump(settings))
            return await asyncio.to_thread(printed, folder, *arguments)

    return asyncio.run(play())


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_the_command_prints_each_form(tmp_path: Path, form: str) -> None:
    """Success exits with 0 and prints only the document, harmless in a terminal; no file is left."""
    value = "\x1b[31m<b>\u202e=1\r\n"
    ended = command(tmp_path, answer(200, body(hostile(value))), "call-session", "root", "--format", form)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert harmless(ended.stdout)
    begins = {
        "tree": "call-session",
        "json": '{\n  "account": "main"',
        "csv": "depth,id,",
        "openmetrics": "# HELP probe_s",
    }
    assert ended.stdout.startswith(begins[form])
    assert ended.stdout.endswith("# EOF\n" if form == "openmetrics" else "\n")
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


FAILURES: Mapping[str, tuple[bytes, str]] = {
    "404": (answer(404), "404; check the id and the account; a new session is unknown until its first record is rated"),
    "403": (
        answer(403),
        "403; check record type and id (`record-types` lists the types), and the rights of the account's key",
    ),
    "401": (answer(401), "401: check the API key of this account"),
    "503": (answer(503), "503; try again later"),
}


@pytest.mark.slow
@pytest.mark.parametrize("status", FAILURES)
def test_the_command_says_why_it_failed(tmp_path: Path, status: str) -> None:
    """Failure exits with 1, prints nothing to stdout, and one line on stderr: problem, place, cure."""
    content, says = FAILURES[status]
    ended = command(tmp_path, content, "call-session", PHONE, "--format=json")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == f"{PROG}: main: GET /v2/session_analysis/call-session/***23: {says}\n"


@pytest.mark.parametrize(
    ("argument", "says"),
    [
        ("--format=xml", "argument --format: invalid choice: 'xml' (choose from"),
        ("--date-time=soon", "argument --date-time: expected an ISO 8601 date or date-time, such as 2026-03-17"),
    ],
)
def test_a_wrong_flag_of_the_command(tmp_path: Path, argument: str, says: str) -> None:
    """Wrong arguments exit with 2 and list the accepted ones."""
    ended = printed(tmp_path, "call-session", "x", argument)
    assert ended.returncode == 2
    assert says in ended.stderr


def test_the_documented_scrape_config_works(promtool: Path, tmp_path: Path) -> None:
    """Prometheus accepts the example of docs/explain.md."""
    (example,) = re.findall(r"(?ms)^```yaml\n(.*?)^```$", DOCS)
    file = tmp_path / "prometheus.yml"
    file.write_text(example)
    checked = subprocess.run([promtool, "check", "config", file], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr


def test_every_form_and_parameter_is_documented() -> None:
    """docs/explain.md documents each of them."""
    lines: set[Any] = set(re.findall(r"(?m)^\| `(\w+)` \|", DOCS))
    assert {*FORMS, *ProbeParameters.__struct_fields__} <= lines
