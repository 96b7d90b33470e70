"""What the tests share: real server programs, a port, and how hard hypothesis tries."""

import os
import shutil
import socket
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import settings

from tests.support.cluster import Cluster, agents, clustered
from tests.support.history import past
from tests.support.hygiene import WATCH
from tests.support.once import run_folder
from tests.support.postgres import Bouncer, Postgres, binaries, bouncer, bouncing, running
from tests.support.selection import TOP, changed_files, changed_first, is_slow, longest_first
from tests.support.sickness import sick

__all__ = ["past", "run_folder", "sick"]

# CI runs the same examples each time; FULL=1 searches further, and prints how to repeat what it finds.
settings.register_profile("ci", derandomize=True, deadline=None, max_examples=100)
settings.register_profile("full", print_blob=True, deadline=None, max_examples=2000)
settings.load_profile("full" if os.environ.get("FULL") == "1" else "ci")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help="leave out what takes long; changed parts first")


def pytest_xdist_auto_num_workers() -> int:
    """Return twice the number of cores: half of a worker's time it waits for servers and processes."""
    return 2 * (os.cpu_count() or 1)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out files that are slow as a whole before they are imported: that alone takes a worker two seconds."""
    if config.getoption("quick") and collection_path.suffix == ".py":
        return "\npytestmark = pytest.mark.slow\n" in collection_path.read_text() or None
    return None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the files in order; each file's tests stay together, in theirs."""
    items.sort(key=lambda item: longest_first(item.path.relative_to(TOP)))
    if config.getoption("quick"):
        config.hook.pytest_deselected(items=[item for item in items if is_slow(item)])
        items[:] = [item for item in items if not is_slow(item)]
        rank = changed_first(changed_files())
        items.sort(key=lambda item: rank(item.path.relative_to(TOP)))


def pytest_configure(config: pytest.Config) -> None:
    """From the first test to the last it is watched that no secret shows."""
    patch = pytest.MonkeyPatch()
    WATCH.install(patch)
    config.add_cleanup(patch.undo)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, object, object]:
    """A test during which a secret showed has failed, whatever else it found."""
    try:
        result = yield
    finally:
        leaks = WATCH.pop_found()  # also of a test that failed: the next one has nothing to do with it
    assert not leaks, "\n".join(leaks)
    return result


def _program(name: str, package: str) -> Path:
    """Where the program is; without it the test is skipped, or fails if REQUIRE_REAL=1."""
    found = shutil.which(name)
    if found is None:
        _absent(name, package)
    return Path(found)


def _absent(name: str, package: str) -> NoReturn:
    reason = f"the program {name} is absent; on Debian: apt-get install --no-install-recommends {package}"
    if os.environ.get("REQUIRE_REAL") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def prometheus() -> Path:
    """The Prometheus server."""
    return _program("prometheus", "prometheus")


@pytest.fixture(scope="session")
def promtool() -> Path:
    """Prometheus's checker of pages, rules and configurations."""
    return _program("promtool", "prometheus")


@pytest.fixture(scope="session")
def nginx() -> Path:
    """The web server that benchmarks poll."""
    return _program("nginx", "nginx")


@pytest.fixture(scope="session")
def alertmanager_program() -> Path:
    """The Alertmanager server, by the name that Debian gives it or by its own."""
    own = shutil.which("alertmanager")
    return Path(own) if own else _program("prometheus-alertmanager", "prometheus-alertmanager")


@pytest.fixture(scope="session")
def amtool() -> Path:
    """Alertmanager's checker of configurations."""
    return _program("amtool", "prometheus-alertmanager")


@pytest.fixture(scope="session")
def curl() -> Path:
    """The client that everybody has at hand."""
    return _program("curl", "curl")


@pytest.fixture(scope="session")
def chromium() -> Path:
    """The browser."""
    return _program("chromium", "chromium")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL of this process's tests, for which the disk need not wait."""
    if binaries() is None:
        _absent("postgres", "postgresql")
    with running() as server:
        yield server


@pytest.fixture
def own_postgres() -> Iterator[Postgres]:
    """A PostgreSQL that the test may stop."""
    if binaries() is None:
        _absent("postgres", "postgresql")
    with running() as server:
        yield server


@pytest.fixture
def database(postgres: Postgres) -> Iterator[str]:
    """The URL of an empty database that is the test's own."""
    name = postgres.create_database()
    yield postgres.url(name)
    postgres.drop_database(name)


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a ledger may be, on each engine in turn; there is none yet."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.sqlite'}"
    url: str = request.getfixturevalue("database")
    return url


@pytest.fixture(scope="session")
def pgbouncer(postgres: Postgres) -> Iterator[Bouncer]:
    """A pgbouncer in transaction mode before that PostgreSQL."""
    if bouncer() is None:
        _absent("pgbouncer", "pgbouncer")
    with bouncing(postgres) as pooler:
        yield pooler


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Three servers with automatic failover and synchronous replication; for a module only, since they never rest."""
    if not agents():
        _absent("patroni", "patroni etcd-server")
    with clustered() as whole:
        yield whole


@pytest.fixture
def free_port() -> int:
    """A loopback port that nothing listens on, for a program that cannot choose one itself."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
