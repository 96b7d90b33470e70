"""One session as JSON; docs/explain.md describes the shape.

Owns the names in it. Money and every other exact number is text, so that no reader rounds it. The surprising fact: the
document is pure ASCII, with all else as JSON's own escapes, so it can be shown in a terminal as it is.
"""

import json
from decimal import Decimal
from typing import Any

from exporter.core.model import Event
from exporter.explain.sanitise import LINE_MAX, TEXT_MAX
from exporter.explain.story import Explanation, rules, with_depths
from exporter.metrics.block import FamilyBlock, HistogramCells
from exporter.metrics.exposition import bound_text, number


def document(story: Explanation) -> str:
    """The whole story; without a session `events` and `samples` are empty and `problem` says why."""
    look, wording = story.look, story.wording
    session = look.session
    whole = {
        "account": look.ref.account,
        "record_type": wording.masked(look.ref.record_type, LINE_MAX),
        "event_id": wording.masked(look.ref.event_id, LINE_MAX),
        "date_time": look.ref.date_time,
        "success": story.look.succeeded,
        "problem": wording.masked(look.problem, TEXT_MAX) or None,
        "duration_seconds": round(look.seconds, 6),
        "requests": [
            {
                "method": "GET",
                "path": wording.masked(asked.path, TEXT_MAX),
                "code": asked.code,
                "duration_seconds": round(asked.seconds, 6),
                "bytes": asked.bytes,
                "attempt": asked.attempt,
            }
            for asked in look.asked
        ],
        "complete": session is not None and session.complete,
        "cuts": 0 if session is None else session.cuts,
        "cuts_unresolved": 0 if session is None else session.cuts_unresolved,
        "failed_checks": [
            {"check": failed.check, "detail": wording.masked(failed.detail, TEXT_MAX)}
            for failed in (() if session is None else session.mismatches)
        ],
        "events": [] if session is None else [_event(story, *each) for each in with_depths(session.events)],
        "samples": [sample for block in story.shown_blocks() for sample in _samples(block)],
        "rules": rules(story),
    }
    return json.dumps(whole, ensure_ascii=True, indent=2) + "\n"


def _event(story: Explanation, event: Event, depth: int) -> dict[str, Any]:
    wording = story.wording
    return {
        "depth": depth,
        "parent": event.parent if event.parent >= 0 else None,
        "id": wording.masked(event.id, LINE_MAX),
        "record_type": wording.masked(event.record_type, LINE_MAX),
        "product": wording.masked(event.product, LINE_MAX),
        "event_name": wording.masked(event.event_name, LINE_MAX),
        "event_cost": _amount(event.cost),
        "cumulative_cost": _amount(event.cumulative),
        "currency": wording.masked(event.currency, LINE_MAX),
        "record": wording.record(event.record),
    }


def _samples(block: FamilyBlock) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for values, value in block.values().items():
        named: dict[str, Any] = {"family": block.family.name, "labels": dict(zip(block.labels, values, strict=True))}
        if isinstance(value, HistogramCells):
            bounds = [*map(bound_text, block.bounds), "+Inf"]
            buckets = dict(zip(bounds, value.counts, strict=True))
            named |= {"buckets": buckets, "sum": number(value.sum).decode(), "count": sum(value.counts)}
        else:
            named |= {"value": number(value).decode()}
        found.append(named)
    return found


def _amount(amount: Decimal | None) -> str | None:
    return None if amount is None else format(amount, "f")
