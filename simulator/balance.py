"""The prepaid balance of the simulated account.

The account has the first of the world's currencies; costs in other currencies don't change the balance.
"""

from decimal import Decimal
from typing import Any

from starlette.requests import Request
from starlette.routing import Route

from exporter.core.money import add, subtract, total
from simulator.gateway import ApiAnswer, ApiGateway
from simulator.settings import SimulatorSettings
from simulator.tree import BASE_PATH
from simulator.truth import Truth
from simulator.world import World

CREDIT_LIMIT = Decimal("100.00")
PENDING = Decimal("0.00")


class Balance:
    """The endpoint over one world."""

    def __init__(self, world: World, settings: SimulatorSettings, gateway: ApiGateway) -> None:
        self._world = world
        self._settings = settings
        self._gateway = gateway

    def routes(self) -> list[Route]:
        return [Route(f"{BASE_PATH}/balance", self._gateway.protected("balance", self._balance))]

    def _balance(self, _: Request) -> ApiAnswer:
        return ApiAnswer(None, lambda: {"data": _stated(self._world.truth(), self._settings)})


def _stated(truth: Truth, settings: SimulatorSettings) -> dict[str, Any]:
    currency = settings.currencies[0]
    spent = total(each.cost for each in truth.totals if each.currency == currency)
    balance = subtract(Decimal(settings.balance), spent)
    amounts = {
        "balance": balance,
        "credit_limit": CREDIT_LIMIT,
        "available_credit": add(balance, CREDIT_LIMIT),
        "pending": PENDING,
    }
    return {
        "record_type": "balance",
        "currency": currency,
        **{name: format(each, "f") for name, each in amounts.items()},
    }
