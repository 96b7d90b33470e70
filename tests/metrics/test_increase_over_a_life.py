"""Ten hours of an exporter in a real Prometheus: `increase()` shows each cent once, the exact query to the last digit.

The exporter is scraped once a simulated minute, restarted after an absence of ten minutes, and restarted with a
configured label under which all totals are projected; bills are amended meanwhile. Its monotonic clock is moved by hand
too, so a zero start takes its 150 s. Prometheus is asked for what the ledger had exposed at each scrape.
"""

import asyncio
import re
import time
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator
from decimal import Decimal
from pathlib import Path

import httpx
import pytest
from msgspec import Struct
from msgspec.structs import replace

from exporter.config import Budget, Label
from exporter.ledger import Ledger
from simulator import Bills, SimulatorSettings, running
from tests.support.clocks import RealSleep
from tests.support.exporting import SCRAPER, Exporting, config, exporting, net, same, stated
from tests.support.programs import make_blocks, prometheus_of
from tests.support.stepped import TICK_SECONDS

MINUTE, HOUR = 60, 3600
FAMILIES = (
    "telnyx_cost_total",
    "telnyx_cost_credits_total",
    "telnyx_inference_turns_total",
    "telnyx_inference_cost_total",
    "telnyx_budget_cost_total",
)
WINDOWS = (10 * MINUTE, HOUR, 4 * HOUR, 24 * HOUR)
BETWEEN = 20
"""Seconds from a scrape to a question between two scrapes."""

MICRO = Decimal("0.000001")

EXACT = "sum by (currency) (X) - (sum by (currency) (X offset {}s) or 0 * sum by (currency) (X))"
INCREASE = "sum by (currency) (increase(X[{}s1ms]))"
"""The millisecond has the scrape at the window's start count; from version 3 Prometheus leaves it out otherwise."""

Sums = dict[str, Decimal]
"""By currency."""


class Stepped(RealSleep):
    """Both clocks of an exporter in one, moved by hand."""

    def __init__(self, time: float) -> None:
        self.time = time

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time


class Life(Struct):
    """What the ledger held, and what was scraped, minute by minute."""

    times: list[int] = []
    booked: list[dict[str, Sums]] = []
    """By family, at each time, whether shown or not."""
    released: list[dict[str, Sums]] = []
    series: dict[str, list[tuple[int, Decimal]]] = {}
    """By name and labels as printed: times and values."""
    lines: list[str] = []
    """Everything that was scraped, in OpenMetrics."""
    truth: dict[tuple[str, str], Decimal] = {}
    shown: dict[tuple[str, str], Decimal] = {}
    """At the end."""

    async def scrape(self, exporter: Exporting, at: int) -> None:
        self.times.append(at)
        totals = await exporter.app.ledger.run(Ledger.totals)
        for kept, only_released in ((self.booked, False), (self.released, True)):
            sums: dict[str, Sums] = {family: defaultdict(Decimal) for family in FAMILIES}
            for total in totals:
                if total.family in sums and (total.exposed or not only_released):
                    sums[total.family][dict(total.labels).get("currency", "")] += total.value
            kept.append(sums)
        page = (await exporter.get("/metrics", **SCRAPER, **{"Accept-Encoding": "identity"})).text
        for line in page.splitlines():
            if line.startswith(FAMILIES):
                self.lines.append(f"{line} {at}")
                name, value = line.rsplit(" ", 1)
                self.series.setdefault(name, []).append((at, Decimal(value)))

    def grown(self, family: str, since: float, until: float) -> Sums:
        """Return what was exposed from the first scrape in the window, or the start, to the last."""
        first, last = bisect_left(self.times, since), bisect_right(self.times, until) - 1
        after = self.released[last][family]
        before = self.released[first][family]
        return {currency: value - before.get(currency, Decimal(0)) for currency, value in after.items()}

    def between(self, family: str, moments: Iterable[float]) -> Sums:
        """Return what was exposed between the two scrapes around each moment, nothing if a scrape is at that moment."""
        sums: Sums = defaultdict(Decimal)
        for moment in moments:
            before, after = bisect_right(self.times, moment) - 1, bisect_left(self.times, moment)
            if before < after < len(self.times):
                for currency, value in self.released[after][family].items():
                    sums[currency] += value - self.released[before][family].get(currency, Decimal(0))
        return sums

    def room(self, family: str, since: float, until: float) -> Sums:
        """What `increase()` may add, by its rule: each series goes on as it did, at either end of the window.

        For at most 1.1 of its mean scrape interval, and not to below zero.
        """
        sums: Sums = defaultdict(Decimal)
        for name, samples in self.series.items():
            if name.partition("{")[0] != family:
                continue
            inside = samples[bisect_left(samples, (since,)) : bisect_right(samples, (until, Decimal("Infinity")))]
            if len(inside) < 2:
                continue
            (first, low), (last, high) = inside[0], inside[-1]
            furthest = 1.1 * (last - first) / (len(inside) - 1)
            before = min(first - since, furthest) if low else 0.0
            after = min(until - last, furthest)
            sums[currency_of(name)] += (high - low) * Decimal(before + after) / (last - first)
        return sums


