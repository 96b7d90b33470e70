"""Make a plan from a configuration: for each account pacers, a client and a session fetcher.

A reload swaps the plan as a whole, so all parts work by the same configuration. A new plan keeps what it can: a client
with unchanged settings keeps its connections, and pacers stay whatever changes, since the API's quota still holds.
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
from exporter.telnyx.pacing import ENDPOINTS, AccountPacers, Pacer
from exporter.telnyx.transport import open_transport

Transport = Callable[[Path | None, int], httpx.AsyncBaseTransport]

_SLOTS_PER_REQUEST = 2
"""Running polls per concurrent request: while some wait for an answer, others are read and committed."""


class Plan(Struct, frozen=True):
    """A configuration and its parts by account."""

    config: Config
    pacers: Mapping[str, AccountPacers]
    clients: Mapping[str, TelnyxClient]
    fetchers: Mapping[str, SessionFetcher]

    def apply_rates(self) -> None:
        """Set the pacers to this plan's rates; requests in flight keep their slots."""
        for account in self.config.accounts:
            pacer = self.pacers[account.name].session
            pacer.max_in_flight = account.max_in_flight
            pacer.set_rate(account.requests_per_second)

    def account_slots(self) -> dict[str, AccountSlots]:
        """Return empty slots for each account."""
        return {
            account.name: AccountSlots(self.fetchers[account.name], _SLOTS_PER_REQUEST * account.max_in_flight, set())
            for account in self.config.accounts
        }


class Planner:
    """Makes plans, and holds what no reload changes."""

    def __init__(
        self,
        attribute_reader: AttributeReader,
        tree_reader: Callable[[], TreeReader],
        *,
        clock: Clock,
        observe: Callable[[str, Answered], None],
        key_failed: Callable[[str], None],
        transport: Transport = open_transport,
        seed: int | None = None,
    ) -> None:
        """`tree_reader` is called for each tree, since the known record types grow.

        `observe` gets the account's name and each answered request, `key_failed` the name when its key file becomes
        unreadable.
        """
        self._attribute_reader = attribute_reader
        self._tree_reader = tree_reader
        self._clock = clock
        self._observe = observe
        self._key_failed = key_failed
        self._transport = transport
        self._random = random.Random(seed)  # noqa: S311 - jitter, not secrets
        self._pacers: dict[str, AccountPacers] = {}
        """Of all accounts since the start: an account that returns continues its counter of throttled seconds."""
        self._retiring: dict[asyncio.Task[None], TelnyxClient] = {}

    def plan(self, config: Config, before: Plan | None = None) -> Plan:
        """Return the plan for a configuration; raises ConfigError if a `ca_file` can't be used."""
        clients = {account.name: self._client(config, account, before) for account in config.accounts}
        fetchers = {
            name: SessionFetcher(
                client,
                self._tree_reader,
                self._attribute_reader,
                max_depth=config.tree.max_depth,
                expand=config.tree.expand != "none",
            )
            for name, client in clients.items()
        }
        return Plan(config, {name: self._pacers[name] for name in clients}, clients, fetchers)

    def retire(self, before: Plan, after: Plan, users: Collection["asyncio.Task[None]"]) -> None:
        """Close the clients that the later plan doesn't have, after these tasks, which may use them, have ended."""
        for name, client in before.clients.items():
            if after.clients.get(name) is not client:
                task = asyncio.get_running_loop().create_task(_close(client, users))
                self._retiring[task] = client
                task.add_done_callback(self._retiring.pop)

    async def close(self, plan: Plan) -> None:
        """Close all remaining clients."""
        for task in self._retiring:
            task.cancel()
        for client in (*plan.clients.values(), *self._retiring.values()):
            await client.aclose()

    def _client(self, config: Config, account: Account, before: Plan | None) -> TelnyxClient:
        # A CA file may have new content under the same name, so a client that has one is always made anew.
        if before is not None and account.ca_file is None:
            settings = [_client_settings(before.config, known) for known in before.config.accounts]
            if _client_settings(config, account) in settings:
                return before.clients[account.name]
        pacers = self._pacers.get(account.name)
        if pacers is None:
            pacers = AccountPacers(Pacer(account.requests_per_second, account.max_in_flight))
            self._pacers[account.name] = pacers
        key = api_key(account, self._clock.monotonic, partial(self._key_failed, account.name))
        return TelnyxClient(
            name=account.name,
            base_url=account.base_url,
            api_key=lambda: key.current().reveal(),
            pacers=pacers,
            limits=RequestLimits(
                config.tree.max_body_bytes, config.polling.timeout_seconds, config.polling.max_attempts
            ),
            transport=self._transport(account.ca_file, account.max_in_flight + len(ENDPOINTS) - 1),
            monotonic=self._clock.monotonic,
            sleep=self._clock.sleep,
            random=self._random,
            observe=partial(self._observe, account.name),
        )


async def _close(client: TelnyxClient, users: Collection["asyncio.Task[None]"]) -> None:
    if users:
        await asyncio.wait(users)
    await client.aclose()


def _client_settings(config: Config, account: Account) -> tuple[object, ...]:
    """Return all settings of a client; the rate is the pacer's."""
    return (
        *(account.name, account.base_url, account.ca_file, account.max_in_flight),
        *(account.key, account.api_key_env, account.api_key_file),
        *(config.tree.max_body_bytes, config.polling.timeout_seconds, config.polling.max_attempts),
    )


def policy(config: Config) -> PollPolicy:
    """Return the poll policy of a configuration."""
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
