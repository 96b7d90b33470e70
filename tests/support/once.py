"""Things that take a minute to make and that many test files ask about: made once per run, not once per worker.

The first worker that asks makes the thing, others that ask meanwhile wait for it. The folder belongs to the run, so
nothing is ever taken over from an earlier run, whose code may have been different.
"""

import fcntl
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest

Made = TypeVar("Made", bound=msgspec.Struct)


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """A folder of this run, the same one for all its workers."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if hasattr(request.config, "workerinput") else own


def made_once(kind: type[Made], folder: Path, make: Callable[[Path], Made]) -> Made:
    """Return what `make(folder)` returned in the worker that called it first; blocks while another one calls it.

    If `make` fails, only its caller fails: the next worker that asks tries again in an empty folder.
    """
    done = folder.with_suffix(".json")
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # given back when the file is closed, also by a worker that is killed
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            done.write_bytes(msgspec.json.encode(make(folder)))
    return msgspec.json.decode(done.read_bytes(), type=kind)
