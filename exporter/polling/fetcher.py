"""Fetch one session: from a claim to a finished poll.

Requests the session's tree, and each subtree that the API cut off. A failure of the API is an outcome of the poll and
raises nothing.
"""

import logging
import math
from collections.abc import Callable
from functools import partial

from msgspec.structs import replace

from exporter.core.attributes import AttributeReader, read_time
from exporter.core.errors import ConfigError, Denied, NotFound, PollError
from exporter.core.model import Claim, Poll, Session, SessionRef
from exporter.core.tree import Subtree, SubtreeParts, TreeReader
from exporter.log import fields
from exporter.polling.commit_queue import session_fields
from exporter.telnyx.client import Exchange, TelnyxClient

log = logging.getLogger(__name__)

YOUNG_SECONDS = 7200.0
"""An event of this age is often not rated yet, so a 404 says nothing about the `date_time` that it was asked with."""

PARTS_BYTES_MAX = 64 * 2**20
"""Of subtrees that are kept, over all sessions of an account. A session of 20,000 events has some 40 MB."""


class SessionFetcher:
    """Fetches the sessions of one account."""

    def __init__(
        self,
        client: TelnyxClient,
        reader: Callable[[], TreeReader],
        attribute_reader: AttributeReader,
        *,
        max_depth: int,
        expand: bool,
    ) -> None:
        self.client = client
        self._reader = reader
        self._attribute_reader = attribute_reader
        self._max_depth = max_depth
        self._expand = expand
        self._parts: dict[int, SubtreeParts] = {}
        """By session, polled longest ago first: its subtrees, if it has more cuts than one poll may read."""

    def watched(self, watch: Callable[[Exchange], None], until: float) -> "SessionFetcher":
        """Return this fetcher with the client of `TelnyxClient.watched`."""
        return SessionFetcher(
            self.client.watched(watch, until),
            self._reader,
            self._attribute_reader,
            max_depth=self._max_depth,
            expand=self._expand,
        )

    async def poll(self, claim: Claim, at: float) -> Poll:
        """Poll the claimed session; never raises for a failure of the API.

        `at` is the time before the first request: the answer is at least as new, so the next poll is never too late.
        """
        try:
            body, accepted = await self._root(claim.ref, at)
            fingerprint = self._reader().fingerprint(body, self._max_depth)
            if fingerprint == claim.fingerprint:
                reread = partial(self._reread, claim, at, body)
                same = Poll(claim, at, "same", fingerprint=fingerprint, date_time_accepted=accepted)
                return replace(same, reread=lambda: replace(reread(), date_time_accepted=accepted))
            session = await self._finish(claim, body)
        except NotFound:
            return Poll(claim, at, "gone")
        except Denied as error:
            return Poll(claim, at, "denied", error.reason, detail=str(error))
        except (ConfigError, PollError) as error:
            reason = error.reason if isinstance(error, PollError) else "key_unusable"
            log.warning("poll failed", extra=fields(**session_fields(claim.ref), reason=reason, error=str(error)))
            return Poll(claim, at, "failed", reason, detail=str(error))
        return replace(self._read(claim, at, session, fingerprint), date_time_accepted=accepted)

    async def session(self, ref: SessionRef) -> Session:
        """Return the whole session as the API shows it now; raises PollError."""
        body, _ = await self._root(ref, math.inf)
        return await self._complete(ref, body)

    def _reread(self, claim: Claim, at: float, body: bytes) -> Poll:
        """Read an answer that was skipped for its fingerprint; it holds the whole tree, so no request is needed."""
        stitching = self._reader().session(claim.ref, body, self._max_depth)
        try:
            next(stitching)
            while True:
                stitching.send(None)
        except StopIteration as done:
            return self._read(claim, at, done.value, claim.fingerprint)

    def _read(self, claim: Claim, at: float, session: Session, fingerprint: bytes | None) -> Poll:
        found = self._attribute_reader.event_attributes(session)
        session_attributes = self._attribute_reader.session_attributes(session, found)
        # The fingerprint covers the first answer only, so it can't stand for a tree made of several.
        fingerprint = None if session.cuts else fingerprint
        return Poll(claim, at, "tree", "", session, found, session_attributes, fingerprint=fingerprint)

    async def _root(self, ref: SessionRef, now: float) -> tuple[bytes, bool | None]:
        """Return the answer for the session's root, as deep as one answer goes, and whether its date is right."""
        root = Subtree(ref.record_type, ref.event_id, self._max_depth)
        if ref.date_time is not None:
            try:
                return await self._request(root, ref.date_time), True
            except NotFound:  # also the answer to a wrong date_time, so ask again without it
                if 0 <= now - (read_time(ref.date_time) or -math.inf) < YOUNG_SECONDS:
                    raise
        return await self._request(root, None), None if ref.date_time is None else False

    async def _finish(self, claim: Claim, body: bytes) -> Session:
        """Complete a session, with the subtrees that earlier polls of it have read.

        Keep those until it is complete, or until a poll reads no new one. If a cut stays open for long, the session is
        then read afresh: an amendment below a kept subtree may show in no leaf's figures.
        """
        parts = self._parts.pop(claim.session, {})
        before = len(parts)
        session = await self._complete(claim.ref, body, parts)
        over_limit = session.cuts > self._reader().limits.max_subtree_requests
        if session.cuts_unresolved and over_limit and len(parts) > before:
            self._parts[claim.session] = parts
            while sum(map(_size, self._parts.values())) > PARTS_BYTES_MAX:
                self._parts.pop(next(iter(self._parts)))  # the session that was polled longest ago
        return session

    async def _complete(self, ref: SessionRef, body: bytes, parts: SubtreeParts | None = None) -> Session:
        """Read an answer, and request the subtrees that it lacks; a failed one leaves the session incomplete."""
        stitching = self._reader().session(ref, body, self._max_depth, parts)
        try:
            subtree = next(stitching)
            while True:
                try:
                    answer = await self._request(subtree, None)
                except PollError:
                    answer = None
                subtree = stitching.send(answer)
        except StopIteration as done:
            session: Session = done.value
            return session

    async def _request(self, subtree: Subtree, date_time: str | None) -> bytes:
        return await self.client.tree(
            subtree.record_type,
            subtree.event_id,
            max_depth=subtree.max_depth,
            expand=self._expand,
            date_time=date_time,
        )


def _size(parts: SubtreeParts) -> int:
    return sum(map(len, parts.values()))
