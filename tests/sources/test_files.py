"""Files with lists of sessions, read by a running exporter."""

import asyncio
import json
import logging
import mmap
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from msgspec import Struct
from msgspec.structs import replace

from exporter import config as configuration
from exporter.config import Account, DiscoverySettings
from exporter.core.catalog import FILES
from exporter.core.errors import ConfigError
from exporter.ledger import Ledger
from exporter.sources.files import BYTES_TOTAL_MAX, FILES_MAX, STAMP_SECONDS, FileSource
from simulator import Running, SimulatorSettings, running
from tests.ledger.test_durability import busy
from tests.runtime.test_exporter import LONGEST_SECONDS, value
from tests.support.clocks import RealSleep
from tests.support.exporting import NO_RECORDS, Exporting, config, exporting, net, same, stated

QUIET = SimulatorSettings(speed=0.0, sessions_max=0)
"""A world without sessions: it knows none that the files name, but they are followed."""

NO_FILES = DiscoverySettings(detail_records=NO_RECORDS)

FAILURES, FOUND = "telnyx_discovery_failures_total", "telnyx_discovered_sessions_total"
LAST_SUCCESS = "telnyx_discovery_last_success_timestamp_seconds"


def put(path: Path, *event_ids: str, **more: str) -> None:
    """Write a file that names these messages."""
    replaced(path, json.dumps([{"record_type": "message", "event_id": event_id, **more} for event_id in event_ids]))


def replaced(path: Path, content: str) -> None:
    """Replace the file in one step, so that no check reads half of it."""
    beside = path.with_name(f".{path.name}.new")
    beside.write_text(content)
    beside.rename(path)


def with_files(simulated: Running, folder: Path, *patterns: str, **changes: Any) -> configuration.Config:
    """Run an exporter with these patterns; its ledger is in the folder, the files in `lists` below it."""
    (folder / "lists").mkdir(exist_ok=True)
    files = tuple(str(folder / "lists" / pattern) for pattern in patterns)
    return config(simulated, folder, discovery=DiscoverySettings(files=files, detail_records=NO_RECORDS), **changes)


def run(scenario: Callable[[Exporting, Path], Awaitable[None]], folder: Path, *patterns: str, **changes: Any) -> None:
    """Run a scenario with an exporter and the folder of its lists."""

    async def play() -> None:
        with running(QUIET, time.monotonic) as simulated:
            async with exporting(with_files(simulated, folder, *patterns, **changes), simulated) as exporter:
                await exporter.app.files.check()
                await scenario(exporter, folder / "lists")

    asyncio.run(play())


async def check(exporter: Exporting) -> dict[str, int]:
    """Check the files now, and return the discovery samples of /metrics."""
    await exporter.app.files.check()
    await exporter.drained()
    samples = await exporter.samples()
    return {
        "found": int(value(samples, FOUND, source=FILES)),
        "failures": int(value(samples, FAILURES, source=FILES)),
        "followed": int(value(samples, "telnyx_sessions")),
    }


