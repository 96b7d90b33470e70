"""The pages in a real browser, with mouse and keyboard, wide and narrow, dark and light."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

from exporter.core.model import SessionRef
from tests.ledger.test_views import failure
from tests.support.pages_ledger import CALL, commit_due, follow, ledger_in, served
from tests.web.test_pages import HOSTILE

FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)
WIDE, NARROW = 1200, 400
PATHS = ("/", "/sessions?sort=cost", "/sessions/main/call-session/root", "/failures", "/config", "/sessions/by-id/no")
COSTS = ("0.05", "12", "3.5")
"""The costs of the sessions beside the call, which costs 0.2114."""
MOST_EXPENSIVE_FIRST = ["costly-1", "costly-2", "root", "costly-0"]


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Pages over a ledger with a call, some messages, hostile ids and a failure."""
    folder = tmp_path_factory.mktemp("browser")
    ledger = ledger_in(folder)
    follow(ledger, SessionRef("main", "call-session", "root"))
    commit_due(ledger, 0.0, {"root": CALL})
    amended = [*CALL[:3], ("ai-voice-assistant", "ai", 2, "0.2", "USD"), *CALL[4:]]
    commit_due(ledger, 1000.0, {"root": amended}, ["event_sum"])
    names = [f"costly-{number}" for number in range(len(COSTS))]
    follow(ledger, *(SessionRef("other", "message", name) for name in (*names, *HOSTILE)), at=2000.0)
    trees = {name: [("message", name, -1, cost, "USD")] for name, cost in zip(names, COSTS, strict=True)}
    commit_due(ledger, 2000.0, trees, failed={"root": failure("timeout")})
    ledger.close()
    with served(folder) as address:
        yield address


@pytest.fixture(scope="module")
def browser(chromium: Path) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        yield launched
        launched.close()


@pytest.fixture(params=["light, wide", "dark, narrow"])
def page(browser: Browser, origin: str, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A browser page, light or dark; any message on its console, such as a policy violation, is a failure."""
    said: list[str] = []
    dark = request.param.startswith("dark")
    context = browser.new_context(
        base_url=origin,
        color_scheme="dark" if dark else "light",
        viewport={"width": NARROW if dark else WIDE, "height": 800},
    )
    page = context.new_page()
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    yield page
    context.close()
    assert [text for text in said if "status of 404" not in text] == []


def listed(page: Page) -> list[str]:
    return [text.strip() for text in page.locator("tbody a.id").all_inner_texts()]


def test_search_sort_and_open_a_session(page: Page) -> None:
    """The list follows search, sort and order, and a session opens from it."""
    page.goto("/")
    page.get_by_role("link", name="/sessions").click()
    page.get_by_label("Sort by").select_option("cost")
    page.get_by_role("button", name="Show").click()
    assert listed(page)[:4] == MOST_EXPENSIVE_FIRST
    page.get_by_label("Order").select_option("asc")
    page.get_by_role("button", name="Show").click()
    assert listed(page)[:4] == MOST_EXPENSIVE_FIRST[::-1]
    page.get_by_label("Search").fill("costly-1")
    page.get_by_role("button", name="Show").click()
    assert listed(page) == ["costly-1"]
    expect(page.get_by_label("Search")).to_have_value("costly-1")
    page.get_by_role("link", name="costly-1").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("costly-1")
    page.get_by_role("navigation", name="Pages").get_by_role("link", name="Sessions").click()
    page.get_by_role("list", name="Sessions by state").get_by_role("link", name="active").click()
    assert sorted(listed(page)) == sorted(MOST_EXPENSIVE_FIRST)


def test_the_tree_is_read(page: Page) -> None:
    """The event tree is a table with level, costs and currency in each row, beside a picture."""
    page.goto("/sessions/by-id/root")
    assert page.url.endswith("/sessions/main/call-session/root")
    rows = page.get_by_role("table", name="The event tree").get_by_role("row").all_inner_texts()
    said = re.sub(r"\s+", " ", rows[4]).strip()
    assert said == "Level 3: ai-voice-assistant ai 0.2 \N{EN DASH} USD 94.6 % API record of ai-voice-assistant ai"
    assert "unpriced" in rows[6]
    expect(page.get_by_role("img", name="Costs in USD")).to_be_visible()
    expect(page.get_by_role("table", name="Costs that changed")).to_contain_text("0.18")
    expect(page.get_by_text("fails event_sum").first).to_be_visible()


def test_the_keyboard_is_enough(page: Page) -> None:
    """The first Tab skips to the content, focus is visible, and Enter submits forms and opens sessions."""
    page.goto("/sessions")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    expect(page.get_by_role("link", name="Skip to content")).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    for _ in range(10):
        page.keyboard.press("Tab")
        if page.get_by_label("Search").evaluate("element => element === document.activeElement"):
            break
    expect(page.get_by_label("Search")).to_be_focused()
    assert page.get_by_label("Search").evaluate("element => getComputedStyle(element).outlineWidth") == "3px"
    page.keyboard.type("root")
    page.keyboard.press("Enter")
    page.wait_for_url("**q=root**")
    link = page.get_by_role("link", name="root")
    link.focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/call-session/root")


@pytest.mark.parametrize("path", PATHS)
def test_every_page_is_accessible_and_fits(page: Page, path: str) -> None:
    """axe-core reports no problem, and only scrolling boxes are wider than the window."""
    page.goto(path)
    found = Axe().run(page).response["violations"]
    assert [(violation["id"], violation["nodes"][0]["html"]) for violation in found] == []
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_dark_and_light_differ(browser: Browser, origin: str) -> None:
    """The page follows the system's colour scheme."""
    backs = []
    for scheme in ("light", "dark"):
        context = browser.new_context(base_url=origin, color_scheme="dark" if scheme == "dark" else "light")
        page = context.new_page()
        page.goto("/sessions")
        backs.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        context.close()
    assert backs == ["rgb(255, 255, 255)", "rgb(18, 23, 21)"]


@pytest.mark.parametrize("page", ["light, wide"], indirect=True)
def test_hostile_ids_open_harmlessly(page: Page) -> None:
    """A link of a hostile id leads to its page, and no script runs."""
    page.goto("/sessions?account=other&state=discovered&limit=200")
    links = page.locator("tbody a.id")
    for number in range(links.count()):
        text = links.nth(number).inner_text()
        links.nth(number).click()
        expect(page.locator("h1 .id")).to_have_text(text)
        page.go_back()
    assert page.evaluate("document.scripts.length") == 0
