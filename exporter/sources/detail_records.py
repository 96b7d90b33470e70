"""Poll an account's detail records, and report the sessions that they belong to.

Records appear up to hours after their own time, so each poll starts before the last record seen. With
`lookback_seconds: 86400` a poll starts half an hour before it (1/48), and every two hours (1/12) a whole day before it.
How late a record can appear is not documented; only webhooks find the sessions of records that appear later still.

Each type has a state of its own: if the API refuses one, the others are read all the same.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import msgspec
from msgspec import Struct

from exporter.config import DetailRecordSettings
from exporter.core.catalog import DETAIL_RECORDS
from exporter.core.clock import Clock
from exporter.core.errors import ConfigError, Denied, IncompleteList, PollError, Unauthorized
from exporter.core.model import DetailRecord, Receipt
from exporter.ledger import Ledger
from exporter.ledger.worker import LedgerWorker
from exporter.log import fields
from exporter.metrics import Metrics
from exporter.sources.record_kinds import RecordKind
from exporter.sources.record_options import listed_fields
from exporter.sources.record_type import DAY_SECONDS, FAILED_STATES, TypeReader, TypeState
from exporter.sources.record_windows import RecordList, planned
from exporter.telnyx.client import TelnyxClient

log = logging.getLogger(__name__)

STATE, LAST_SUCCESS, MISSING, FAILURES = (
    "telnyx_detail_record_type_state",
    "telnyx_detail_record_last_success_timestamp_seconds",
    "telnyx_detail_records_missing",
    "telnyx_detail_record_failures_total",
)


class _OldCursor(Struct):
    """How far an older version has read a type, by the beginning of the records."""

    since: float
    reached: float


class DetailRecordSource:
    """The detail records of one account."""

    def __init__(
        self,
        account: str,
        client: TelnyxClient,
        kinds: Sequence[RecordKind],
        settings: DetailRecordSettings,
        *,
        ledger: LedgerWorker,
        show: Callable[[Receipt], None],
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        """`show` puts what a commit changed on the page."""
        self._account = account
        self._client = client
        self._kinds = kinds
        self._settings = settings
        self._ledger = ledger
        self._show = show
        self._metrics = metrics
        self._clock = clock
        self._meta_key = f"detail_records:{account}"
        self._states: dict[str, TypeState] | None = None
        """By the type's name; None: they have to be loaded from the ledger."""
        self._missing: dict[str, int] = {}
        self._listed_fields: Mapping[str, Sequence[str]] = {}
        self._options_at: float | None = None
        self._polled_at: float | None = None
        self._finished = True
        """The last poll has read every type that can be read."""
        self._problems: dict[str, str] = {}
        """The last logged problem by type, and of the key under an empty name: each is logged once."""
        for kind in kinds:
            metrics.inc(FAILURES, (account, kind.name), 0)

    def use_client(self, client: TelnyxClient) -> None:
        """Send the next requests with this client; with another key, refused types may be allowed."""
        if client is not self._client:
            self._client = client
            self._retry_all()

    @property
    def due(self) -> bool:
        """Whether the interval is over, or the clock was set back."""
        if not self._kinds:
            return False
        polled_at = self._polled_at
        return polled_at is None or not 0 <= self._clock.now() - polled_at < self._settings.interval_seconds

    def unfinished_since(self, seconds: float) -> bool:
        """Return whether the last poll failed to read some type, and is so long ago."""
        polled_at = self._polled_at
        return not self._finished and polled_at is not None and self._clock.now() - polled_at >= seconds

    def failing_types(self) -> list[str]:
        """Return the types that can't be read now, with their state; from any thread."""
        states = self._states or {}
        known = [(kind.name, states[kind.name].state) for kind in self._kinds if kind.name in states]
        return [f"{name} ({state})" for name, state in known if state in FAILED_STATES]

    def forget_states(self) -> None:
        """Load the states again before the next poll: another replica changes and shows them meanwhile."""
        if self._states is not None:
            self._states = None
            for family in (STATE, LAST_SUCCESS, MISSING):
                self._metrics.swap(family, self._account, {})

    async def load_states(self, now: float) -> dict[str, TypeState]:
        """Return the states from the ledger; a new type starts `first_lookback_seconds` ago. Raises LedgerError."""
        states = await self._stored_states() or await self._old_states()
        first = now - self._settings.first_lookback_seconds
        new = {kind.name: TypeState(first, now, first) for kind in self._kinds if kind.name not in states}
        self._states = states = states | new
        self._retry_all()  # whoever restarts or reloads may have cured what was refused
        if new:
            await self._store()
        self._show_states()
        return states

    async def _stored_states(self) -> dict[str, TypeState]:
        stored = await self._ledger.run(Ledger.get_meta, self._meta_key)
        return {} if stored is None else msgspec.json.decode(stored, type=dict[str, TypeState])

    async def _old_states(self) -> dict[str, TypeState]:
        """Return the cursors of an older version as states.

        It read records by their beginning, and this version reads by their end, which is never earlier.
        """
        stored = await self._ledger.run(Ledger.get_meta, f"cursors:{self._account}")
        old = {} if stored is None else msgspec.json.decode(stored, type=dict[str, _OldCursor])
        return {name: TypeState(cursor.since, cursor.since, cursor.reached) for name, cursor in old.items()}

    async def _store(self) -> None:
        await self._ledger.run(Ledger.put_meta, self._meta_key, msgspec.json.encode(self._states).decode())

    async def history(self) -> tuple[float, list[str]]:
        """Return the share of the time before the first poll that was read, and the types that aren't read to its end.

        Another replica may read them, so the ledger is asked. Types that can't be read don't count. Raises LedgerError.
        """
        states = self._states or await self._stored_states()
        found = {kind.name: states[kind.name] for kind in self._kinds if kind.name in states}
        readable = {name: state.progress() for name, state in found.items() if not state.is_unreadable}
        unread = [name for name, share in readable.items() if share < 1]
        return (sum(readable.values()) / len(readable) if readable else 1.0), unread

    async def poll(self) -> bool:
        """Read what is new of every type; return whether all types that can be read were. Raises LedgerError."""
        now = self._clock.now()
        states = self._states if self._states is not None else await self.load_states(now)
        self._polled_at, self._finished = now, False
        waiting = [kind for kind in self._kinds if states[kind.name].waits(now)]
        all_wait = len(waiting) == len(self._kinds)
        if all_wait:  # probably the key is at fault, so try one type each time
            waiting = waiting[1:]
        succeeded, read = True, 0
        try:
            await self._fetch_options(now)
            for kind in self._kinds:
                if kind not in waiting:
                    done = await self._poll_type(kind, states[kind.name], now)
                    succeeded &= done or states[kind.name].waits(now)
                    read += done
        except (ConfigError, Unauthorized) as error:  # no other type would fare better
            self._report_problem("", "key", error)
            self._metrics.inc("telnyx_discovery_failures_total", (self._account, DETAIL_RECORDS))
            return False
        if read and all_wait:
            self._retry_all()
        if read:
            self._show(await self._ledger.run(Ledger.mark_success, DETAIL_RECORDS, [self._account], now))
            await self._forget_records(states)
        self._finished = succeeded
        return succeeded

    def _retry_all(self) -> None:
        for state in (self._states or {}).values():
            state.tried_at = None

    async def _forget_records(self, states: Mapping[str, TypeState]) -> None:
        oldest: dict[str, float] = {}
        for kind in self._kinds:
            before = states[kind.name].reached - self._settings.lookback_seconds
            oldest[kind.record_type] = min(before, oldest.get(kind.record_type, before))
        await self._ledger.run(Ledger.forget_records, self._account, oldest)

    async def _fetch_options(self, now: float) -> None:
        """Ask daily by which fields the API says that lists can be filtered; it may say nothing."""
        if self._options_at is not None and 0 <= now - self._options_at < DAY_SECONDS:
            return
        self._options_at = now
        try:
            names = [kind.name for kind in self._kinds]
            self._listed_fields = listed_fields(await self._client.detail_record_options(), names)
        except Unauthorized:
            raise
        except PollError as error:
            log.debug("the API lists no fields of detail records", extra=self._fields("", error))

    async def _poll_type(self, kind: RecordKind, state: TypeState, now: float) -> bool:
        """Poll one type; return whether it was read to its end."""
        records = RecordList(self._account, kind, self._request, self._ingest)
        reader = TypeReader(kind, records, self._listed_fields.get(kind.name, ()))
        missing = 0
        try:
            try:
                await self._read(reader, kind, state, now)
            except Denied as error:
                if error.reason != "bad_request" or state.field is None:
                    raise
                await self._read(reader, kind, state, now, anew=True)  # the field has perhaps been renamed
        except Unauthorized:
            raise
        except PollError as error:
            if isinstance(error, IncompleteList):
                missing = error.missing
            self._fail(kind, state, error)
            done = False
        else:
            done = True
            state.last_success, state.tried_at = now, None
            self._clear_problem(kind.name)
        self._clear_problem("")
        if records.unreadable:
            self._count_failure(kind)
            log.warning(
                "detail records without a readable id are skipped; name their id field under custom_types",
                extra=fields(account=self._account, type=kind.name, records=records.unreadable),
            )
        self._missing[kind.name] = missing or state.without_time
        await self._store()
        self._show_states()
        return done

    async def _read(
        self, reader: TypeReader, kind: RecordKind, state: TypeState, now: float, *, anew: bool = False
    ) -> None:
        if await reader.time_field(state, now, anew=anew) is None:
            state.reached = max(state.reached, now)
            return
        back = state.lookback(now, self._settings.lookback_seconds)
        since = max(state.since, min(state.reached, now) - back)
        known = await self._ledger.run(Ledger.record_times, self._account, kind.record_type, since, now)
        await reader.read(state, now, planned(since, now, known), self._store)
        if back == self._settings.lookback_seconds:
            state.deep_at = now
        if state.without_time:
            problem = f"{state.without_time} records have no {state.field}, so they aren't listed by it"
            raise IncompleteList(f"{self._account}: detail records {kind.name}: {problem}", state.without_time)

    async def _request(self, params: Mapping[str, str]) -> bytes:
        return await self._client.detail_records(params)

    async def _ingest(self, records: Sequence[DetailRecord]) -> None:
        if records:
            ingest = partial(Ledger.ingest_records, account=self._account, records=records, now=self._clock.now())
            self._show(await self._ledger.run(ingest))

    def _fail(self, kind: RecordKind, state: TypeState, error: PollError) -> None:
        """Count a failure; a type that is refused or has no proven time field is tried again tomorrow."""
        if isinstance(error, Denied):
            state.state = "refused"
        elif isinstance(error, IncompleteList) and state.proven_at is None:
            state.state = "unproven"
        if state.state in {"refused", "unproven"}:
            state.tried_at = self._clock.now()
        self._count_failure(kind)
        self._report_problem(kind.name, f"{state.state} {error.reason}", error)

    def _count_failure(self, kind: RecordKind) -> None:
        self._metrics.inc(FAILURES, (self._account, kind.name))
        self._metrics.inc("telnyx_discovery_failures_total", (self._account, DETAIL_RECORDS))

    def _report_problem(self, name: str, problem: str, error: Exception) -> None:
        if self._problems.get(name) == problem:
            return
        self._problems[name] = problem
        if name:
            log.warning("detail records of a type not read; other types are", extra=self._fields(name, error))
        else:
            log.warning("detail records not read: the key is refused", extra=self._fields(name, error))

    def _clear_problem(self, name: str) -> None:
        if self._problems.pop(name, None) is not None:
            log.info("detail records are read again", extra=fields(account=self._account, type=name or None))

    def _fields(self, name: str, error: Exception) -> dict[str, object]:
        return fields(account=self._account, type=name or None, error=str(error))

    def _show_states(self) -> None:
        """Set the gauges of all types."""
        states = {kind.name: (self._states or {})[kind.name] for kind in self._kinds}
        of_state: dict[tuple[str, ...], float] = {}
        read_at: dict[tuple[str, ...], float] = {}
        missing: dict[tuple[str, ...], float] = {}
        for name, state in states.items():
            if state.state:
                of_state[self._account, name, state.state] = 1
            if state.last_success is not None:
                read_at[self._account, name] = state.last_success
            missing[self._account, name] = self._missing.get(name, state.without_time)
        for family, series in ((STATE, of_state), (LAST_SUCCESS, read_at), (MISSING, missing)):
            self._metrics.swap(family, self._account, series)