def said(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """Return the names of the files in warnings, with the reasons."""
    records = [record for record in caplog.records if record.name == "exporter.sources.files"]
    stated = [getattr(record, "fields") for record in records if record.levelno == logging.WARNING]  # noqa: B009
    return [(Path(each["file"]).name, each["error"]) for each in stated]


def test_what_files_name_is_followed(tmp_path: Path) -> None:
    """Files that match are found when they appear, and again when they change; one list may be JSON, another YAML."""

    async def scenario(exporter: Exporting, lists: Path) -> None:
        assert await check(exporter) == {"found": 0, "failures": 0, "followed": 0}
        put(lists / "a.json", "1", "2")
        replaced(lists / "b.yaml", "- record_type: message\n  event_id: '3'\n")
        (lists / "c.txt").write_text("not for us")
        assert (await check(exporter))["found"] == 3
        put(lists / "a.json", "2", "4")
        replaced(lists / "b.yaml", "[]")
        assert await check(exporter) == {"found": 4, "failures": 0, "followed": 4}

    run(scenario, tmp_path, "*.json", "*.yaml")


def test_a_vanished_file_changes_nothing(tmp_path: Path) -> None:
    """A session stays followed when its file is removed, and is not found anew when the file returns."""

    async def scenario(exporter: Exporting, lists: Path) -> None:
        put(lists / "a.json", "1")
        before = await check(exporter)
        (lists / "a.json").unlink()
        assert await check(exporter) == before
        put(lists / "a.json", "1")
        assert await check(exporter) == before == {"found": 1, "failures": 0, "followed": 1}

    run(scenario, tmp_path, "*.json")


def test_a_bad_file_keeps_what_it_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A half-written file is logged and counted once per change, stops no other, and is read once complete."""

    async def scenario(exporter: Exporting, lists: Path) -> None:
        put(lists / "a.json", "1")
        await check(exporter)
        replaced(lists / "a.json", '[{"record_type": "message"')
        put(lists / "b.json", "2")
        for _ in range(3):
            assert await check(exporter) == {"found": 2, "failures": 1, "followed": 2}
        replaced(lists / "a.json", '[{"record_type": "message"}]')
        assert await check(exporter) == {"found": 2, "failures": 2, "followed": 2}
        put(lists / "a.json", "1", "3")
        assert await check(exporter) == {"found": 3, "failures": 2, "followed": 3}
        assert said(caplog) == [
            ("a.json", "a.json, line 1, column 27: Expecting ',' delimiter; is it JSON, and written to its end?"),
            (
                "a.json",
                "[0].event_id: missing; expected text of 1 to 200 printable characters, with no space at either end",
            ),
        ]

    run(scenario, tmp_path, "*.json")


def test_files_that_cannot_be_read_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A missing file or folder, a link loop, and a folder or pipe instead of a file are each logged once."""

    async def scenario(exporter: Exporting, lists: Path) -> None:
        put(lists / "good.json", "1")
        (lists / "loop.json").symlink_to("loop.json")
        (lists / "folder.json").mkdir()
        os.mkfifo(lists / "pipe.json")
        for _ in range(2):
            assert (await check(exporter))["found"] == 1
        reasons = dict(said(caplog))
        assert len(said(caplog)) == len(reasons) + 1 == 6  # the folder was absent at first
        assert {name: reason.partition(";")[0] for name, reason in reasons.items()} == {
            "absent.json": "cannot be read (there is no such file or directory)",
            "none": "cannot be read (there is no such file or directory)",
            "loop.json": "cannot be read (Too many levels of symbolic links)",
            "folder.json": "cannot be read (it is no regular file)",
            "pipe.json": "cannot be read (it is no regular file)",
        }
        put(lists / "absent.json", "2")
        (lists / "loop.json").unlink()
        put(lists / "loop.json", "3")
        assert (await check(exporter))["found"] == 3

    run(scenario, tmp_path, "absent.json", "none/*.json", "folder.json", "*.json")


class Stopped(RealSleep):
    """A clock that the test advances, apart from the file system's clock."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> float:
        return self.seconds

    def monotonic(self) -> float:
        return self.seconds


class CheckedFile(Struct):
    """A source on a clock of its own, and a file that can be changed in memory, mostly without a new stamp."""

    source: FileSource
    clock: Stopped
    exporter: Exporting
    file: Path
    memory: mmap.mmap

    async def found(self) -> int:
        """Check the files now; return the number of sessions named so far."""
        await self.source.check()
        await self.exporter.drained()
        return int(value(await self.exporter.samples(), FOUND, source=FILES))

    def name(self, number: int) -> bool:
        """Change the file to name message NUMBER; return whether its stamp changed."""
        before = stamp(self.file)
        self.memory[self.memory.find(b'"event_id": "') + len(b'"event_id": "')] = ord(str(number))
        return stamp(self.file) != before


def stamp(file: Path) -> tuple[int, int, int, int]:
    status = file.stat()
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino


def run_checks(scenario: Callable[[CheckedFile], Awaitable[None]], folder: Path) -> None:
    """Run a scenario with an exporter that checks files on request; the file lists message 1 and was checked once."""

    async def play() -> None:
        with running(QUIET, time.monotonic) as simulated:
            settings, clock = with_files(simulated, folder, "*.json"), Stopped()
            async with exporting(replace(settings, discovery=NO_FILES), simulated) as exporter:
                source = FileSource(exporter.app.ingest, exporter.app.metrics, clock)
                source.apply_config(settings)
                put(file := folder / "lists" / "a.json", "1")
                with file.open("r+b") as opened, mmap.mmap(opened.fileno(), 0) as memory:
                    checked = CheckedFile(source, clock, exporter, file, memory)
                    assert await checked.found() == 1
                    await scenario(checked)

    asyncio.run(play())


@pytest.mark.slow
@pytest.mark.parametrize("looks", [1, 2, 3])
def test_two_writes_in_one_tick_are_both_read(tmp_path: Path, looks: int) -> None:
    """A change is found even if its stamp equals the one read just before, however often that was checked."""

    async def scenario(checked: CheckedFile) -> None:
        moved = []
        for number in range(2, 8):
            moved.append(checked.name(number))
            for _ in range(looks):
                assert await checked.found() == number
        assert not all(moved)

    run_checks(scenario, tmp_path)


def test_a_file_is_read_once_more_when_its_stamp_is_old(tmp_path: Path) -> None:
    """Once a further change must show in the stamp, the file is read only when the stamp changes."""

    async def scenario(checked: CheckedFile) -> None:
        found, moved = 1, []
        for number in range(2, 8):
            checked.clock.seconds += STAMP_SECONDS
            assert await checked.found() == found
            moved.append(checked.name(number))
            found += moved[-1]
            assert await checked.found() == found
        assert not all(moved)

    run_checks(scenario, tmp_path)


def test_a_change_whose_time_was_set_back_is_read(tmp_path: Path) -> None:
    """A changed file is read again even if time, size and inode equal those of an earlier version."""

    async def scenario(checked: CheckedFile) -> None:
        checked.clock.seconds += STAMP_SECONDS
        assert await checked.found() == 1
        before = checked.file.stat()
        while checked.file.stat().st_ctime_ns == before.st_ctime_ns:  # until the file system's clock has ticked
            checked.file.write_bytes(checked.file.read_bytes().replace(b'"1"', b'"2"'))
            os.utime(checked.file, ns=(before.st_atime_ns, before.st_mtime_ns))
        after = checked.file.stat()
        assert (after.st_mtime_ns, after.st_size, after.st_ino) == (before.st_mtime_ns, before.st_size, before.st_ino)
        assert await checked.found() == 2

    run_checks(scenario, tmp_path)


def test_entries_are_handed_over_once(tmp_path: Path) -> None:
    """A session is reported to the ledger once per process, however many files or versions name it."""

    async def scenario(exporter: Exporting, lists: Path) -> None:
        async def heard_at() -> float:
            exporter.simulated.clock.step(60)
            await check(exporter)
            return float(value(await exporter.samples(), LAST_SUCCESS, source=FILES))

        put(lists / "a.json", "1")
        first = await heard_at()
        put(lists / "a.json", "1")
        put(lists / "b.json", "1")
        assert await heard_at() == first  # a check without news is recorded once a minute at most
        put(lists / "b.json", "2", "1")
        assert await heard_at() > first

    run(scenario, tmp_path, "*.json")


@pytest.mark.slow
def test_what_the_ledger_refused_is_handed_over_again(tmp_path: Path) -> None:
    """While the ledger can't be written nothing is lost: the next check reports it, even from a removed file."""

    async def scenario(exporter: Exporting, lists: Path) -> None:
        put(lists / "a.json", "1", "2")
        with busy(tmp_path):
            await exporter.app.files.check()
        (lists / "a.json").unlink()
        await exporter.until(lambda: ready(exporter))
        assert await check(exporter) == {"found": 2, "failures": 0, "followed": 2}

    run(scenario, tmp_path, "*.json")


async def ready(exporter: Exporting) -> bool:
    return (await exporter.get("/-/ready")).status_code == 200


@pytest.mark.slow
def test_too_many_files_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Too many files, or too many bytes in all, are a failure; the first files are read."""

    async def scenario(exporter: Exporting, lists: Path) -> None:
        put(lists / "a.json", "1")
        with (lists / "b.json").open("wb") as huge:
            huge.truncate(BYTES_TOTAL_MAX)
        put(lists / "c.json", "2")
        assert await check(exporter) == {"found": 1, "failures": 2, "followed": 1}
        (lists / "b.json").unlink()
        for number in range(FILES_MAX):
            (lists / f"d{number}.json").write_text("[]")
        assert await check(exporter) == {"found": 2, "failures": 3, "followed": 2}
        problem = f"all files together are larger than {BYTES_TOTAL_MAX} bytes; remove old ones"
        assert said(caplog) == [
            ("b.json", problem),
            ("c.json", problem),
            ("d998.json", f"is one of more than {FILES_MAX} files; put more sessions into one, and remove old files"),
        ]

    run(scenario, tmp_path, "*.json")


def test_a_failure_belongs_to_the_accounts_that_the_file_named(tmp_path: Path) -> None:
    """A bad file is counted for the accounts it named last; one that was never good, for all."""

    async def play() -> None:
        with running(QUIET, time.monotonic) as simulated:
            plain = with_files(simulated, tmp_path, "*.json")
            backup: Account = replace(plain.accounts[0], name="backup")
            lists = tmp_path / "lists"
            async with exporting(replace(plain, accounts=(*plain.accounts, backup)), simulated) as exporter:
                put(lists / "a.json", "1", account="backup")
                await check(exporter)
                replaced(lists / "a.json", "")
                await check(exporter)
                replaced(lists / "b.json", "")
                await check(exporter)
                samples = await exporter.samples()
                failures = {name: int(value(samples, FAILURES, account=name)) for name in ("main", "backup")}
                assert failures == {"main": 1, "backup": 2}

    asyncio.run(play())


def test_series_of_the_files_are_there_from_the_start(tmp_path: Path) -> None:
    """The three discovery families have a series before any file exists, and none without the setting."""

    async def scenario(exporter: Exporting, _: Path) -> None:
        await exporter.drained()
        sources = {name: dict(labels).get("source") for name, labels in await exporter.samples()}
        expected = FILES if exporter.app.config.discovery.files else None
        assert [sources.get(name) for name in (FAILURES, LAST_SUCCESS)] == [expected, expected]
        found = {labels for name, labels in await exporter.samples() if name == FOUND}
        assert ((("account", "main"), ("source", FILES)) in found) is (expected is not None)

    run(scenario, tmp_path, "*.json")
    run(scenario, tmp_path / "lists")


def test_a_check_without_news_is_a_success_too(tmp_path: Path) -> None:
    """Only a check that can read every file sets the time of the last success."""

    async def scenario(exporter: Exporting, _: Path) -> None:
        assert value(await exporter.samples(), LAST_SUCCESS, source=FILES) == 0

    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "bad.json").write_text("[")
    run(scenario, tmp_path, "*.json")

    async def good(exporter: Exporting, _: Path) -> None:
        await exporter.drained()
        assert value(await exporter.samples(), LAST_SUCCESS, source=FILES) > 0

    (tmp_path / "lists" / "bad.json").unlink()
    run(good, tmp_path, "*.json")


@pytest.mark.slow
def test_a_world_that_only_files_name_is_booked_to_the_last_digit(tmp_path: Path) -> None:
    """Every session that files name is followed exactly once, also across a restart: /metrics equals the truth."""

    async def play() -> None:
        with running(SimulatorSettings(speed=0.0, sessions_per_hour=10, seed=11), time.monotonic) as simulated:
            settings = with_files(simulated, tmp_path, "*.json", "*.yaml")
            since = 0.0
            for part in range(3):
                async with exporting(settings, simulated) as exporter:
                    for hour in range(4):
                        simulated.clock.step(LONGEST_SECONDS)
                        since = await list_started(simulated, since, tmp_path / "lists" / f"{part}-{hour}")
                        await exporter.app.files.check()
                        await exporter.drained()
                    samples, truth = await exporter.samples(), await exporter.truth()
                    assert same(net(samples), stated(truth)), (net(samples), stated(truth))
                    assert value(samples, "telnyx_events_total") == truth["events"]
                    assert value(samples, FOUND, source=FILES) == truth["sessions"]
                    assert value(samples, "telnyx_sessions") == truth["sessions"]
                    assert await exporter.app.ledger.run(Ledger.check) == []
            assert truth["sessions"] > 80

    asyncio.run(play())


async def list_started(simulated: Running, since: float, path: Path) -> float:
    """Write the sessions that started after `since` into a new JSON or YAML file; return the next `since`."""
    async with httpx.AsyncClient() as http:
        listed = (await http.get(f"{simulated.origin}/_sessions", params={"since": since})).json()
    entries = [{key: session[key] for key in ("record_type", "event_id", "date_time")} for session in listed]
    ending = ".json" if path.name.endswith(("0", "2")) else ".yaml"
    replaced(path.with_suffix(ending), json.dumps(entries))
    return float(listed[-1]["begun"]) if listed else since


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "discovery: {files: a.yaml}",
            (
                "discovery.files: expected a list, each text of 1 to 4096 printable characters, with no space at "
                'either end, got "a.yaml"'
            ),
        ),
        ("discovery: {files: [a, a]}", 'discovery.files: "a" is given twice; keep one'),
        ("discovery: {file: [a]}", "discovery.file: unknown key; did you mean files?"),
        ("discovery: {http: {enabled: yes}}", "discovery.http.enabled: expected true or false, got yes"),
        ("discovery: {http: true}", "discovery.http: expected settings below it (key: value), got true"),
    ],
)
def test_a_wrong_setting_of_a_source_gets_its_message(text: str, expected: str) -> None:
    """Wrong settings of the sources are errors with path, problem and cure."""
    with pytest.raises(ConfigError) as caught:
        configuration.parse(text.encode(), "config.yaml")
    assert str(caught.value) == expected


def test_sources_are_off_by_default() -> None:
    """Without settings no file is checked, and no list is accepted over HTTP."""
    read = configuration.parse(b"", "config.yaml").discovery
    assert (read.files, read.http.enabled) == ((), False)