async def played(folder: Path) -> Life:
    """Live for ten hours."""
    world = SimulatorSettings(
        speed=0.0,
        sessions_per_hour=20,
        seed=4,
        currencies=("USD", "EUR"),
        bills=Bills(amended_share=0.4, late_share=0.1),
    )
    life = Life()
    with running(world, time.monotonic) as simulated:
        plain = config(simulated, folder)
        before = replace(
            plain,
            polling=replace(plain.polling, scheduler_interval_seconds=TICK_SECONDS, settle_after_seconds=48.0 * HOUR),
            metrics=replace(plain.metrics, new_series_zero_seconds=150.0),
            budgets=(Budget(name="all", amount=Decimal(100)),),
        )
        label = Label(name="connection", field="connection_name")
        after = replace(before, metrics=replace(before.metrics, labels=(label,)))
        clock = Stepped(world.start)

        async def minutes(exporter: Exporting, count: int, *, world_too: bool = True) -> None:
            for _ in range(count):
                clock.time += MINUTE
                simulated.clock.step(MINUTE * world_too)
                await live(exporter, life)

        async with exporting(before, simulated, clock) as exporter:
            await minutes(exporter, 4 * 60 + 7)
        clock.time += 10 * MINUTE
        simulated.clock.step(10 * MINUTE)
        async with exporting(before, simulated, clock) as exporter:
            await minutes(exporter, 2 * 60)
            # What is booked between the last scrape of the old labels and the first of the new ones is history to both.
            clock.time += MINUTE
            await show(exporter, life)
        async with exporting(after, simulated, clock) as exporter:
            await minutes(exporter, 2 * 60 + 30)
            life.truth = stated(await exporter.truth())
            await minutes(exporter, 67 + 5, world_too=False)  # every session is looked at once more, and released
            life.shown = net(await exporter.samples())
    return life


async def show(exporter: Exporting, life: Life) -> None:
    """Expose what may be exposed, and scrape."""
    app = exporter.app
    exposable = app.metrics.exposable(app.clock.monotonic())
    app.metrics.apply(await app.ledger.run(Ledger.expose, exposable))
    publish(exporter)
    await life.scrape(exporter, int(app.clock.now()))


async def live(exporter: Exporting, life: Life) -> None:
    """Live for a minute: a scrape, then polls, so that the first scrape after a start shows what was recovered."""
    app = exporter.app
    await show(exporter, life)
    await exporter.follow_started()
    await app.poller.tick()
    await exporter.drained()
    app.metrics.exposable(app.clock.monotonic())  # the waits begin in this minute, not at the exporter's next check


def publish(exporter: Exporting) -> None:
    page = exporter.app.metrics.page()
    if page is not None:
        exporter.app.web.publish(page)


def currency_of(name: str) -> str:
    """Of a series; none for turns."""
    found = re.search(r'currency="(\w+)"', name)
    return found[1] if found else ""


