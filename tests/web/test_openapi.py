"""The OpenAPI document is true: schemathesis sends all requests that it allows, and many that it forbids."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from exporter.core.model import SessionRef
from exporter.web.pages import parameters as asked
from tests.ledger.test_views import failure
from tests.support.pages_ledger import CALL, KEY, commit_due, follow, ledger_in
from tests.support.waiting import until
from tests.web.test_pages import HOSTILE

pytestmark = pytest.mark.slow

CONFIG = """
accounts:
  - {{name: main, api_key_env: OUR_KEY, base_url: "http://127.0.0.1:1/v2"}}
  - {{name: other, api_key_env: OTHER_KEY, base_url: "http://127.0.0.1:1/v2"}}
discovery:
  http: {{enabled: true}}
  webhooks: {{insecure: true}}
ledger: {{url: "sqlite:///{ledger}"}}
"""
"""Turns every route on; no API answers, so every poll fails."""

PROBE = tuple(
    asked.Parameter(name, "", {"type": "string"}, str)
    for name in ("account", "record_type", "event_id", "date_time", "debug")
)
PAGES = {
    "/": (),
    "/metrics": (),
    "/-/healthy": (),
    "/-/ready": (),
    "/config": (),
    "/probe": PROBE,
    "/static/{name}": (),
    "/sessions": asked.SESSIONS,
    "/failures": asked.FAILURES,
    "/sessions/by-id/{event_id}": asked.SESSION,
    "/sessions/{account}/{record_type}/{event_id}": asked.SESSION,
}
"""The routes outside the JSON API, with their parameters."""

SETTINGS = """
[[operations]]
include-method = "POST"
checks.positive_data_acceptance.enabled = false
checks.negative_data_rejection.enabled = false

[[operations]]
include-path = "/probe"
checks.positive_data_acceptance.enabled = false
checks.negative_data_rejection.enabled = false
"""
"""JSON Schema can't describe printable text, genuine webhooks or probeable sessions."""


def document(own: dict[str, Any]) -> dict[str, Any]:
    """The exporter's document plus the other routes, for which only a status below 500 is promised."""
    answers = {str(status): {"description": "an answer"} for status in (200, 204, 302, 400, 401, 403, 404, 413, 415)}
    for path, parameters in PAGES.items():
        named = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in re.findall(r"\{(\w+)\}", path)
        ]
        taken = [{"name": p.name, "in": "query", "schema": p.schema} for p in parameters]
        own["paths"][path] = {"get": {"parameters": [*named, *taken], "responses": answers}}
    body = {"content": {"application/json": {"schema": {"type": "object"}}}}
    own["paths"]["/webhooks/telnyx/main"] = {"post": {"requestBody": body, "responses": answers}}
    return own


@contextmanager
def exporter(folder: Path, port: int) -> Iterator[str]:
    """Run the real program over a ledger with hostile ids."""
    (folder / "config.yaml").write_text(CONFIG.format(ledger=folder / "ledger.sqlite"))
    command = [sys.executable, "-m", "exporter", "run", f"--config.file={folder / 'config.yaml'}"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, f"--web.listen-address=127.0.0.1:{port}"],
            stdout=log,
            stderr=log,
            env={"OUR_KEY": KEY, "OTHER_KEY": KEY[::-1]},
        )
    origin = f"http://127.0.0.1:{port}"

    def ready() -> bool:
        assert process.poll() is None, (folder / "log").read_text()
        return _ready(origin)

    try:
        until(ready)
        yield origin
    finally:
        process.terminate()
        process.wait(30)


def _ready(origin: str) -> bool:
    try:
        return httpx.get(f"{origin}/-/ready").status_code == 200
    except httpx.TransportError:
        return False


def test_nothing_that_can_be_asked_is_answered_wrongly(tmp_path: Path, free_port: int) -> None:
    """No route answers 5xx, and every answer under /api/v1 conforms to the document."""
    ledger = ledger_in(tmp_path)
    follow(ledger, SessionRef("main", "call-session", "root"))
    commit_due(ledger, 0.0, {"root": CALL})
    follow(ledger, *(SessionRef("other", "message", text) for text in HOSTILE[:-1]), at=10.0)
    commit_due(ledger, 2000.0, {}, failed={"root": failure("timeout")})
    ledger.close()
    (tmp_path / "schemathesis.toml").write_text(SETTINGS)
    with exporter(tmp_path, free_port) as origin:
        own = httpx.get(f"{origin}/api/v1/openapi.json").json()
        (tmp_path / "openapi.json").write_text(json.dumps(document(own)))
        done = subprocess.run(
            [
                *(Path(sys.executable).with_name("schemathesis"), "run", tmp_path / "openapi.json", f"--url={origin}"),
                *("--phases=coverage,fuzzing", "--max-examples=5", "--seed=1", "--no-color"),
                *("--generation-database=none", "--max-redirects=0", "--continue-on-failure", "--warnings=off"),
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert "No issues found" in done.stdout
