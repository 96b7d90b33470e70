"""Run a real PostgreSQL server on loopback, and a pgbouncer in front of it, for tests.

The data lies in a process folder, so nothing is left behind. By default fsync is off: killed processes then still lose
no commit, only a crash of the machine would. Tests of crashes turn it on for its timing.
"""

import itertools
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from random import SystemRandom
from typing import Any

import psycopg

from tests.support.process_folder import OWNER, kill_all, process_folder, processes_in
from tests.support.waiting import until

PROGRAMS = ("postgres", "initdb", "pg_basebackup", "pg_rewind")

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "100",
    "shared_buffers": "64MB",
    "log_line_prefix": "%m [%p] %q%a %d ",
    "log_lock_waits": "on",
}
HASTY = {"fsync": "off", "full_page_writes": "off"}

Process = subprocess.Popen[bytes]

MODES = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}
"""Signals per shutdown mode: wait for clients, end their sessions, or stop like a crash."""


def binaries() -> Path | None:
    """Return the folder of PostgreSQL's programs, of the newest complete version; None if there is none."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parts[-2]), reverse=True)
    named = shutil.which("postgres")
    for folder in ([Path(named).resolve().parent] if named else []) + [Path("/usr/local/bin"), *debian]:
        if all((folder / program).is_file() for program in PROGRAMS):
            return folder
    return None


def free_port() -> int:
    """Return a free loopback port below the ephemeral range: no client takes it while a server restarts."""
    for port in SystemRandom().sample(range(20000, 32000), 100):
        with socket.socket() as listener, suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no free port")


def run(command: list[str | Path], log: Path, **options: Any) -> Process:
    """Start a server program as OWNER in the background; its output is appended to the log."""
    with log.open("ab") as written:
        return subprocess.Popen(
            command,
            stdout=written,
            stderr=written,
            user=OWNER,
            group=OWNER,
            extra_groups=[] if OWNER else None,
            **options,
        )


class Server:
    """A server of PostgreSQL's protocol on a port, in a process folder; a new one is not started yet."""

    def __init__(self, log: Path) -> None:
        self.port = free_port()
        self._log = log
        self._process: Process | None = None

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def _run(self, command: list[str | Path], folder: Path) -> None:
        """Start the program and wait until it answers; fail if it ends."""
        self._process = run(command, self._log, cwd=folder)
        until(self._answers, self.log)

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log()
        with suppress(psycopg.OperationalError), closing(psycopg.connect(self.url())):
            return True
        return False


class Postgres(Server):
    """One server, without replicas."""

    def __init__(self, folder: Path, *, fsync: bool = False, **settings: str) -> None:
        found = binaries()
        assert found is not None, "PostgreSQL is absent"
        super().__init__(folder / "postgres.log")
        self.data = folder / "data"
        self._program = found / "postgres"
        self._settings = SETTINGS | ({} if fsync else HASTY) | settings
        self._names = itertools.count(1)
        flags = ["--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C", "--no-sync"]
        made = run([found / "initdb", f"--pgdata={self.data}", *flags], self._log, cwd=folder)
        assert made.wait() == 0, self.log()

    def start(self) -> None:
        """Start the server and wait until it answers."""
        flags = [f"-c{name}={value}" for name, value in (self._settings | {"port": str(self.port)}).items()]
        self._run([self._program, "-D", self.data, *flags], self.data)

    def stop(self, mode: str = "fast") -> None:
        assert self._process is not None
        self._process.send_signal(MODES[mode])
        until(lambda: self._process is not None and self._process.poll() is not None, self.log)

    def restart(self, mode: str = "fast") -> None:
        self.stop(mode)
        self.start()

    def kill(self) -> None:
        """Send SIGKILL to all processes of the server, like the loss of a machine; wait for their end."""
        assert self._process is not None
        self._process.kill()
        kill_all(self.data)
        self._process.wait()

    @property
    def pid(self) -> int:
        """Return the id of the server's main process."""
        assert self._process is not None
        return self._process.pid

    @property
    def pids(self) -> list[int]:
        """Return the ids of all processes of the server."""
        return processes_in(self.data)

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run a statement outside a transaction; return its rows."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def create_database(self) -> str:
        """Create an empty database; return its name."""
        name = f"test_{next(self._names)}"
        self.execute(f"CREATE DATABASE {name}")
        return name

    def drop_database(self, name: str) -> None:
        """Drop the database, even if clients are connected."""
        self.execute(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def running(*, fsync: bool = False, **settings: str) -> Iterator[Postgres]:
    """Run a server until the block ends."""
    with process_folder("postgres") as folder:
        server = Postgres(folder, fsync=fsync, **settings)
        try:
            server.start()
            yield server
        finally:
            server.kill()


class Bouncer(Server):
    """A pgbouncer in transaction mode: a client has a server connection for one transaction only."""

    def __init__(self, folder: Path, postgres: Postgres, pool_size: int = 10) -> None:
        program = bouncer()
        assert program is not None, "pgbouncer is absent"
        super().__init__(folder / "pgbouncer.log")
        self._program = program
        self._config = folder / "pgbouncer.ini"
        self._config.write_text(
            f"""[databases]
* = host=127.0.0.1 port={postgres.port} user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {self.port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {pool_size}
max_client_conn = 500
""",
        )

    def start(self) -> None:
        """Start pgbouncer and wait until a connection through it works."""
        self._run([self._program, self._config], self._config.parent)

    def kill(self) -> None:
        """Send SIGKILL and wait for the end of the process."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()


def bouncer() -> Path | None:
    """Return the program pgbouncer, or None. Debian installs it in /usr/sbin, which only root has on its PATH."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"])
    found = shutil.which("pgbouncer", path=path)
    return Path(found) if found else None


@contextmanager
def bouncing(postgres: Postgres, pool_size: int = 10) -> Iterator[Bouncer]:
    """Run a pgbouncer in front of the server until the block ends."""
    with process_folder("pgbouncer") as folder:
        pooler = Bouncer(folder, postgres, pool_size)
        try:
            pooler.start()
            yield pooler
        finally:
            pooler.kill()
