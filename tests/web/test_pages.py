"""Pages and their JSON over real HTTP: their content, their errors, and the harmlessness of hostile values."""

import re
import sqlite3
import unicodedata
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from html import unescape
from html.parser import HTMLParser
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import quote, urlsplit

import httpx
import msgspec
import pytest

from exporter import config
from exporter.core.catalog import CHECKS as CHECK_NAMES
from exporter.core.model import SessionRef
from exporter.web.pages import settings
from exporter.web.pages.routes import WAITING_MAX
from exporter.web.pages.untrusted import CHECKS, JSON_MAX, SHOWN_MAX
from tests.ledger.test_views import failure
from tests.support.pages_ledger import CALL, KEY, PHONE, Tree, commit_due, follow, ledger_in, served

HOSTILE = (
    "<script>alert(1)</script>",
    "'\"><img src=x onerror=alert(1)>",
    "{{ 7 * 7 }}{% raw %}",
    "\u202egnp.exe\u2066",
    "\x00\x1b[2J\r\n\x7f",
    "a/../../b?c=d&e#f",
    "..",
    ".",
    "javascript:alert(1)",
    "\U000e0041\u200b\ufeff",
    "\u0627\u0644\u0639\u0631\u0628\u064a\u0629",
    "~1",
    "x" * 1_000_000,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger with an AI call, an id that two sessions share, hostile ids, and failed polls."""
    folder = tmp_path_factory.mktemp("pages")
    ledger = ledger_in(folder)
    follow(ledger, SessionRef("main", "call-session", "root"))
    commit_due(ledger, 0.0, {"root": CALL})
    amended = [*CALL[:3], ("ai-voice-assistant", "ai", 2, "0.2", "USD"), *CALL[4:]]
    commit_due(ledger, 1000.0, {"root": amended}, ["event_sum"])
    both = [SessionRef(account, "message", "both") for account in ("main", "other")]
    named = [SessionRef("main", "message", text) for text in (*HOSTILE, PHONE)]
    follow(ledger, *both, *named, at=2000.0)
    trees: dict[str, Tree] = {
        text: [("message", text, -1, "1", "USD"), (text, text, 0, "-0.25", text), (text, text, 7, None, "EUR")]
        for text in HOSTILE
    }
    commit_due(ledger, 2000.0, trees, failed={"root": failure("timeout"), PHONE: failure(HOSTILE[0])})
    ledger.close()
    return folder


@pytest.fixture(scope="module")
def http(folder: Path) -> Iterator[httpx.Client]:
    with served(folder) as origin, httpx.Client(base_url=origin, timeout=30) as client:
        yield client


class Read(HTMLParser):
    """A parsed page: its elements with their attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    @property
    def links(self) -> list[str]:
        return [str(attributes["href"]) for tag, attributes in self.tags if tag == "a"]


def test_a_session_is_shown_whole(http: httpx.Client) -> None:
    """A session page has exact costs with currency, unpriced events, checks, amendments and polls."""
    answer = http.get("/sessions/main/call-session/root")
    text = re.sub(r"\s+", " ", Read(answer.text).text)
    assert answer.status_code == 200
    for said in (
        "0.2114 USD",
        "fails event_sum",
        "Level 3: ai-voice-assistant ai",
        "unpriced",
        "1970-01-01 00:16:40",
        "holds node_cumulative",
        "timeout",
    ):
        assert said in text
    as_json = http.get("/api/v1/sessions/main/call-session/root").json()
    assert as_json["summary"]["costs"] == [{"currency": "USD", "amount": "0.2114"}]
    assert [event["event_cost"] for event in as_json["events"]] == ["0", "0.0052", "0.0052", "0.2", "0.001", None]
    assert as_json["amendments"] == [
        {
            "at": "1970-01-01T00:16:40.000Z",
            "record_type": "ai-voice-assistant",
            "event_id": "ai",
            "before": "0.18",
            "after": "0.2",
            "currency": "USD",
        }
    ]
    assert [poll["reason"] for poll in as_json["polls"]] == ["", "", "timeout"]


def test_the_picture_is_as_wide_as_the_money(http: httpx.Client) -> None:
    """Each block lies within its parent's and is as wide as its share of the cost."""
    page = Read(http.get("/sessions/main/call-session/root").text)
    blocks = [(a["x"], a["y"], a["width"]) for tag, a in page.tags if tag == "svg" and "x" in a]
    assert blocks == [
        ("0%", "0", "100%"),
        ("0%", "30", "2.46%"),
        ("2.46%", "30", "97.54%"),
        ("2.46%", "60", "95.08%"),
        ("2.46%", "90", "0.473%"),
    ]


def test_an_id_leads_to_its_session(http: httpx.Client) -> None:
    """An id leads to its session, to a list of several sessions, or to a 404 that explains itself."""
    one = http.get("/sessions/by-id/root")
    assert (one.status_code, one.headers["location"]) == (302, "/sessions/main/call-session/root")
    assert http.get("/sessions/by-id/both").status_code == 200
    links = Read(http.get("/sessions/by-id/both").text).links
    assert {"/sessions/main/message/both", "/sessions/other/message/both"} <= set(links)
    assert http.get("/sessions/by-id/none").status_code == 404


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_ids_do_no_harm(http: httpx.Client, text: str) -> None:
    """Hostile ids are shown as text, with invisible characters escaped, and the page's link to itself works."""
    (row,) = [row for row in _listed(http, q="") if row["event_id"] in {text, _cut(text)}]
    page = http.get(row["page"])
    assert page.status_code == 200
    assert http.get(f"/api/v1{row['page']}").json()["summary"]["event_id"] in {text, _cut(text)}
    read = Read(page.text)
    assert_harmless(read)
    assert all(link.startswith(("/", "#content", "https://api.telnyx.com/v2/")) for link in read.links)
    assert {unicodedata.category(character) for character in page.text} & {"Cc", "Cf", "Cs", "Cn"} <= {"Cc"}
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", page.text)
    assert len(page.text) < 40_000
    if len(text) > SHOWN_MAX:
        assert "(1,000,000 characters)" in unescape(page.text)


def assert_harmless(page: Read) -> None:
    """The page has no element or attribute that runs or loads anything foreign."""
    assert not [tag for tag, _ in page.tags if tag in {"script", "img", "style", "iframe", "object", "base"}]
    names = [name for _, attributes in page.tags for name in attributes]
    assert not [name for name in names if name.startswith("on") or name == "style"]


def _cut(text: str) -> str:
    return f"{text[: JSON_MAX - 64]}… ({len(text)} characters)"


def _listed(http: httpx.Client, **params: str) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = []
    after = ""
    while True:
        page = http.get("/api/v1/sessions", params={**params, "after": after, "limit": "5"}).json()
        rows += page["sessions"]
        after = page["next"]
        if after is None:
            return rows


@pytest.mark.parametrize("path", ["/sessions", "/sessions?sort=cost&currency=USD", "/failures", "/config", "/"])
def test_pages_are_free_of_harm(http: httpx.Client, path: str) -> None:
    """No page has a script, inline style or invisible text, and its policy forbids them."""
    answer = http.get(path)
    assert answer.status_code == 200
    assert_harmless(Read(answer.text))
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", answer.text)
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'")
    assert "unsafe" not in policy


@pytest.mark.slow
def test_every_link_leads_somewhere(http: httpx.Client) -> None:
    """Every internal link of the pages works."""
    seen, waiting = {"/metrics", "/-/healthy", "/-/ready"}, ["/", "/sessions?limit=3"]
    while waiting:
        path = waiting.pop()
        if path not in seen and re.match("/(?!probe)", path):
            seen.add(path)
            answer = http.get(path)
            assert answer.status_code == 200, path
            if "html" in answer.headers["content-type"] and len(seen) < 120:
                waiting += Read(answer.text).links
    assert len(seen) > 60


BAD = [
    ("/sessions?colour=red", "unknown parameter colour; known here: q, account, record_type, state, check, sort"),
    ("/sessions?state=gone", "state: expected one of discovered, active, settled, missing, denied"),
    ("/sessions?sort=price", "sort: expected one of changed, cost, events"),
    ("/sessions?limit=0", "limit: expected a whole number from 1 to 200"),
    ("/sessions?limit=201", "limit: expected a whole number from 1 to 200"),
    ("/sessions?limit=%D9%A3", "limit: expected a whole number from 1 to 200"),
    ("/sessions?limit=5&limit=6", "limit: given twice; keep one"),
    ("/sessions?currency=usd", "currency: expected three capital letters, such as USD"),
    ("/sessions?after=x", "after: expected the `next` of the page before; correct it or leave it out"),
    ("/sessions?after=events.%D9%A3.1", "after: expected the `next` of the page before"),
    ("/sessions?after=cost.00.1", "after: expected the `next` of the page before"),
    (f"/sessions?q={'x' * 301}", "q: expected at most 300 characters; shorten it"),
    ("/failures?before=-1", "before: expected a whole number from 1 to"),
    ("/config?x=", "unknown parameter x; known here: none"),
]


@pytest.mark.parametrize(("path", "problem"), BAD)
def test_wrong_parameters_are_refused_with_the_cure(http: httpx.Client, path: str, problem: str) -> None:
    """A bad parameter is an error on page and JSON, with its name, the expectation and the cure."""
    page, as_json = http.get(path), http.get(f"/api/v1{path}")
    assert (page.status_code, as_json.status_code) == (400, 400)
    assert as_json.json()["error"].startswith(problem)
    assert problem in Read(page.text).text


@pytest.mark.parametrize(
    "path",
    [
        *("/sessions/%00/%00/%00", "/sessions/a/b/%FF%FE", "/sessions/a/b/..", "/sessions/a/b/", "/sessions/a/b"),
        *(
            "/sessions/by-id/",
            "/sessions/by-id/%2e%2e%2e",
            "/sessions/by-id/%00",
            "/sessions/a/b/~99999999999999999999",
        ),
        *("/static/..%2froutes.py", "/static/", "/api/v1/", "/api/v1/sessions/a/b/%ED%A0%80", "/sessions/"),
        "/sessions/a/b/" + "x" * 10_000,
    ],
)
def test_strange_paths_are_not_found(http: httpx.Client, path: str) -> None:
    """An unknown path is 404 for GET and HEAD, and never a server error."""
    for method in ("GET", "HEAD"):
        assert http.request(method, path).status_code == 404


def test_a_path_beyond_measure_is_refused(http: httpx.Client) -> None:
    """A path or query of 100 kB is answered."""
    for path in ("/sessions/a/b/" + "x" * 100_000, "/sessions?q=" + "%41" * 33_000):
        connection = HTTPConnection(http.base_url.host, http.base_url.port)
        connection.request("GET", path)
        with closing(connection), connection.getresponse() as answer:
            assert answer.status in {400, 404}


def test_head_is_get_without_the_body(http: httpx.Client) -> None:
    """Pages and JSON have the same security headers."""
    for path in ("/sessions", "/sessions/main/call-session/root", "/failures", "/config", "/api/v1/sessions"):
        head, get = http.head(path), http.get(path)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-length"] == get.headers["content-length"] == str(len(get.content))


def test_the_configuration_is_shown_without_its_keys(http: httpx.Client) -> None:
    """/config shows every setting with value and meaning; of a key it shows only its origin."""
    page, as_json = http.get("/config").text, http.get("/api/v1/config")
    assert KEY not in page + as_json.text
    assert "TELNYX_API_KEY" in page
    assert as_json.json()["config"]["accounts"][0]["name"] == "main"
    assert "settle_after_seconds" in page


@pytest.mark.parametrize(
    "url", ["postgresql://u:SECRET@db/t", "postgresql://db/t?user=u&password=SECRET&sslmode=require"]
)
def test_the_ledgers_password_is_not_shown(url: str) -> None:
    """A ledger URL is shown without credentials before the host or among the parameters."""
    read = config.parse(f"ledger: {{url: '{url}'}}".encode(), "config.yaml")
    urls = [settings.effective(read, str)["ledger"]["url"]]
    urls += [value.value for group in settings.groups(read) for value in group.values if value.key == "url"]
    assert len(urls) == 2
    for each in urls:
        assert "SECRET" not in each
        assert urlsplit(each).path == "/t"


def test_failures_say_what_happened(http: httpx.Client) -> None:
    """Failures are listed newest first, with session, reason and message."""
    as_json = http.get("/api/v1/failures", params={"limit": 1}).json()
    older = http.get("/api/v1/failures", params={"before": as_json["next"]}).json()
    found = as_json["failures"] + older["failures"]
    assert sorted((f["event_id"], f["reason"], f["detail"]) for f in found) == [
        ("***67", HOSTILE[0], f"said of {HOSTILE[0]}"),
        ("root", "timeout", "said of timeout"),
    ]
    assert older["next"] is None
    assert "said of timeout" in http.get("/failures").text


def test_a_failed_poll_links_to_its_own_session(http: httpx.Client) -> None:
    """A failure whose id is masked links to the session by the session's number, not by the failure's."""
    (row,) = _listed(http, q=PHONE)
    assert row["page"].startswith("/sessions/main/message/~")
    assert row["page"] in Read(http.get("/failures").text).links


def test_personal_ids_are_masked_and_still_lead_to_their_session(http: httpx.Client) -> None:
    """An id that is a phone number is on no page, link or JSON; its session is linked by a row number."""
    (row,) = _listed(http, q=PHONE)
    assert row["event_id"] == "***67"
    lists = ("/sessions?limit=200", "/failures", "/api/v1/failures", "/config", "/api/v1/config")
    for path in (row["page"], f"/api/v1{row['page']}", *lists):
        answer = http.get(path)
        assert answer.status_code == 200
        assert "***67" in answer.text
        assert PHONE[1:] not in answer.text
    assert http.get(f"/sessions/by-id/{quote(PHONE)}").headers["location"] == row["page"]


def test_a_ledger_that_is_away_is_no_defect(tmp_path: Path) -> None:
    """Without a readable ledger pages are 503 with reason and Retry-After; pages without ledger work."""
    with served(tmp_path) as origin:
        answer = httpx.get(f"{origin}/sessions")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert "the ledger can't be read now" in unescape(answer.text)
        assert httpx.get(f"{origin}/api/v1/failures").json().keys() == {"error"}
        assert httpx.get(f"{origin}/config").status_code == 200


def test_readers_above_a_limit_are_refused_and_other_pages_do_not_wait(tmp_path: Path) -> None:
    """While the ledger is locked, few readers wait, more are refused at once, and pages without ledger are answered."""
    ledger_in(tmp_path).close()
    locking = sqlite3.connect(tmp_path / "ledger.sqlite", isolation_level=None)
    locking.execute("PRAGMA journal_mode = DELETE")
    locking.execute("BEGIN EXCLUSIVE")
    asking = 2 * WAITING_MAX
    limits = httpx.Limits(max_connections=None)
    with (
        served(tmp_path) as origin,
        httpx.Client(base_url=origin, timeout=60, limits=limits) as http,
        ThreadPoolExecutor(asking) as pool,
    ):
        waiting = [pool.submit(http.get, "/sessions") for _ in range(asking)]
        refused = next(done.result() for done in as_completed(waiting) if "too many pages" in done.result().text)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert http.get("/-/healthy").status_code == 200
        locking.close()
        codes = Counter(answer.result().status_code for answer in waiting)
    assert set(codes) == {200, 503}


def test_the_words_for_checks_are_those_of_the_documentation() -> None:
    """Every check has an explanation, the same on the page and in docs/accuracy.md."""
    text = (Path(__file__).parents[2] / "docs" / "accuracy.md").read_text()
    assert set(CHECKS) == set(CHECK_NAMES)
    assert dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", text, re.MULTILINE)).items() >= CHECKS.items()


def test_the_openapi_document_names_every_route(http: httpx.Client) -> None:
    """The document is valid OpenAPI of its version, and its paths exist."""
    document = msgspec.json.decode(http.get("/api/v1/openapi.json").content)
    assert document["openapi"] == "3.1.0"
    assert list(document["paths"]) == [
        "/api/v1/sessions",
        "/api/v1/sessions/{account}/{record_type}/{event_id}",
        "/api/v1/failures",
        "/api/v1/config",
    ]
    assert list(document["paths"]["/api/v1/sessions"]) == ["get"]
