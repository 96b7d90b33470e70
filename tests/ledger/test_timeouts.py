"""A server that stalls with its connections open: an answer that takes too long is given up."""

import os
import signal
from contextlib import closing

import pytest

from exporter.core.errors import LedgerError
from exporter.ledger import Ledger
from exporter.ledger.engine.errors import ServerAddress
from exporter.ledger.engine.postgres import PostgresEngine
from exporter.ledger.engine.postgres_connection import ServerTimeouts
from tests.ledger.test_ledger import POLICY, SETTINGS
from tests.support.postgres import running

pytestmark = pytest.mark.slow


def test_a_stalled_server_is_given_up() -> None:
    """Each attempt ends with an error; when the server works again, so does the ledger."""
    with running() as postgres:
        address = ServerAddress.of(postgres.url())
        with closing(Ledger(lambda image: PostgresEngine(address, image, 0.5), POLICY, SETTINGS)) as ledger:
            ledger.put_meta("before", "1")
            still = postgres.pids
            try:
                for process in still:
                    os.kill(process, signal.SIGSTOP)
                for _ in range(2):  # the second has to connect first, which has a time-out of its own
                    with pytest.raises(LedgerError, match="can't be reached; polls wait until it can"):
                        ledger.put_meta("meanwhile", "1")
            finally:
                for process in still:
                    os.kill(process, signal.SIGCONT)
            ledger.put_meta("after", "1")
            assert (ledger.get_meta("before"), ledger.get_meta("after")) == ("1", "1")


def test_a_connection_that_answers_is_not_cut() -> None:
    """However many answers there are, as long as each arrives in time."""
    left, right = os.pipe()
    patience = ServerTimeouts(0.2)
    try:
        for _ in range(1000):
            with patience.waiting(left):
                pass
        os.write(right, b"x")
        assert os.read(left, 1) == b"x"
    finally:
        patience.end()
        os.close(left)
        os.close(right)
