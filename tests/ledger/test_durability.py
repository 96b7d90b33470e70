"""The ledger's file fails in every way a file can: the exporter reports it, loses nothing, and recovers by itself."""

import asyncio
import os
import shutil
import sqlite3
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from decimal import Decimal
from pathlib import Path

import pytest
from msgspec.structs import replace

from exporter.config import LedgerSettings
from exporter.core.errors import LedgerError
from simulator import Running, SimulatorSettings, running
from tests.ledger.test_ledger import ALL, CALL, book, opened, poll, ref
from tests.ledger.test_ledger import net as booked
from tests.support.exporting import Exporting, Samples, config, exporting, net, same, stated
from tests.support.trees import node

pytestmark = pytest.mark.slow

HOUR = 3600.0
LONGEST_SECONDS = 1.1 * HOUR + 1
Fault = Callable[[Path], AbstractContextManager[None]]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MB: the write-ahead log alone grows to 4."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", folder], check=False)
    if mounted.returncode != 0:
        pytest.fail("this test mounts a small file system: run it as root")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture
def ext4(tmp_path: Path) -> Iterator[Path]:
    """A file system that can fail; its image of 32 MB is sparse."""
    image, folder = tmp_path / "image", tmp_path / "ext4"
    with image.open("wb") as file:
        file.truncate(32 * 2**20)
    folder.mkdir()
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    mount_ext4(image, folder)
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def mount_ext4(image: Path, folder: Path) -> None:
    mounted = subprocess.run(["mount", "-o", "loop,errors=remount-ro", image, folder], check=False)
    if mounted.returncode != 0:
        pytest.fail("this test mounts a file system from a file: run it as root, with loop devices")


@contextmanager
def full(folder: Path) -> Iterator[None]:
    """Fill the disk for the block."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            pass
    yield
    filler.unlink()


@contextmanager
def busy(folder: Path) -> Iterator[None]:
    """Hold SQLite's write lock for the block."""
    other = sqlite3.connect(folder / "ledger.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    yield
    other.execute("ROLLBACK")
    other.close()


@contextmanager
def immutable(folder: Path) -> Iterator[None]:
    """Make the files refuse every write, also through open descriptors; reads still work."""
    files = [folder / "ledger.sqlite", folder / "ledger.sqlite-wal"]
    subprocess.run(["chattr", "+i", *files], check=True)
    yield
    subprocess.run(["chattr", "-i", *files], check=True)


def break_down(folder: Path) -> None:
    """Make the kernel find an error in the file system: it is read-only from now on."""
    device = folder.stat().st_dev
    name = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}").resolve().name
    Path(f"/sys/fs/ext4/{name}/trigger_fs_error").write_text("an error of the test's own\n")


@asynccontextmanager
async def following(folder: Path, simulated: Running) -> AsyncIterator[Exporting]:
    """An exporter of a live world with its ledger in this folder."""
    settings = replace(config(simulated, folder), ledger=LedgerSettings(url=f"sqlite:///{folder / 'ledger.sqlite'}"))
    async with exporting(settings, simulated) as exporter:
        yield exporter


@pytest.fixture
def simulated() -> Iterator[Running]:
    with running(SimulatorSettings(speed=0.0, sessions_per_hour=20, seed=9), time.monotonic) as world:
        yield world


FAULTS: dict[str, tuple[str, Fault, str]] = {
    "disk full": ("small_disk", full, "database or disk is full"),
    "busy": ("small_disk", busy, "database is locked"),
    "writes refused": ("ext4", immutable, "disk I/O error: Operation not permitted"),
}
"""The file system, what fails, and the error."""


