"""Remember pruned events, so that none of them is booked again, whatever date it is reported with.

An entry has 12 bytes: the front of the event's key, and the day of its session. Rows hold many entries each, in order,
so an event takes less than 24 bytes of disk on either engine. Entries of long ago are dropped; see `remember`.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

from exporter.ledger.database import Connection

WATERMARK = "retention_watermark"
"""A key in `meta`: unknown events from before this time may have been pruned and dropped from the memory."""
PRUNED = f"(EXISTS (SELECT 1 FROM pruned_events) OR EXISTS (SELECT 1 FROM meta WHERE key = '{WATERMARK}'))"  # noqa: S608
"""A condition: events were pruned from this ledger."""

DAY_SECONDS = 86_400
_KEY, _ENTRY = 10, 12
"""Bytes of the key, and of the whole entry. The chance that any two of 10^9 events look alike is 1 in 10^6."""
_LAST_DAY = 2**16 - 1
ROW_ENTRIES_MAX = 48
"""A longer row is split. Small rows fill the pages of both engines well, and few bytes are written for each event."""
_CHUNK = 100
"""Keys per SELECT."""

# Example: the retention is 90 days, the memory's 730. A call of 2025-05-01 (day 20209) settled on the next day.
#
#     2025-08-01   The call and its 3 events are pruned: 3 entries with the day 20209 enter the rows of their ranges.
#     2025-08-02   A file names one of its legs, without a date. The leg's key is found here: nothing is booked.
#     2025-08-02   A file names a call of April that was never known: its events aren't found here, so they are booked.
#     2027-05-02   The day 20209 is over 730 days old. Its entries are dropped as their rows are written next, and the
#                  watermark becomes 2025-05-02. From now on, unknown events from before that day aren't booked.


def find_pruned(connection: Connection, keys: Collection[bytes]) -> set[bytes]:
    """Return those of these event keys that are remembered as pruned."""
    fronts = {key[:_KEY]: key for key in keys}
    return {fronts[front] for front, _, entries in _find_rows(connection, fronts) if _contains(entries, front)}


def remember(connection: Connection, events: Iterable[tuple[bytes, float]], oldest: float) -> int:
    """Remember events, given as the key and the time of the session; return by how many entries the memory grew.

    Entries from before `oldest` are dropped from the rows that are written, and the watermark moves past them. Keys are
    spread evenly, so each row is written again from time to time.
    """
    connection.lock_task("pruned_events")  # two processes must not split the same row
    entries = {key[:_KEY]: min(int(at // DAY_SECONDS), _LAST_DAY) for key, at in events}
    rows: dict[bytes, bytes] = {}
    added: dict[bytes, dict[bytes, int]] = defaultdict(dict)
    for front, first, stored in _find_rows(connection, entries):
        rows[first] = stored
        added[first][front] = entries[front]
    oldest_day, dropped_day, grown = int(max(oldest, 0) // DAY_SECONDS), -1, 0
    for first, new in added.items():
        before = _decoded(rows[first])
        merged = before | new
        kept = {front: day for front, day in merged.items() if day >= oldest_day}
        dropped_day = max((dropped_day, *(day for day in merged.values() if day < oldest_day)))
        grown += len(kept) - len(before)
        _write_row(connection, first, sorted(kept.items()))
    if dropped_day >= 0:
        _raise_watermark(connection, (dropped_day + 1) * DAY_SECONDS)
    return grown


def retention_watermark(connection: Connection) -> float:
    """Return the time before which unknown events may have been pruned; minus infinity if the memory has all."""
    row = connection.execute("SELECT value FROM meta WHERE key = ?", (WATERMARK,)).fetchone()
    return float(row[0]) if row else float("-inf")


def _raise_watermark(connection: Connection, time: float) -> None:
    connection.execute(
        "INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
        " WHERE CAST(meta.value AS FLOAT) < CAST(excluded.value AS FLOAT)",
        (WATERMARK, repr(float(time))),
    )


def _find_rows(connection: Connection, fronts: Collection[bytes]) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Yield each front with the first front and the entries of the row that it belongs into."""
    wanted = sorted(fronts)
    for start in range(0, len(wanted), _CHUNK):
        chunk = wanted[start : start + _CHUNK]
        wanted_fronts = f"(VALUES {','.join(['(?)'] * len(chunk))}) AS wanted"
        query = (
            f"SELECT wanted.column1, first, entries FROM {wanted_fronts} LEFT JOIN pruned_events ON first ="  # noqa: S608 - marks
            " (SELECT below.first FROM pruned_events AS below WHERE below.first <= wanted.column1"
            " ORDER BY below.first DESC LIMIT 1)"
        )
        for front, first, entries in connection.execute(query, chunk):
            yield front, first or b"", entries or b""


def _contains(entries: bytes, front: bytes) -> bool:
    found = entries.find(front)
    while found >= 0 and found % _ENTRY:  # across two entries
        found = entries.find(front, found + 1)
    return found >= 0


def _decoded(entries: bytes) -> dict[bytes, int]:
    return {
        entries[start : start + _KEY]: int.from_bytes(entries[start + _KEY : start + _ENTRY], "big")
        for start in range(0, len(entries), _ENTRY)
    }


def _write_row(connection: Connection, first: bytes, entries: Sequence[tuple[bytes, int]]) -> None:
    """Write a row, split into as many as it takes; a row without entries stays for its range."""
    parts = -(-len(entries) // ROW_ENTRIES_MAX) or 1
    size = -(-len(entries) // parts) or 1
    rows: list[tuple[Any, ...]] = []
    for start in range(0, len(entries) or 1, size):
        part = entries[start : start + size]
        encoded = b"".join(front + day.to_bytes(2, "big") for front, day in part)
        rows.append((first if start == 0 else part[0][0], encoded))
    connection.write(
        "INSERT INTO pruned_events (first, entries) VALUES (?, ?)"
        " ON CONFLICT (first) DO UPDATE SET entries = excluded.entries",
        *rows,
    )
