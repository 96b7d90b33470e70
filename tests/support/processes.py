"""Run the exporter as a process of its own, with a configuration file and a log."""

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.support.exporting import PATIENCE_SECONDS
from tests.support.hygiene import WATCH
from tests.support.waiting import until

KEY, OTHER_KEY = "KEY-k3pt-s3cret", "KEY-an0ther-s3cret"
ENVIRONMENT = {"MAIN_KEY": KEY, "OTHER_KEY": OTHER_KEY, "THIRD_KEY": "KEY-th1rd-s3cret"}


class Process:
    """One exporter process; the caller must end it."""

    def __init__(self, folder: Path, port: int, *flags: str) -> None:
        self.origin = f"http://127.0.0.1:{port}"
        self.config = folder / "config.yaml"
        self._log = folder / "exporter.log"
        command = [sys.executable, "-m", "exporter", "run", f"--config.file={self.config}", *flags]
        command += [f"--web.listen-address=127.0.0.1:{port}"]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | ENVIRONMENT)

    def log(self) -> str:
        text = self._log.read_text()
        WATCH.check("the log of a process", text)
        return text

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition holds; fail if the process ends first."""

        def holds() -> bool:
            held = condition()
            assert held or self.process.poll() is None, self.log()
            return held

        until(holds, self.log)

    def ready(self) -> bool:
        with suppress(httpx.TransportError):
            return httpx.get(f"{self.origin}/-/ready").status_code == httpx.codes.OK
        return False

    def reloaded(self) -> bool:
        """Return whether the last reload succeeded."""
        return "telnyx_exporter_config_last_reload_successful 1\n" in httpx.get(f"{self.origin}/metrics").text

    def end(self) -> int:
        self.process.terminate()
        return self.process.wait(PATIENCE_SECONDS)


def write(folder: Path, **changes: Any) -> None:
    """Write config.yaml for an exporter with an unreachable API, changed by these settings."""
    plain = {
        "accounts": [{"name": "main", "api_key_env": "MAIN_KEY", "base_url": "http://127.0.0.1:1/v2"}],
        "ledger": {"url": f"sqlite:///{folder / 'ledger.sqlite'}"},
        "discovery": {"detail_records": {"record_types": []}},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(plain | changes))
