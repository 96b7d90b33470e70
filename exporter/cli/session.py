"""`session`: prints one session's tree with its costs, and every sample that it yields; books nothing.

Owns which account is asked and the form that is printed.
"""

import argparse
import asyncio

from exporter.cli import configuration, flags
from exporter.config.rules import date_or_time
from exporter.core.errors import ConfigError, ExporterError
from exporter.core.model import SessionRef
from exporter.explain import FORMS, TEXT_MAX, ProbeResult
from exporter.runtime.app import App, SystemClock


def add_flags(parser: argparse.ArgumentParser) -> None:
    flags.add_config_file(parser, configuration.DEFAULT)
    parser.add_argument("record_type", metavar="RECORD_TYPE", help="such as call-session; `record-types` lists them")
    parser.add_argument("event_id", metavar="EVENT_ID", help="the id of the session's first event")
    parser.add_argument("--account", help="the account's name (default: the first one)")
    parser.add_argument(
        "--date-time", type=_date_or_time, metavar="TIME", help="when it began (ISO 8601); the API then searches faster"
    )
    parser.add_argument(
        "--format",
        choices=list(FORMS),
        default="tree",
        help="a picture with its samples, everything as JSON, a row per event, or what /probe answers"
        " (default: %(default)s)",
    )


def run(arguments: argparse.Namespace) -> int:
    config = configuration.config(arguments)
    names = [known.name for known in config.accounts]
    name = names[0] if arguments.account is None else arguments.account
    if name not in names:
        raise ConfigError("--account", f"no account {name!r}; configured: {', '.join(names)}")
    ref = SessionRef(name, arguments.record_type, arguments.event_id, arguments.date_time)
    app = App(config, listen="", clock=SystemClock())
    story = app.prober.tell(asyncio.run(_looked(app, ref)))
    if story.look.session is None:
        raise ExporterError(story.wording.line(story.look.problem, TEXT_MAX))
    print(FORMS[arguments.format](story), end="")
    return 0


async def _looked(app: App, ref: SessionRef) -> ProbeResult:
    try:
        return await app.prober.look(ref)
    finally:
        await app.close_clients()


def _date_or_time(text: str) -> str:
    try:
        return str(date_or_time().take(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
