"""`python -m exporter`, the same as the console script.

The surprising fact: `healthcheck` is told apart before anything is imported, so that it costs a tenth of what it would.
"""

import sys


def main() -> int:
    """Run one command; the exit code."""
    if sys.argv[1:2] == ["healthcheck"]:
        from exporter.cli.healthcheck import main as healthcheck  # noqa: PLC0415 - instead of all the rest

        return healthcheck(sys.argv[2:])
    from exporter.cli.main import main as command  # noqa: PLC0415 - only the command that is named is imported

    return command()


if __name__ == "__main__":
    sys.exit(main())
