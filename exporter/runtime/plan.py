"""What follows from the configuration: for each account a pace, a client and a journey.

Owns the making of a plan, the one thing that a reload swaps. Whoever acts is handed the plan and reads the
configuration from there, so all see the same one. The surprising fact: a plan is made from the one before it. A client
whose way to the API is as it was stays, with its connections, and an account's pace stays whatever else changes, for
what the API said of its quota still holds.
"""

import asyncio
import random
from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path

import httpx
from msgspec import Struct

from exporter.config import Account, Config
from exporter.core.attributes import AttributeReader
from exporter.core.clock import Clock
from exporter.core.lifecycle import PollPolicy
from exporter.core.tree import TreeReader
from exporter.polling.account_slots import AccountSlots
from exporter.polling.fetcher import SessionFetcher
from exporter.telnyx.client import Answered, RequestLimits, TelnyxClient
from exporter.telnyx.keys import api_key
from exporter.telnyx.pacing import Pacer
from exporter.telnyx.transport import open_transport

Transport = Callable[[Path | None, int], httpx.AsyncBaseTransport]

_SLOTS_PER_REQUEST = 2
"""Polls under way for each request in flight: while some wait for an answer, others are read and booked."""


class Plan(Struct, frozen=True):
    """A configuration and what was made of it, by account."""

    config: Config
    pacers: Mapping[str, Pacer]
    clients: Mapping[str, TelnyxClient]
    fetchers: Mapping[str, SessionFetcher]

    def pace(self) -> None:
        """Have the accounts' rates be those of this plan from now on; slots that are taken stay taken."""
        for account in self.config.accounts:
            pacer = self.pacers[account.name]
            pacer.max_in_flight = account.max_in_flight
            pacer.set_rate(account.requests_per_second)

    def account_slots(self) -> dict[str, AccountSlots]:
        """Return the configured slots of each account, all free."""
        return {
            account.name: AccountSlots(self.fetchers[account.name], _SLOTS_PER_REQUEST * account.max_in_flight, set())
            for account in self.config.accounts
        }


class Planner:
    """Makes plans; holds what no reload changes."""

    def __init__(
        self,
        attribute_reader: AttributeReader,
        reader: Callable[[], TreeReader],
        *,
        clock: Clock,
        observe: Callable[[str, Answered], None],
        key_failed: Callable[[str], None],
        transport: Transport = open_transport,
        seed: int | None = None,
    ) -> None:
        """`reader` is asked for at each tree; `observe` is told of every request by the account's name, `key_failed` of
        every change of an account's key file that makes it unreadable.
        """
        self._attribute_reader = attribute_reader
        self._reader = reader
        self._clock = clock
        self._observe = observe
        self._key_failed = key_failed
        self._transport = transport
        self._random = random.Random(seed)  # noqa: S311 - jitter, not secrets
        self._pacers: dict[str, Pacer] = {}
        """Of every account there ever was: one that comes back goes on with what it has waited, a counter."""
        self._retiring: dict[asyncio.Task[None], TelnyxClient] = {}

    def plan(self, config: Config, before: Plan | None = None) -> Plan:
        """The plan for a configuration; raises ConfigError if a `ca_file` can't be used."""
        clients = {account.name: self._client(config, account, before) for account in config.accounts}
        fetchers = {
            name: SessionFetcher(
                client,
                self._reader,
                self._attribute_reader,
                max_depth=config.tree.max_depth,
                expand=config.tree.expand != "none",
            )
            for name, client in clients.items()
        }
        return Plan(config, {name: self._pacers[name] for name in clients}, clients, fetchers)

    def retire(self, before: Plan, after: Plan, users: Collection["asyncio.Task[None]"]) -> None:
        """Close the clients that the later plan has no more, once these tasks have ended: some may be using them."""
        for name, client in before.clients.items():
            if after.clients.get(name) is not client:
                task = asyncio.get_running_loop().create_task(_close(client, users))
                self._retiring[task] = client
                task.add_done_callback(self._retiring.pop)

    async def close(self, plan: Plan) -> None:
        """Close all clients that are left."""
        for task in self._retiring:
            task.cancel()
        for client in (*plan.clients.values(), *self._retiring.values()):
            await client.aclose()

    def _pacer(self, account: Account) -> Pacer:
        if account.name not in self._pacers:
            self._pacers[account.name] = Pacer(account.requests_per_second, account.max_in_flight)
        return self._pacers[account.name]

    def _client(self, config: Config, account: Account, before: Plan | None) -> TelnyxClient:
        if before is not None and _same_way(config, account, before.config):
            return before.clients[account.name]
        key = api_key(account, self._clock.monotonic, partial(self._key_failed, account.name))
        return TelnyxClient(
            name=account.name,
            base_url=account.base_url,
            api_key=lambda: key.current().reveal(),
            pacer=self._pacer(account),
            limits=RequestLimits(
                config.tree.max_body_bytes,
                config.polling.timeout_seconds,
                config.polling.max_attempts,
            ),
            transport=self._transport(account.ca_file, account.max_in_flight),
            monotonic=self._clock.monotonic,
            sleep=asyncio.sleep,
            random=self._random,
            observe=partial(self._observe, account.name),
        )


async def _close(client: TelnyxClient, users: Collection["asyncio.Task[None]"]) -> None:
    if users:
        await asyncio.wait(users)
    await client.aclose()


def _same_way(config: Config, account: Account, before: Config) -> bool:
    """Whether the account's requests are sent as before; a file of authorities may have been written anew."""
    return account.ca_file is None and _way(config, account) in [_way(before, known) for known in before.accounts]


def _way(config: Config, account: Account) -> tuple[object, ...]:
    """All that a client is made of; a pacer, which stays, has the rate."""
    return (
        *(account.name, account.base_url, account.ca_file, account.max_in_flight),
        *(account.key, account.api_key_env, account.api_key_file),
        *(config.tree.max_body_bytes, config.polling.timeout_seconds, config.polling.max_attempts),
    )


def policy(config: Config) -> PollPolicy:
    """The pace of sessions."""
    polling = config.polling
    return PollPolicy(
        min_interval=polling.min_interval_seconds,
        max_interval=polling.max_interval_seconds,
        settle_after=polling.settle_after_seconds,
        recheck_after=polling.recheck_after_seconds,
        not_found_timeout=polling.not_found_timeout_seconds,
        configured_recheck=polling.configured_recheck_seconds,
        reported_interval=polling.reported_interval_seconds,
    )
