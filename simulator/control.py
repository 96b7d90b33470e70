"""The control plane of a simulated API: truth, sessions, clock, faults and webhooks, for whoever checks it all.

Owns the paths that begin with `/_`, which the real API doesn't have and which need no key. The surprising fact: the
truth is exact at its `now` only, so a comparison pauses the clock first.
"""

from typing import Any, Literal

import msgspec
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from simulator.clock import AcceleratedClock
from simulator.errors import BAD_PARAMETER, Refusal
from simulator.faults import Misbehaving
from simulator.settings import Faults
from simulator.truth import TruthTotal
from simulator.webhooks import Courier, WebhookChange
from simulator.world import World


class _Command(Struct, forbid_unknown_fields=True):
    action: Literal["pause", "resume", "step"]
    seconds: float = 0.0


class Control:
    def __init__(self, world: World, clock: AcceleratedClock, misbehaving: Misbehaving, courier: Courier) -> None:
        self._world = world
        self._clock = clock
        self._misbehaving = misbehaving
        self._courier = courier

    def routes(self) -> list[Route]:
        return [
            Route("/_truth", self._truth),
            Route("/_sessions", self._sessions),
            Route("/_clock", self._time),
            Route("/_clock", self._command, methods=["POST"]),
            Route("/_faults", self._faults),
            Route("/_faults", self._misbehave, methods=["POST"]),
            Route("/_webhooks", self._webhooks),
            Route("/_webhooks", self._deliver, methods=["POST"]),
        ]

    async def _truth(self, _: Request) -> Response:
        truth = self._world.truth()
        return _json({**msgspec.structs.asdict(truth), "totals": [_total(total) for total in truth.totals]})

    async def _sessions(self, request: Request) -> Response:
        """The sessions that began after `since`, each by its root's record type, id and date."""
        try:
            since = float(request.query_params.get("since", "0"))
        except ValueError as error:
            raise Refusal(BAD_PARAMETER, "since: expected seconds since the epoch") from error
        return _json(self._world.refs(since))

    async def _time(self, _: Request) -> Response:
        return _json({"now": self._clock.now(), "speed": self._clock.speed})

    async def _command(self, request: Request) -> Response:
        try:
            command = msgspec.json.decode(await request.body(), type=_Command)
            self._obey(command)
        except (msgspec.MsgspecError, ValueError) as error:
            raise Refusal(BAD_PARAMETER, str(error)) from error
        return await self._time(request)

    def _obey(self, command: _Command) -> None:
        if command.action == "step":
            self._clock.step(command.seconds)
        elif command.action == "pause":
            self._clock.pause()
        else:
            self._clock.resume()

    async def _faults(self, _: Request) -> Response:
        """What is in force, how many requests there were, and how often each fault was one's answer."""
        now = self._misbehaving
        return _json({"faults": now.faults, "requests": now.requests, "counts": now.counts})

    async def _misbehave(self, request: Request) -> Response:
        """The faults from now on; what the body leaves out is at its default, so `{}` ends them all."""
        try:
            self._misbehaving.faults = msgspec.json.decode(await request.body(), type=Faults)
        except (msgspec.MsgspecError, ValueError) as error:
            raise Refusal(BAD_PARAMETER, str(error)) from error
        return await self._faults(request)

    async def _webhooks(self, _: Request) -> Response:
        """The key to verify webhooks with, and what became of them so far."""
        counts = msgspec.structs.asdict(self._courier.counts())
        return _json({"public_key": self._courier.public_key, **counts})

    async def _deliver(self, request: Request) -> Response:
        """Where webhooks go from now on, and how well they travel; what the body leaves out stays."""
        try:
            self._courier.change(msgspec.json.decode(await request.body(), type=WebhookChange))
        except (msgspec.MsgspecError, ValueError) as error:
            raise Refusal(BAD_PARAMETER, str(error)) from error
        return await self._webhooks(request)


def _total(total: TruthTotal) -> dict[str, Any]:
    return {**msgspec.structs.asdict(total), "cost": format(total.cost, "f")}


def _json(value: object) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")
