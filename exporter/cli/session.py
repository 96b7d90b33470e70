"""`session`: poll one session, and print its tree with its costs and metric samples; nothing is booked."""

import argparse
import asyncio

from exporter.cli import flags
from exporter.config.rules import date_or_time
from exporter.core.errors import ConfigError, ExporterError
from exporter.core.model import SessionRef
from exporter.explain import FORMS, TEXT_MAX, ProbeResult
from exporter.runtime.app import App
from exporter.runtime.clock import SystemClock


def add_flags(parser: argparse.ArgumentParser) -> None:
    flags.add_config_file(parser)
    parser.add_argument("record_type", metavar="RECORD_TYPE", help="such as call-session; `record-types` lists them")
    parser.add_argument("event_id", metavar="EVENT_ID", help="the id of the session's root event")
    parser.add_argument("--account", help="the account's name (default: the first one)")
    parser.add_argument(
        "--date-time",
        type=_date_or_time,
        metavar="TIME",
        help="when the session began (ISO 8601); the API then finds it faster",
    )
    parser.add_argument(
        "--format",
        choices=list(FORMS),
        default="tree",
        help="tree: the tree and its samples; json: everything; csv: a row per event; openmetrics: the answer of /probe"
        " (default: %(default)s)",
    )


def run(arguments: argparse.Namespace) -> int:
    config = flags.load_config(arguments)
    names = [known.name for known in config.accounts]
    name = names[0] if arguments.account is None else arguments.account
    if name not in names:
        raise ConfigError("--account", f"no account {name!r}; configured: {', '.join(names)}")
    ref = SessionRef(name, arguments.record_type, arguments.event_id, arguments.date_time)
    app = App(config, listen="", clock=SystemClock())
    story = app.prober.explain(asyncio.run(_looked(app, ref)))
    if story.result.session is None:
        raise ExporterError(story.sanitiser.line(story.result.problem, TEXT_MAX))
    print(FORMS[arguments.format](story), end="")
    return 0


async def _looked(app: App, ref: SessionRef) -> ProbeResult:
    try:
        return await app.prober.probe(ref)
    finally:
        await app.close_clients()


def _date_or_time(text: str) -> str:
    try:
        return str(date_or_time().accept(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
