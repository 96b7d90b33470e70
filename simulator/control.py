"""The control endpoints of the simulator: truth, sessions, clock, faults, quotas and webhooks.

Their paths begin with `/_`; the real API doesn't have them, and they need no key. The truth is exact at its `now` only,
so pause the clock before a comparison.
"""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from simulator.clock import AcceleratedClock
from simulator.errors import BAD_PARAMETER, ApiError
from simulator.faults import FaultInjector
from simulator.limits import SimulatedQuota
from simulator.record_index import RecordCost, RecordIndex
from simulator.settings import Faults
from simulator.truth import TruthTotal
from simulator.webhooks import WebhookChange, WebhookSender
from simulator.world import World


class _Command(Struct, forbid_unknown_fields=True):
    action: Literal["pause", "resume", "step"]
    seconds: float = 0.0


class Control:
    def __init__(
        self,
        *,
        world: World,
        records: RecordIndex,
        clock: AcceleratedClock,
        fault_injector: FaultInjector,
        quotas: Mapping[str, SimulatedQuota],
        webhook_sender: WebhookSender,
    ) -> None:
        self._world = world
        self._records = records
        self._clock = clock
        self._fault_injector = fault_injector
        self._quotas = quotas
        self._webhook_sender = webhook_sender

    def routes(self) -> list[Route]:
        return [
            Route("/_truth", self._truth),
            Route("/_sessions", self._sessions),
            Route("/_clock", self._time),
            Route("/_clock", self._command, methods=["POST"]),
            Route("/_faults", self._faults),
            Route("/_faults", self._set_faults, methods=["POST"]),
            Route("/_quotas", self._used),
            Route("/_webhooks", self._webhooks),
            Route("/_webhooks", self._deliver, methods=["POST"]),
        ]

    async def _truth(self, _: Request) -> Response:
        truth = self._world.truth()
        totals = [_exact(total) for total in truth.totals]
        records = [_exact(cost) for cost in self._records.costs(truth.now)]
        return _json({**msgspec.structs.asdict(truth), "totals": totals, "records": records})

    async def _sessions(self, request: Request) -> Response:
        """Return the sessions that started after `since`, by record type, id and date of their roots."""
        try:
            since = float(request.query_params.get("since", "0"))
        except ValueError as error:
            raise ApiError(BAD_PARAMETER, "since: expected seconds since the epoch") from error
        return _json(self._world.refs(since))

    async def _time(self, _: Request) -> Response:
        return _json({"now": self._clock.now(), "speed": self._clock.speed})

    async def _command(self, request: Request) -> Response:
        try:
            command = msgspec.json.decode(await request.body(), type=_Command)
            self._execute(command)
        except (msgspec.MsgspecError, ValueError) as error:
            raise ApiError(BAD_PARAMETER, str(error)) from error
        return await self._time(request)

    def _execute(self, command: _Command) -> None:
        if command.action == "step":
            self._clock.step(command.seconds)
        elif command.action == "pause":
            self._clock.pause()
        else:
            self._clock.resume()

    async def _faults(self, _: Request) -> Response:
        """Return the current faults, the number of requests, and how often each fault was injected."""
        now = self._fault_injector
        return _json({"faults": now.faults, "requests": now.requests, "counts": now.counts})

    async def _set_faults(self, request: Request) -> Response:
        """Set the faults; fields that the body leaves out get their defaults, so `{}` ends all faults."""
        try:
            self._fault_injector.faults = msgspec.json.decode(await request.body(), type=Faults)
        except (msgspec.MsgspecError, ValueError) as error:
            raise ApiError(BAD_PARAMETER, str(error)) from error
        return await self._faults(request)

    async def _used(self, _: Request) -> Response:
        """Return per endpoint its quota, the number of requests and of 429s, and the most requests in one minute."""
        return _json({name: quota.stated() for name, quota in self._quotas.items()})

    async def _webhooks(self, _: Request) -> Response:
        """Return the public key of the webhooks, and the counts of deliveries."""
        counts = msgspec.structs.asdict(self._webhook_sender.counts())
        return _json({"public_key": self._webhook_sender.public_key, **counts})

    async def _deliver(self, request: Request) -> Response:
        """Change the URL and the shares of lost and duplicated webhooks; fields that the body leaves out stay."""
        try:
            self._webhook_sender.change(msgspec.json.decode(await request.body(), type=WebhookChange))
        except (msgspec.MsgspecError, ValueError) as error:
            raise ApiError(BAD_PARAMETER, str(error)) from error
        return await self._webhooks(request)


def _exact(total: TruthTotal | RecordCost) -> dict[str, Any]:
    return {**msgspec.structs.asdict(total), "cost": format(total.cost, "f")}


def _json(value: object) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")
