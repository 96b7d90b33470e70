"""Sign webhooks and post them to a receiver.

A webhook has two times: its content carries session time, and its signature real time, since a receiver would refuse a
signature that is too old.
"""

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from itertools import islice

import pycurl
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import asdict, replace

from simulator import webhook_events
from simulator.settings import SIGNING_KEY_BYTES, SimulatorSettings
from simulator.webhook_queue import Delivery, WebhookCounts, WebhookQueue
from simulator.world import World

CHECK_SECONDS = 0.02
"""Real time between two checks for due webhooks; stepping the clock notifies nobody, so it has to be polled."""

TIMEOUT_SECONDS = 5.0
"""Real time that a receiver has to answer."""

_ACCEPTED = range(200, 300)

OPTIONS: Mapping[int, object] = {
    pycurl.NOSIGNAL: 1,
    pycurl.PROTOCOLS: pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS,
    pycurl.PROXY: "",
    pycurl.TIMEOUT_MS: int(1000 * TIMEOUT_SECONDS),
    pycurl.WRITEFUNCTION: len,  # read and ignore the body of the answer
}


class WebhookChange(Struct, forbid_unknown_fields=True):
    """A change at run time; settings that are left out stay."""

    url: str | UnsetType | None = UNSET
    lost_share: float | UnsetType = UNSET
    duplicated_share: float | UnsetType = UNSET


class Signer:
    """Signs with the configured key, or with one derived from the seed."""

    def __init__(self, settings: SimulatorSettings) -> None:
        chosen = settings.webhooks.signing_key
        derived = hashlib.blake2b(b"webhooks/%d" % settings.seed, digest_size=SIGNING_KEY_BYTES).digest()
        self._key = Ed25519PrivateKey.from_private_bytes(derived if chosen is None else base64.b64decode(chosen))

    @property
    def public_key(self) -> str:
        return base64.b64encode(self._key.public_key().public_bytes_raw()).decode()

    def headers(self, content_type: str, body: bytes, wall: float) -> Mapping[str, str]:
        timestamp = str(int(wall))
        signature = self._key.sign(timestamp.encode() + b"|" + body)
        return {
            "content-type": content_type,
            "telnyx-signature-ed25519": base64.b64encode(signature).decode(),
            "telnyx-timestamp": timestamp,
        }


class WebhookSender:
    """Posts the webhooks of a queue; `monotonic` and `wall` are real time."""

    def __init__(
        self,
        world: World,
        webhook_queue: WebhookQueue,
        settings: SimulatorSettings,
        monotonic: Callable[[], float],
        wall: Callable[[], float] | None,
    ) -> None:
        self._world = world
        self._webhook_queue = webhook_queue
        self._api = settings.api
        self._signer = Signer(settings)
        self._monotonic = monotonic
        self._wall = wall
        self._check()

    @property
    def public_key(self) -> str:
        return self._signer.public_key

    def counts(self) -> WebhookCounts:
        return self._webhook_queue.counts(self._world.now())

    def change(self, change: WebhookChange) -> None:
        """Apply the change, or raise ValueError and change nothing."""
        before = self._webhook_queue.webhooks
        self._webhook_queue.webhooks = replace(before, **{k: v for k, v in asdict(change).items() if v is not UNSET})
        try:
            self._check()
        except ValueError:
            self._webhook_queue.webhooks = before
            raise

    def _check(self) -> None:
        if self._wall is None and self._webhook_queue.webhooks.url is not None:
            raise ValueError("webhooks.url: signing needs a wall clock, which this simulator was not given")

    @asynccontextmanager
    async def run_while_serving(self, _: object) -> AsyncIterator[None]:
        """Send while the block runs; an error of the task is raised at its end."""
        task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _run(self) -> None:
        async with pycurl.AsyncCurlMulti() as curl:
            while True:
                await self._send_due(curl)
                await asyncio.sleep(CHECK_SECONDS)

    async def _send_due(self, curl: pycurl.AsyncCurlMulti) -> None:
        while (url := self._webhook_queue.webhooks.url) is not None:
            taken = self._webhook_queue.take_due(self._world.now(), self._monotonic())
            if not taken:
                return
            await asyncio.gather(*(self._deliver(curl, url, delivery) for delivery in taken))

    async def _deliver(self, curl: pycurl.AsyncCurlMulti, url: str, delivery: Delivery) -> None:
        accepted = False
        try:
            accepted = await self._post(curl, url, delivery)
        except pycurl.error:
            pass
        finally:
            self._webhook_queue.done(delivery, self._monotonic(), accepted=accepted)

    async def _post(self, curl: pycurl.AsyncCurlMulti, url: str, delivery: Delivery) -> bool:
        assert self._wall is not None, "checked when the URL was set"
        session = self._world.session(delivery.number)
        hook = next(islice(webhook_events.webhook_events(session, self._api), delivery.index, None))
        content_type, body = webhook_events.body(session, hook, self._api, delivery.attempt, url)
        headers = self._signer.headers(content_type, body, self._wall())
        request = pycurl.Curl()
        for option, value in OPTIONS.items():
            request.setopt(option, value)
        request.setopt(pycurl.URL, url.encode())
        request.setopt(pycurl.HTTPHEADER, [f"{name}: {value}" for name, value in headers.items()])
        request.setopt(pycurl.POSTFIELDS, body)
        await curl.perform(request)
        return request.getinfo(pycurl.RESPONSE_CODE) in _ACCEPTED
