"""Fetching one session: from a claim to a finished poll that can be booked.

Asks the API for the session's tree, and for each subtree that the answer cuts off. What the API does is an outcome of
the poll and raises nothing.
"""

import logging
from collections.abc import Callable
from functools import partial

from exporter.core.attributes import AttributeReader
from exporter.core.errors import ConfigError, Denied, NotFound, PollError
from exporter.core.model import Claim, Poll, Session, SessionRef
from exporter.core.tree import Subtree, TreeReader
from exporter.log import fields
from exporter.polling.commit_queue import session_fields
from exporter.telnyx.client import Exchange, TelnyxClient

log = logging.getLogger(__name__)


class SessionFetcher:
    """Carries the sessions of one account."""

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

    def watched(self, watch: Callable[[Exchange], None], until: float) -> "SessionFetcher":
        """This journey by a client of its own, as `TelnyxClient.watched`."""
        client = self.client.watched(watch, until)
        return SessionFetcher(
            client, self._reader, self._attribute_reader, max_depth=self._max_depth, expand=self._expand
        )

    async def poll(self, claim: Claim, at: float) -> Poll:
        """One poll, from its claim to what can be booked; never raises for what the API did.

        `at` is the time before anything was asked: the answer is at least as new, so nothing is looked at too late.
        """
        try:
            body = await self._root(claim.ref)
            fingerprint = self._reader().fingerprint(body, self._max_depth)
            if fingerprint == claim.fingerprint:
                return Poll(claim, at, "same", fingerprint=fingerprint, reread=partial(self._again, claim, at, body))
            session = await self._whole(claim.ref, body)
        except NotFound:
            return Poll(claim, at, "gone")
        except Denied as error:
            return Poll(claim, at, "denied", error.reason, detail=str(error))
        except (ConfigError, PollError) as error:
            reason = error.reason if isinstance(error, PollError) else "key_unusable"
            log.warning("poll failed", extra=fields(**session_fields(claim.ref), reason=reason, error=str(error)))
            return Poll(claim, at, "failed", reason, detail=str(error))
        return self._read(claim, at, session, fingerprint)

    async def session(self, ref: SessionRef) -> Session:
        """The whole session as the API shows it now; raises PollError."""
        return await self._whole(ref, await self._root(ref))

    def _again(self, claim: Claim, at: float, body: bytes) -> Poll:
        """The poll of an answer that was not read at first; it holds the whole tree, as the one before did."""
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
        return Poll(
            claim, at, "tree", "", session, found, session_attributes, fingerprint=None if session.cuts else fingerprint
        )

    async def _root(self, ref: SessionRef) -> bytes:
        """The tree from its root on, as far down as one answer shows it."""
        root = Subtree(ref.record_type, ref.event_id, self._max_depth)
        if ref.date_time is None:
            return await self._ask(root, None)
        try:
            return await self._ask(root, ref.date_time)
        except NotFound:  # which a wrong date_time looks like as well
            return await self._ask(root, None)

    async def _whole(self, ref: SessionRef, body: bytes) -> Session:
        stitching = self._reader().session(ref, body, self._max_depth)
        try:
            subtree = next(stitching)
            while True:
                subtree = stitching.send(await self._ask_below(subtree))
        except StopIteration as done:
            session: Session = done.value
            return session

    async def _ask_below(self, subtree: Subtree) -> bytes | None:
        """A cut subtree; without it the session is incomplete, not failed."""
        try:
            return await self._ask(subtree, None)
        except PollError:
            return None

    async def _ask(self, subtree: Subtree, date_time: str | None) -> bytes:
        return await self.client.tree(
            subtree.record_type,
            subtree.event_id,
            max_depth=subtree.max_depth,
            expand=self._expand,
            date_time=date_time,
        )
