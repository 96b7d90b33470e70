"""Run three PostgreSQL servers with automatic failover: Patroni beside each, one etcd, synchronous replication.

A commit is on two of the three servers before the client gets its answer, so the loss of any one server loses nothing.
Clients list all three hosts and connect to the one that accepts writes. This module finds the primary in the same way,
because a Patroni agent may report an old one.
"""

import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psycopg
import yaml

from tests.support.postgres import Process, binaries, free_port, run
from tests.support.process_folder import give_to_owner, kill_all, process_folder
from tests.support.waiting import until

NODES = 3
TTL_SECONDS = 20
"""How long a dead node stays leader. Patroni accepts no less."""

PATIENCE_SECONDS = 120.0


def agents() -> bool:
    """Return whether PostgreSQL, Patroni and etcd are installed."""
    return binaries() is not None and all(map(shutil.which, ("patroni", "etcd")))


class Node:
    """One PostgreSQL server with its Patroni agent; both run in the node's folder."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self.port, self.agent_port = free_port(), free_port()
        self.folder = folder / name
        self.folder.mkdir()
        give_to_owner(self.folder)
        self.config = self.folder / "patroni.yml"
        self._log = folder / f"{name}.log"
        self._agent: Process | None = None

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def start(self) -> None:
        self._agent = run(["patroni", self.config], self._log, cwd=self.folder)

    def kill(self) -> None:
        """Send SIGKILL to the agent and to all processes of the server, like the loss of a machine."""
        kill_all(self.folder)
        if self._agent is not None:
            self._agent.wait()

    def kill_server(self) -> None:
        """Send SIGKILL to all processes of the server; the agent survives and notices."""
        kill_all(self.folder / "data")


class Cluster:
    """Three nodes and their etcd, in one process folder."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self._folder = folder
        self._etcd_ports = free_port(), free_port()
        self._etcd: Process | None = None
        self.nodes = [Node(folder, f"node{number}") for number in range(1, NODES + 1)]
        for node in self.nodes:
            node.config.write_text(yaml.safe_dump(self._config(node, settings)))

    def url(self, database: str = "postgres") -> str:
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)
        return f"postgresql://postgres@{hosts}/{database}?target_session_attrs=read-write&connect_timeout=3"

    def log(self) -> str:
        return "\n".join(f"{node.name}:\n{node.log()[-5000:]}" for node in self.nodes)

    def start(self) -> None:
        """Start all nodes; wait for a primary with two standbys, one of them synchronous."""
        self._start_etcd()
        for node in self.nodes:
            node.start()
        self.until_whole()

    def kill(self) -> None:
        """Send SIGKILL to all processes of the cluster."""
        for node in self.nodes:
            node.kill()
        if self._etcd is not None:
            self._etcd.kill()
            self._etcd.wait()

    def until_whole(self) -> None:
        """Wait until two nodes follow the primary and etcd knows which of them is synchronous."""
        until(self._whole, self.log, PATIENCE_SECONDS)

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run a statement on the primary, outside a transaction; return its rows."""
        with closing(psycopg.connect(self.url(database), autocommit=True)) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def primary(self) -> Node:
        """Wait for a node that accepts writes; return it."""
        found: list[int] = []

        def writable() -> bool:
            with suppress(psycopg.OperationalError):
                found.extend(row[0] for row in self.execute("SHOW port"))
            return bool(found)

        until(writable, self.log, PATIENCE_SECONDS)
        return next(node for node in self.nodes if node.port == int(found[0]))

    def _whole(self) -> bool:
        """Return whether etcd shows a complete cluster: a failover follows etcd, which lags behind PostgreSQL."""
        with suppress(httpx.TransportError, psycopg.OperationalError):
            members = httpx.get(f"http://127.0.0.1:{self.primary().agent_port}/cluster").json()["members"]
            running = sorted(member["role"] for member in members if member["state"] in {"running", "streaming"})
            following = self.execute("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'")
            return running == ["leader", "replica", "sync_standby"] and following == [(NODES - 1,)]
        return False

    def _start_etcd(self) -> None:
        clients, peers = (f"http://127.0.0.1:{port}" for port in self._etcd_ports)
        flags = {
            "data-dir": str(self._folder / "etcd"),
            "listen-client-urls": clients,
            "advertise-client-urls": clients,
            "listen-peer-urls": peers,
            "initial-advertise-peer-urls": peers,
            "initial-cluster": f"default={peers}",
            "unsafe-no-fsync": "true",
        }
        command = ["etcd", *(f"--{name}={value}" for name, value in flags.items())]
        self._etcd = run([*command], self._folder / "etcd.log", cwd=self._folder)

    def _config(self, node: Node, settings: dict[str, str]) -> dict[str, Any]:
        found = binaries()
        assert found is not None, "PostgreSQL is absent"
        agent = f"127.0.0.1:{node.agent_port}"
        return {
            "scope": "fleet",
            "name": node.name,
            "restapi": {"listen": agent, "connect_address": agent},
            "etcd3": {"host": f"127.0.0.1:{self._etcd_ports[0]}"},
            "bootstrap": {"dcs": DCS, "initdb": [{"encoding": "UTF8"}, {"locale": "C"}, "no-sync"]},
            "postgresql": {
                "listen": f"127.0.0.1:{node.port}",
                "connect_address": f"127.0.0.1:{node.port}",
                "data_dir": str(node.folder / "data"),
                "bin_dir": str(found),
                "pgpass": str(node.folder / "pgpass"),
                "authentication": {
                    "superuser": {"username": "postgres", "password": "postgres"},
                    "replication": {"username": "replicator", "password": "replicator"},
                    "rewind": {"username": "rewinder", "password": "rewinder"},
                },
                "pg_hba": ["host all all 127.0.0.1/32 trust", "host replication all 127.0.0.1/32 trust"],
                "parameters": {"unix_socket_directories": str(node.folder), "shared_buffers": "32MB", **settings},
            },
        }


DCS = {
    "ttl": TTL_SECONDS,
    "loop_wait": 1,
    "retry_timeout": 3,
    "primary_start_timeout": 0,  # replace a dead primary at once
    "synchronous_mode": True,
    "synchronous_mode_strict": True,  # refuse a commit that would be on one node only
    "postgresql": {"use_pg_rewind": True, "use_slots": True},
}


@contextmanager
def clustered(**settings: str) -> Iterator[Cluster]:
    """Run a complete cluster until the block ends."""
    with process_folder("cluster") as folder:
        cluster = Cluster(folder, **settings)
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.kill()