class Asked(Struct):
    """A Prometheus that holds the life."""

    life: Life
    http: httpx.Client

    def at_each(self, expression: str, family: str, window: int, shift: int) -> dict[int, Sums]:
        """The expression by currency, at each scrape or so many seconds after it."""
        times = self.life.times
        params: dict[str, str | int] = {
            "query": expression.format(window).replace("X", family),
            "start": times[0] + shift,
            "end": times[-1] + shift,
            "step": MINUTE,
        }
        answer = self.http.get("/api/v1/query_range", params=params).json()
        assert answer["status"] == "success", answer
        found: dict[int, Sums] = {at + shift: {} for at in times}
        for row in answer["data"]["result"]:
            for at, value in row["values"]:
                if at in found:  # nothing is asked of the time between two lives
                    found[at][row["metric"].get("currency", "")] = Decimal(value)
        return found


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory, prometheus: Path, promtool: Path) -> Iterator[Asked]:
    """The life, played once and handed to Prometheus as blocks of its past."""
    folder = tmp_path_factory.mktemp("life")
    life = asyncio.run(played(folder))
    (folder / "scrapes").write_text("\n".join([*life.lines, "# EOF\n"]))
    make_blocks(promtool, folder / "scrapes", folder)
    # Blocks hold no mark of a series' end, which a scrape would leave.
    with (
        prometheus_of(prometheus, folder, lookback="59s") as origin,
        httpx.Client(base_url=origin, timeout=30) as http,
    ):
        yield Asked(life, http)


@pytest.mark.parametrize("shift", [0, BETWEEN], ids=["at scrapes", "between scrapes"])
@pytest.mark.parametrize("family", FAMILIES)
def test_increase_is_what_was_shown_in_its_window(asked: Asked, family: str, shift: int) -> None:
    """This holds for any window: with new series, amendments, the gap, or all history under new labels."""
    for window in WINDOWS:
        for at, found in asked.at_each(INCREASE, family, window, shift).items():
            since = at - window - 0.001
            grown, room = asked.life.grown(family, since, at), asked.life.room(family, since, at)
            for currency, least in grown.items():
                increase = found.get(currency, Decimal(0))
                most = least + room[currency]
                assert least - MICRO <= increase <= most + MICRO, (at, window, currency)


@pytest.mark.parametrize("shift", [0, BETWEEN], ids=["at scrapes", "between scrapes"])
def test_all_hours_together_show_what_was_booked(asked: Asked, shift: int) -> None:
    """All of it, if they meet at scrapes; else all but what came between the two scrapes around each meeting.

    Neither window has both of those scrapes. On average that is interval / window, 1/60 here. It is no bound: money
    comes in lumps, and of these ten hours' euros 4 % came in one of those minutes. More is shown only by extrapolation.
    """
    life, family = asked.life, "telnyx_cost_total"
    hours = asked.at_each(INCREASE, family, HOUR, shift)
    ends = range(max(hours), life.times[0], -HOUR)
    lost, room = life.between(family, ends), [life.room(family, end - HOUR - 0.001, end) for end in ends]
    for currency, booked in life.booked[-1][family].items():
        shown = sum(hours[end].get(currency, Decimal(0)) for end in ends)
        least = booked - lost[currency]
        assert least - MICRO <= shown <= least + sum(each[currency] for each in room) + MICRO
        assert lost[currency] <= (Decimal("0.05") * booked if shift else 0)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_exact_query_is_what_was_shown(asked: Asked, family: str) -> None:
    """To a millionth at each scrape, where there was one at the window's start as well."""
    life = asked.life
    absent = set(range(life.times[0], life.times[-1], MINUTE)) - set(life.times)
    for window in WINDOWS:
        for at, found in asked.at_each(EXACT, family, window, 0).items():
            if at - window not in absent:
                grown = life.grown(family, at - window, at)
                zero = Decimal(0)
                differences = [abs(found.get(each, zero) - grown.get(each, zero)) for each in {*found, *grown}]
                assert max(differences, default=zero) <= MICRO, (at, window)


def test_the_life_was_worth_asking_about(asked: Asked) -> None:
    """In the end all booked money is shown, never more was shown, and every kind of change happened."""
    life = asked.life
    assert same(life.shown, life.truth)
    assert life.released[-1] == life.booked[-1]
    for released, booked in zip(life.released, life.booked, strict=True):
        assert all(
            value <= booked[family][currency] for family in FAMILIES for currency, value in released[family].items()
        )
    assert all(sums for sums in life.booked[-1].values())
    assert life.booked[-1]["telnyx_cost_credits_total"]["USD"] > 0
    assert any(released != booked for released, booked in zip(life.released, life.booked, strict=True))
    ended = [name for name, samples in life.series.items() if samples[-1][0] < life.times[-1]]
    projected = [name for name in life.series if 'connection="none"' in name]
    assert len(ended) > 50
    assert len(projected) > 50
