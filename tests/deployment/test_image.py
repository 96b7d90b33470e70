"""The Dockerfile: its lint and its instructions; `make check-image` builds and runs the image."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from exporter import __version__
from exporter.cli.healthcheck import LISTEN_ADDRESS, TIMEOUT_SECONDS
from tools.generate_docs import TOP

DOCKERFILE = (TOP / "Dockerfile").read_text()
IGNORED = (TOP / ".dockerignore").read_text().splitlines()
FINAL = DOCKERFILE.rpartition("\nFROM ")[2]


def program(name: str) -> Path:
    """Return the path of a program from a package of requirements-dev.txt."""
    return Path(sys.executable).with_name(name)


def instructions(name: str, stage: str = FINAL) -> list[str]:
    """Return the arguments of each instruction of this name, continued lines joined."""
    joined = re.sub(r" *\\\n *", " ", stage)
    return re.findall(rf"(?m)^{name} (.*)$", joined)


def test_hadolint() -> None:
    """The linter of Dockerfiles finds nothing."""
    run = subprocess.run([program("hadolint"), TOP / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (0, "")


def test_it_runs_as_nobody() -> None:
    """The image runs as a numeric user, so Kubernetes can verify that it isn't root."""
    assert instructions("USER") == ["65534:65534"]
    assert instructions("VOLUME") == instructions("WORKDIR") == ["/data"]
    assert instructions("STOPSIGNAL") == ["SIGTERM"]


def test_its_health_check_is_the_command() -> None:
    """The image's health check is the command, on the exposed port, within Docker's timeout."""
    (check,) = instructions("HEALTHCHECK")
    assert check.endswith('CMD ["telnyx-session-exporter", "healthcheck"]')
    assert instructions("EXPOSE") == [LISTEN_ADDRESS.removeprefix(":")]
    (timeout,) = re.findall(r"--timeout=(\d+)s", check)
    assert int(timeout) > TIMEOUT_SECONDS


def test_its_version() -> None:
    """The version in the Dockerfile is the exporter's, and the image has the standard labels."""
    assert f"VERSION={__version__}" in instructions("ARG")
    (labels,) = instructions("LABEL")
    for name in ("title", "description", "licenses", "version", "revision", "base.name"):
        assert f"org.opencontainers.image.{name}=" in labels


@pytest.mark.parametrize("lock", ["requirements.txt", "requirements-build.txt"])
def test_all_that_is_installed_is_locked(lock: str) -> None:
    """Every package is locked by hash and installed as a wheel, so nothing is compiled."""
    assert re.search(rf"install --require-hashes --only-binary :all: -r {re.escape(lock)}\b", DOCKERFILE)
    packages = re.split(r"(?m)^(?=[a-z])", (TOP / lock).read_text().partition("==")[2])
    assert all("--hash=sha256:" in package for package in packages)
    assert "pip install" not in FINAL


def test_the_build_context() -> None:
    """The build sees only the files that it copies, so no key, ledger or history can get into a layer."""
    copied = {word for line in instructions("COPY", DOCKERFILE) if "--from" not in line for word in line.split()[:-1]}
    assert IGNORED[1] == "*"
    assert {line.removeprefix("!") for line in IGNORED if line.startswith("!")} == copied
