"""`python -m exporter`, the same as the console script."""

import sys


def main() -> int:
    """Run one command; return its exit code."""
    # `healthcheck` runs every few seconds: without the other commands' imports it costs a tenth.
    if sys.argv[1:2] == ["healthcheck"]:
        from exporter.cli.healthcheck import main as healthcheck  # noqa: PLC0415

        return healthcheck(sys.argv[2:])
    from exporter.cli.main import main as command  # noqa: PLC0415

    return command()


if __name__ == "__main__":
    sys.exit(main())