@pytest.mark.parametrize("fault", FAULTS)
def test_the_exporter_waits_for_the_disk_and_loses_nothing(
    request: pytest.FixtureRequest, simulated: Running, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    """It is unready and counts the failures while it can't book; afterwards it is exact."""
    disk, lasting, reason = FAULTS[fault]
    folder = request.getfixturevalue(disk)

    async def play() -> None:
        async with following(folder, simulated) as exporter:
            before = await spent(exporter)
            with lasting(folder):
                await can_not_book(exporter, before, reason)
            await exporter.until(lambda: ready(exporter))
            await exact(exporter, before)

    asyncio.run(play())
    assert logged(caplog) == [f"{folder / 'ledger.sqlite'}: {reason}"]


def test_a_broken_file_system_is_reported_and_nothing_is_lost(
    ext4: Path, simulated: Running, caplog: pytest.LogCaptureFixture
) -> None:
    """The kernel makes it read-only under the running exporter, until it is mounted again."""
    reason = "disk I/O error: Read-only file system"

    async def until_it_breaks() -> Samples:
        async with following(ext4, simulated) as exporter:
            before = await spent(exporter)
            break_down(ext4)
            await can_not_book(exporter, before, reason)
            return before

    async def afterwards(before: Samples) -> None:
        async with following(ext4, simulated) as exporter:
            await exact(exporter, before)

    before = asyncio.run(until_it_breaks())
    subprocess.run(["umount", ext4], check=True)
    mount_ext4(ext4.parent / "image", ext4)
    asyncio.run(afterwards(before))
    assert logged(caplog) == [f"{ext4 / 'ledger.sqlite'}: {reason}"]


def logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the logged ledger failures; each is logged once."""
    return [
        record.__dict__["fields"]["error"]
        for record in caplog.records
        if record.getMessage() == "ledger failed; polling waits until it can be written"
    ]


async def spent(exporter: Exporting) -> Samples:
    """Book two hours of sessions."""
    exporter.simulated.clock.step(2 * HOUR)
    await exporter.follow_started()
    await exporter.drained()
    return await exporter.samples()


async def can_not_book(exporter: Exporting, before: Samples, reason: str) -> None:
    """Spend an hour without writes: failures are logged and counted, and only durable values are shown."""
    exporter.simulated.clock.step(HOUR)
    await exporter.until(lambda: unready(exporter))
    await exporter.until(lambda: said(exporter))
    assert reason in (await exporter.get("/-/ready")).text
    assert net(await exporter.samples()) == net(before)
    assert (await exporter.get("/-/healthy")).status_code == 200


async def exact(exporter: Exporting, before: Samples) -> None:
    """Check that the metrics are the truth, and more than before."""
    exporter.simulated.clock.step(LONGEST_SECONDS)  # every live session is polled once more
    await exporter.follow_started()
    await exporter.drained()
    truth = await exporter.truth()
    shown = net(await exporter.samples())
    assert sum(shown.values()) > sum(net(before).values())
    assert same(shown, stated(truth))


async def unready(exporter: Exporting) -> bool:
    return (await exporter.get("/-/ready")).status_code == 503


async def said(exporter: Exporting) -> bool:
    return (await exporter.samples())["telnyx_ledger_commit_failures_total", ()] > 0


async def ready(exporter: Exporting) -> bool:
    return (await exporter.get("/-/ready")).status_code == 200


def test_a_removed_file_is_written_again_complete(tmp_path: Path) -> None:
    """A ledger that is deleted under a running exporter is written again from its open connection."""
    path = tmp_path / "l.sqlite"
    ledger = opened(path)
    ledger.follow([ref("s")], "file", 0.0)
    book(ledger, CALL, 0.0)
    for file in tmp_path.glob("l.sqlite*"):
        if file.suffix != ".lock":
            file.unlink()
    book(ledger, node("call-session:s", "1", *CALL["children"]), 100.0)
    ledger.close()
    again = opened(path)
    assert sum(booked(again).values()) == Decimal("1.1852")
    assert again.check() == []
    again.close()


def test_a_removed_folder_is_waited_for(tmp_path: Path) -> None:
    """Without its folder the ledger raises an error; when the folder is back, all that was booked is there."""
    folder = tmp_path / "data"
    folder.mkdir()
    ledger = opened(folder / "l.sqlite")
    ledger.follow([ref("s")], "file", 0.0)
    (claim,) = ledger.claim(0.0, ALL)
    shutil.rmtree(folder)
    with pytest.raises(LedgerError, match="needs a folder that can be written"):
        ledger.commit([poll(claim, CALL, 0.0)])
    folder.mkdir()
    ledger.commit([poll(claim, CALL, 0.0)])
    assert ledger.check() == []
    ledger.close()
    again = opened(folder / "l.sqlite")
    assert sum(booked(again).values()) == Decimal("0.1852")
    again.close()


def test_a_read_only_file_system_is_reported(small_disk: Path) -> None:
    """The exporter doesn't start on it; once it can be written, all that was booked is there."""
    path = small_disk / "l.sqlite"
    ledger = opened(path)
    ledger.follow([ref("s")], "file", 0.0)
    book(ledger, CALL, 0.0)
    ledger.close()
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(LedgerError, match="Read-only file system"):
        opened(path)
    subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
    again = opened(path)
    assert sum(booked(again).values()) == Decimal("0.1852")
    again.close()
