"""The rules between settings, one function each, listed in CHECKS.

Each setting has passed its own rule before these run. A check yields the path to correct and the cure.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from difflib import get_close_matches

from exporter.config.quoting import quoted, sanitized
from exporter.config.read import Problem
from exporter.config.settings import Config, ConfiguredSession
from exporter.core.catalog import FAMILIES
from exporter.core.privacy import Redactor

_DAY_SECONDS = 86_400

_COST_LABELS = {label for family in FAMILIES if family.extra for label in family.labels} - {"currency"}
"""Labels that every event has; the currency of a budget is a setting of its own."""


def problems_between(config: Config) -> Iterator[Problem]:
    """Yield the problems of all checks."""
    for check in CHECKS:
        yield from check(config)


def _used_twice(config: Config) -> Iterator[Problem]:
    names = {
        ("accounts", "account"): [account.name for account in config.accounts],
        ("metrics.labels", "label"): [label.name for label in config.metrics.labels],
        ("metrics.thresholds", "threshold"): [threshold.name for threshold in config.metrics.thresholds],
        ("budgets", "budget"): [budget.name for budget in config.budgets],
    }
    for (path, noun), used in names.items():
        seen: set[str] = set()
        for index, name in enumerate(used):
            if name in seen:
                yield f"{path}[{index}].name", f"{quoted(name)} is used twice; every {noun} needs its own name"
            seen.add(name)


def _personal_labels(config: Config) -> Iterator[Problem]:
    redactor = Redactor(config.web.redact_fields)
    for index, label in enumerate(config.metrics.labels):
        if redactor.hides(label.field) and not label.allow_personal:
            place = f"metrics.labels[{index}]"
            problem = (
                f"{quoted(label.field)} is personal by web.redact_fields, and a label would show it to everybody who "
                f"sees a metric; take another field, or set {place}.allow_personal: true"
            )
            yield f"{place}.field", problem


def _budget_matches(config: Config) -> Iterator[Problem]:
    known = _COST_LABELS | {label.name for label in config.metrics.labels}
    for index, budget in enumerate(config.budgets):
        for name, _ in budget.match:
            if name not in known:
                yield (
                    f"budgets[{index}].match",
                    f"no cost has a label {quoted(name)}; there are {sanitized(', '.join(sorted(known)))}",
                )


def _thresholds(config: Config) -> Iterator[Problem]:
    for index, threshold in enumerate(config.metrics.thresholds):
        if (threshold.cost is None) == (threshold.turns is None):
            yield f"metrics.thresholds[{index}]", "expected one of cost and turns, got both or neither"


def _session_accounts(config: Config) -> Iterator[Problem]:
    return account_problems(config.sessions, [account.name for account in config.accounts], "sessions")


def account_problems(sessions: Iterable[ConfiguredSession], names: Sequence[str], path: str) -> Iterator[Problem]:
    """Yield a problem for each session whose account is missing or is none of these names."""
    listed = sanitized(", ".join(names))
    for index, session in enumerate(sessions):
        place = f"{path}[{index}].account"
        if session.account is None and len(names) > 1:
            yield place, f"missing; there are several accounts, so name one: {listed}"
        elif session.account is not None and session.account not in names:
            close = get_close_matches(session.account, names, n=1)
            cure = f"did you mean {sanitized(close[0])}?" if close else f"there are {listed}"
            yield place, f"no account is named {quoted(session.account)}; {cure}"


def _sessions_differ(config: Config) -> Iterator[Problem]:
    first: dict[tuple[str, str, str], int] = {}
    for index, ref in enumerate(config.session_refs()):
        earlier = first.setdefault((ref.account, ref.record_type, ref.event_id), index)
        if earlier != index:
            yield f"sessions[{index}]", f"the same session as sessions[{earlier}]; keep one of the two"


def _intervals(config: Config) -> Iterator[Problem]:
    least, most = config.polling.min_interval_seconds, config.polling.max_interval_seconds
    if most < least:
        problem = f"expected at least polling.min_interval_seconds ({least:.15g}), got {most:.15g}"
        yield "polling.max_interval_seconds", problem


def _retention(config: Config) -> Iterator[Problem]:
    # A correction found at the last recheck must still find its session in the ledger.
    polling, days = config.polling, config.ledger.retention_days
    watched = (polling.settle_after_seconds + max(polling.recheck_after_seconds, default=0)) / _DAY_SECONDS
    if days <= watched:
        problem = (
            f"expected more than {watched:.15g}, the days until the last of polling.recheck_after_seconds, got {days}"
        )
        yield "ledger.retention_days", problem


def _password(config: Config) -> Iterator[Problem]:
    if config.ledger.password_file is not None and config.ledger.url.startswith("sqlite:"):
        yield "ledger.password_file", "a file has no password; remove the key, or name a PostgreSQL in ledger.url"


CHECKS: tuple[Callable[[Config], Iterator[Problem]], ...] = (
    _used_twice,
    _session_accounts,
    _sessions_differ,
    _personal_labels,
    _budget_matches,
    _thresholds,
    _intervals,
    _retention,
    _password,
)
"""In the order in which their problems are reported."""
