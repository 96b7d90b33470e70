"""Real programs that raise and send alerts, for as long as a block lasts, and a receiver to send them to."""

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
"""Where the example sends to."""


class Receiver:
    """A webhook receiver that keeps what it is sent, by path."""

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
        """The alerts of that name, with the path that they came to."""
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
    """An Alertmanager with the example's configuration, which sends to that receiver, and soon; yields its origin."""
    text = EXAMPLE.read_text().replace(RECEIVER, receiver)
    for patience in ("group_wait: 30s", "group_wait: 10s"):
        assert patience in text
        text = text.replace(patience, "group_wait: 1s")
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
