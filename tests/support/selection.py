"""Which tests run, and in which order.

Every run begins with the files that take longest, so that in the end no worker is left alone with one of them.
`--quick` leaves out what takes long, and begins with the tests of what has changed since the branch left main.
"""

import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path, PurePath

import pytest

TOP = Path(__file__).parents[2]

LONGEST = (
    "tests/monitoring/test_dashboards.py",  # makes the 35 days, for which test_sickness and test_rules_in_history wait
    "tests/runtime/test_replicas.py",
    "tests/polling/test_accounting.py",
    "tests/project/test_benchmarks_memory.py",
    "tests/polling/test_crash.py",
    "tests/sources/test_discovery.py",
    "tests/monitoring/test_sickness.py",
    "tests/monitoring/test_rules.py",
    "tests/web/test_probe.py",
    "tests/ledger/test_laws.py",
    "tests/project/test_benchmarks_fleet.py",
    "tests/runtime/test_failover.py",
    "tests/runtime/test_replica_standstill.py",
    "tests/metrics/test_increase_over_a_life.py",
    "tests/metrics/test_prometheus.py",
    "tests/sources/test_detail_records.py",
    "tests/ledger/test_copy.py",
    "tests/deployment/test_compose.py",
    "tests/polling/test_freshness.py",
    "tests/sources/test_webhooks.py",
    "tests/runtime/test_reload.py",
    "tests/runtime/test_exporter.py",
    "tests/sources/test_files.py",
    "tests/web/test_tls.py",
    "tests/sources/test_http.py",
)
"""By the time that they take; `make test` prints at its end which tests took longest."""

PROGRAMS = frozenset(
    (
        *("prometheus", "promtool", "alertmanager_program", "amtool", "nginx", "curl", "chromium"),
        *("postgres", "pgbouncer", "cluster", "past", "sick"),
    )
)
"""Fixtures of programs that aren't ours, and of what is made by them."""


def is_slow(item: pytest.Item) -> bool:
    """Whether a quick run leaves the test out: it is marked so, or needs a program that isn't ours."""
    fixtures = getattr(item, "fixturenames", ())
    params = item.callspec.params.values() if isinstance(item, pytest.Function) and hasattr(item, "callspec") else ()
    return item.get_closest_marker("slow") is not None or not PROGRAMS.isdisjoint(fixtures) or "postgresql" in params


def changed_files() -> list[PurePath]:
    """The files that differ from where the branch left main, by their paths in the checkout; none if git can't say."""

    def lines(*command: str) -> list[str]:
        run = subprocess.run(["git", "-C", TOP, *command], capture_output=True, text=True, check=False)
        return run.stdout.splitlines()

    base = (lines("merge-base", "HEAD", "main") or ["HEAD"])[0]
    changed = [*lines("diff", "--name-only", "--relative", base), *lines("ls-files", "--others", "--exclude-standard")]
    return [PurePath(name) for name in changed]


def changed_first(changed: Iterable[PurePath]) -> Callable[[PurePath], int]:
    """Return the key that sorts files of tests: changed ones, then those of changed packages, then the rest."""
    files = set(changed)
    # exporter/ledger/queue/claims.py is the business of tests/ledger, simulator/world.py that of tests/simulator.
    packages = {
        path.parts[1] if path.parts[0] == "exporter" else path.parts[0] for path in files if len(path.parts) > 1
    }

    def rank(test: PurePath) -> int:
        return 0 if test in files else 1 if test.parts[1] in packages else 2

    return rank


def longest_first(test: PurePath) -> int:
    """Return the key that sorts files of tests by the time they take."""
    name = test.as_posix()
    return LONGEST.index(name) if name in LONGEST else len(LONGEST)
