"""The distributions are built, installed and run as the image does it.

They are built from the files that git tracks and .dockerignore lets through, so a file that the tests find in the
checkout but the image would lack fails here. `tools/check-image.sh` builds and runs the image itself.
"""

import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from zipfile import ZipFile

import httpx
import pytest
from packaging.requirements import Requirement

from exporter import __version__
from tests.deployment.test_compose import MINUTE, services
from tests.deployment.test_image import program
from tests.support.dockerignore import reader
from tests.support.exporting import SCRAPER, read
from tests.support.waiting import until
from tools.generate_docs import TOP

pytestmark = pytest.mark.slow

PACKAGES = ("exporter", "simulator")
"""Each package is a distribution of its own."""
UNREACHABLE = "accounts: [{name: main, api_key_env: TELNYX_API_KEY, base_url: http://127.0.0.1:1/v2}]\n"


def call(command: Sequence[str | Path], cwd: Path) -> str:
    """Run a command without this process's Python settings; return its output."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=MINUTE
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def tracked() -> list[str]:
    """Return the files of the checkout that git tracks: all that a clean checkout has."""
    names = call(["git", "ls-files", "-z"], TOP).split("\0")
    return [name for name in names if name and (TOP / name).exists()]


def below(package: str) -> set[str]:
    """Return the tracked files of a package that belong into its wheel."""
    return {name for name in tracked() if name.startswith(f"{package}/")} - {f"{package}/pyproject.toml"}


def build(source: Path, target: Path, kind: str) -> Path:
    """Build a wheel or an sdist with this environment's hatchling, as `--no-build-isolation` does; return its path."""
    call([sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", target], source)
    (built,) = target.glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return built


class Distributions:
    """Wheels and sdists of both packages, and the wheels that are built from these sdists."""

    def __init__(self, folder: Path) -> None:
        context = folder / "context"
        in_build = reader((TOP / ".dockerignore").read_text())
        for name in tracked():
            # The image lacks the simulator. Its distribution is built from the checkout.
            if in_build(name) or name.startswith("simulator/"):
                copy = context / name
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(TOP / name, copy)
        sources = {"exporter": context, "simulator": (context / "simulator").rename(folder / "simulator")}
        self.sdists: dict[str, Path] = {}
        self.wheels: dict[str, dict[str, Path]] = {"wheel": {}, "sdist": {}}
        for package, source in sources.items():
            self.wheels["wheel"][package] = build(source, folder / package / "wheel", "wheel")
            self.sdists[package] = build(source, folder / package / "sdist", "sdist")
            call(["tar", "-xf", self.sdists[package]], folder / package)
            (unpacked,) = (folder / package).glob("telnyx_*")
            self.wheels["sdist"][package] = build(unpacked, folder / package / "wheel-of-sdist", "wheel")


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Distributions:
    """All distributions, built once."""
    return Distributions(tmp_path_factory.mktemp("distributions"))


def runtime_environment(folder: Path) -> Path:
    """Make a virtual environment that has the packages of requirements.txt only; return its folder of programs."""
    call([sys.executable, "-m", "venv", "--without-pip", folder], TOP)
    (site,) = folder.glob("lib/python*/site-packages")
    for line in (TOP / "requirements.txt").read_text().splitlines():
        if line.startswith((" ", "#")) or not line.strip():
            continue
        requirement = Requirement(line.removesuffix("\\").strip())
        if requirement.marker and not requirement.marker.evaluate():
            continue
        installed = metadata.distribution(requirement.name)
        assert installed.version in requirement.specifier, f"{requirement} is locked, {installed.version} installed"
        # Links to the packages that this environment has: to install them again would take longer than all the tests.
        for top in {file.parts[0] for file in installed.files or () if ".." not in file.parts} - {"__pycache__"}:
            source = Path(str(installed.locate_file(top)))
            if top.endswith(".dist-info"):
                shutil.copytree(source, site / top)  # uv overlooks links
            else:
                (site / top).symlink_to(source)
    return folder / "bin"


def install(requirement: str, wheels: Mapping[str, Path], programs: Path) -> None:
    """Install from these wheels alone; fail if the environment lacks a package that they need."""
    found = [f"--find-links={wheel.parent}" for wheel in wheels.values()]
    flags = ["--quiet", "--no-cache", "--no-index", "--offline", f"--python={programs / 'python'}"]
    call([program("uv"), "pip", "install", *flags, *found, requirement], TOP)


@pytest.fixture(scope="module", params=["wheel", "sdist"])
def programs(
    request: pytest.FixtureRequest, distributions: Distributions, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The exporter installed from the wheel, and from the sdist: the folder of its programs."""
    programs = runtime_environment(tmp_path_factory.mktemp("installed") / "venv")
    install("telnyx-session-exporter", distributions.wheels[request.param], programs)
    return programs


@contextmanager
def started(command: Sequence[str | Path], folder: Path, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command from an empty folder, and without the checkout on any path; end it by SIGTERM, with exit code 0."""
    empty = folder / "empty"
    empty.mkdir()
    log = folder / "log"
    with log.open("wb") as written:
        process = subprocess.Popen(command, stdout=written, stderr=written, cwd=empty, env=variables)
    try:
        yield process
    except BaseException as error:
        error.add_note(log.read_text())
        raise
    finally:
        process.terminate()
        code = process.wait(MINUTE)
    assert code == 0, log.read_text()


def answers(url: str, process: subprocess.Popen[bytes]) -> bool:
    """Return whether a URL answers 200; fail if the process has ended."""
    assert process.poll() is None, f"ended with exit code {process.returncode}"
    try:
        return httpx.get(url).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


@pytest.mark.slow
def test_an_installed_exporter_runs(programs: Path, tmp_path: Path, free_port: int) -> None:
    """An installed exporter runs from an empty folder without the checkout, and SIGTERM ends it with exit code 0."""
    empty = tmp_path / "elsewhere"
    empty.mkdir()
    imported = Path(call([programs / "python", "-c", "import exporter; print(exporter.__file__)"], empty).strip())
    assert imported.is_relative_to(programs.parent)
    (empty / "config.yaml").write_text(UNREACHABLE)
    command: list[str | Path] = [programs / "telnyx-session-exporter", "run"]
    command.append(f"--config.file={empty / 'config.yaml'}")
    command.append(f"--web.listen-address=127.0.0.1:{free_port}")
    with started(command, tmp_path, TELNYX_API_KEY="unused") as process:
        origin = f"http://127.0.0.1:{free_port}"
        until(lambda: answers(f"{origin}/-/ready", process))
        for page in ("/", "/sessions", "/failures", "/config", "/api/v1/openapi.json"):
            assert httpx.get(f"{origin}{page}").status_code == httpx.codes.OK, page
        samples = read(httpx.get(f"{origin}/metrics", headers=SCRAPER).text)
    versions = [dict(labels)["version"] for name, labels in samples if name == "telnyx_exporter_build_info"]
    assert versions == [__version__]
    assert [file.name for file in (tmp_path / "empty").glob("*.sqlite")] == ["telnyx-sessions.sqlite"]


@pytest.mark.slow
def test_the_extra_demo(distributions: Distributions, tmp_path: Path) -> None:
    """The extra `demo` installs the simulator, and the demo starts and ends."""
    programs = runtime_environment(tmp_path / "venv")
    install("telnyx-session-exporter[demo]", distributions.wheels["wheel"], programs)
    empty = tmp_path / "empty"
    empty.mkdir()
    imported = Path(call([programs / "python", "-c", "import simulator; print(simulator.__file__)"], empty).strip())
    assert imported.is_relative_to(programs.parent)
    flags = ["--web.listen-address=127.0.0.1:0", "--seconds=0.5"]
    assert "metrics " in call([programs / "telnyx-session-exporter", "demo", *flags], empty)


@pytest.mark.slow
def test_the_simulator_of_compose(distributions: Distributions, tmp_path: Path, free_port: int) -> None:
    """The image lacks the simulator, so compose.yaml mounts it where the image's Python finds it."""
    simulator = services(demo=True)["simulator"]
    programs = runtime_environment(tmp_path / "venv")
    install("telnyx-session-exporter", distributions.wheels["wheel"], programs)
    folder = Path(simulator["environment"]["PYTHONPATH"])
    mounted = tmp_path / folder.relative_to("/")
    for volume in simulator["volumes"]:
        target = mounted / Path(volume["target"]).relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(volume["source"])
    command = [part.replace("9465", str(free_port)) for part in simulator["command"] if "webhook" not in part]
    with started([programs / "telnyx-session-exporter", *command], tmp_path, PYTHONPATH=str(mounted)) as process:
        until(lambda: answers(f"http://127.0.0.1:{free_port}/_truth", process))


@pytest.mark.parametrize("package", PACKAGES)
@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_a_wheel_holds_its_package_alone(distributions: Distributions, package: str, kind: str) -> None:
    """A wheel contains every tracked file of its package, and nothing else but the metadata."""
    names = set(ZipFile(distributions.wheels[kind][package]).namelist())
    assert {name for name in names if ".dist-info/" not in name} == below(package)


@pytest.mark.parametrize(("package", "inside"), [("exporter", "exporter/"), ("simulator", "")])
def test_an_sdist_holds_its_package_alone(distributions: Distributions, package: str, inside: str) -> None:
    """An sdist contains every tracked file of its package, the files to build it, and nothing else."""
    with tarfile.open(distributions.sdists[package]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    beside = {"PKG-INFO", "pyproject.toml"} | ({"README.md", "LICENSE"} if package == "exporter" else set())
    assert names == {inside + name.removeprefix(f"{package}/") for name in below(package)} | beside


def test_a_wheel_of_the_checkout_is_the_same(distributions: Distributions, tmp_path: Path) -> None:
    """A wheel built from all tracked files has the same files as one built behind .dockerignore."""
    for name in tracked():
        copy = tmp_path / "checkout" / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(TOP / name, copy)
    built = build(tmp_path / "checkout", tmp_path / "dist", "wheel")
    assert ZipFile(built).namelist() == ZipFile(distributions.wheels["wheel"]["exporter"]).namelist()


def test_the_build_requirements_are_the_image_s() -> None:
    """This environment, which builds here, has the versions of requirements-build.txt, which the image builds with."""
    locked = dict(re.findall(r"(?m)^([\w.-]+)==(\S+)", (TOP / "requirements-build.txt").read_text()))
    assert {name: metadata.version(name) for name in locked} == locked


@pytest.mark.parametrize(
    ("patterns", "seen", "unseen"),
    [
        ("*\n!a", ["a", "a/b.sql"], ["b", "b/a"]),
        ("# comment\n\n**/*.sqlite*", ["a/b.sql"], ["a.sqlite", "a/b.sqlite.sql", "a.sqlite/b"]),
        ("*\n!a\na/b", ["a/c"], ["a/b", "a/b/c"]),
        ("*\n!a\n**/__pycache__", ["a/b.py"], ["a/__pycache__/b.pyc", "a/b/__pycache__/c"]),
        ("a/*.sql", ["a/b/c.sql", "b/a/c.sql"], ["a/b.sql"]),
    ],
)
def test_dockerignore(patterns: str, seen: list[str], unseen: list[str]) -> None:
    """Patterns of .dockerignore select paths as in Docker's documentation."""
    visible = reader(patterns)
    assert [[path for path in [*seen, *unseen] if visible(path)], [path for path in unseen if visible(path)]] == [
        seen,
        [],
    ]


@pytest.mark.parametrize("pattern", ["a?", "[ab]", "a/**", "a/**/b", "/a", "a/", "a\\b", "!", "../a", "a b"])
def test_a_pattern_that_is_not_understood_is_refused(pattern: str) -> None:
    """A pattern that the reader doesn't understand raises an error instead of a wrong guess."""
    with pytest.raises(ValueError, match=re.escape(repr(pattern))):
        reader(pattern)
