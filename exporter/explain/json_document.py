"""One session as JSON; docs/explain.md describes the fields.

Money and other exact numbers are text, so that no reader rounds them. The document is pure ASCII, so it can safely be
printed in a terminal.
"""

import json
from typing import Any

from exporter.explain.explanation import Explanation, exact, with_depths
from exporter.explain.sanitise import LINE_MAX, TEXT_MAX
from exporter.metrics.block import FamilyBlock, HistogramCells
from exporter.metrics.exposition import bound_text, number


def json_document(explanation: Explanation) -> str:
    """Return everything; without a session `events` and `samples` are empty and `problem` says why."""
    result, masked = explanation.result, explanation.sanitiser.masked
    session = result.session
    document = {
        "account": result.ref.account,
        "record_type": masked(result.ref.record_type, LINE_MAX),
        "event_id": masked(result.ref.event_id, LINE_MAX),
        "date_time": result.ref.date_time,
        "success": result.succeeded,
        "problem": masked(result.problem, TEXT_MAX) or None,
        "duration_seconds": round(result.seconds, 6),
        "requests": [
            {
                "method": "GET",
                "path": masked(request.path, TEXT_MAX),
                "code": request.code,
                "duration_seconds": round(request.seconds, 6),
                "bytes": request.bytes,
                "attempt": request.attempt,
            }
            for request in result.requests
        ],
        "complete": session is not None and session.complete,
        "cuts": 0 if session is None else session.cuts,
        "cuts_unresolved": 0 if session is None else session.cuts_unresolved,
        "failed_checks": [
            {"check": failed.check, "detail": masked(failed.detail, TEXT_MAX)}
            for failed in (() if session is None else session.mismatches)
        ],
        "events": [
            {
                "depth": depth,
                "parent": event.parent if event.parent >= 0 else None,
                "id": masked(event.id, LINE_MAX),
                "record_type": masked(event.record_type, LINE_MAX),
                "product": masked(event.product, LINE_MAX),
                "event_name": masked(event.event_name, LINE_MAX),
                "event_cost": exact(event.cost),
                "cumulative_cost": exact(event.cumulative),
                "currency": masked(event.currency, LINE_MAX),
                "record": explanation.sanitiser.record(event.record),
            }
            for event, depth in with_depths(() if session is None else session.events)
        ],
        "samples": [sample for block in explanation.sanitised_blocks() for sample in _samples(block)],
        "rules": explanation.rules(),
    }
    return json.dumps(document, ensure_ascii=True, indent=2) + "\n"


def _samples(block: FamilyBlock) -> list[dict[str, Any]]:
    samples = []
    for values, value in block.values().items():
        sample: dict[str, Any] = {"family": block.family.name, "labels": dict(zip(block.labels, values, strict=True))}
        if isinstance(value, HistogramCells):
            bounds = [*map(bound_text, block.bounds), "+Inf"]
            sample["buckets"] = dict(zip(bounds, value.counts, strict=True))
            sample |= {"sum": number(value.sum).decode(), "count": sum(value.counts)}
        else:
            sample["value"] = number(value).decode()
        samples.append(sample)
    return samples
