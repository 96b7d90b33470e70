"""Run a real Alertmanager, and a webhook receiver for its notifications, for tests of alerts."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.metrics.test_zero_start_in_prometheus import free_ports
from tests.support.programs import serving
from tools.generate_docs import TOP

EXAMPLE = TOP / "alertmanager" / "alertmanager.yml"
RECEIVER = "http://127.0.0.1:9095"
"""The receiver in the example configuration."""


class Receiver:
    """A webhook receiver that keeps each notification with the path it was sent to."""

    def __init__(self) -> None:
        self.notifications: list[tuple[str, dict[str, Any]]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.notifications.append((self.path, json.loads(body)))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def alerts(self, name: str) -> list[tuple[str, dict[str, Any]]]:
        """Return the received alerts of this name, each with its path."""
        return [
            (path, alert)
            for path, notification in tuple(self.notifications)
            for alert in notification["alerts"]
            if alert["labels"]["alertname"] == name
        ]

    @contextmanager
    def listening(self) -> Iterator["Receiver"]:
        thread = threading.Thread(target=self._server.serve_forever)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            thread.join()
            self._server.server_close()


@contextmanager
def alertmanager(program: Path, folder: Path, receiver: str) -> Iterator[str]:
    """Run Alertmanager with the example configuration until the block ends; yield its origin.

    It sends to `receiver`, and waits 1 s instead of 10 or 30 s to group alerts.
    """
    text = EXAMPLE.read_text().replace(RECEIVER, receiver)
    for wait in ("group_wait: 30s", "group_wait: 10s"):
        assert wait in text
        text = text.replace(wait, "group_wait: 1s")
    file = folder / "alertmanager.yml"
    file.write_text(text)
    port, _ = free_ports()
    command = [
        str(program),
        f"--config.file={file}",
        f"--storage.path={folder / 'alertmanager'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
    ]
    with serving(command, folder / "alertmanager.log", port) as origin:
        yield origin
