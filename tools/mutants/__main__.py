"""`python -m tools.mutants`: run the list, or a part of it; exit 1 if a defect survives."""

import argparse
import sys
import time
from collections.abc import Sequence

from tools.mutants.defects import TOP, Defect, in_turns, problems, read_defects, touched
from tools.mutants.runner import Outcome, changed_files, checkout_files, run

PROCESSES = 2


def main() -> int:
    arguments = _arguments()
    defects = read_defects()
    wrong = list(problems(defects))
    if wrong:
        print("tools/mutants/defects.toml doesn't fit the checkout:", *wrong, sep="\n  ")
        return 1
    chosen = _chosen(defects, arguments)
    started = time.monotonic()
    outcomes = run(chosen, TOP, checkout_files(TOP), processes=PROCESSES, report=_print)
    killed = sum(outcome.verdict == "killed" for outcome in outcomes)
    print(f"{killed} of {len(chosen)} defects killed in {time.monotonic() - started:.0f} s")
    return int(killed < len(chosen))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.mutants", description=__doc__)
    parser.add_argument("--only", metavar="TEXT", help="defects whose name or file contains this text")
    parser.add_argument("--changed", metavar="COMMIT", help="defects whose file or tests differ from this commit")
    parser.add_argument("--at-most", metavar="COUNT", type=int, help="so many, spread over the files")
    return parser.parse_args()


def _chosen(defects: Sequence[Defect], arguments: argparse.Namespace) -> Sequence[Defect]:
    """Return the wanted defects, and name those that `--at-most` leaves out."""
    if arguments.changed is not None:
        try:
            defects = touched(defects, changed_files(TOP, arguments.changed))
        except ValueError as error:
            print(f"no comparison with {arguments.changed}, so all defects are candidates ({error})")
    if arguments.only is not None:
        defects = [defect for defect in defects if arguments.only in defect.name or arguments.only in defect.file]
    defects = in_turns(defects)
    if arguments.at_most is not None and len(defects) > arguments.at_most:
        left_out = ", ".join(defect.name for defect in defects[arguments.at_most :])
        print(f"left out, as only {arguments.at_most} are run: {left_out}")
        defects = defects[: arguments.at_most]
    return defects


def _print(defect: Defect | None, outcome: Outcome) -> None:
    name = "the tests without a defect" if defect is None else defect.name
    verdict = ("pass" if outcome.verdict == "survived" else "fail") if defect is None else outcome.verdict
    print(f"{verdict:8} {outcome.seconds:5.1f} s  {name:60} {outcome.detail}".rstrip(), flush=True)


if __name__ == "__main__":
    sys.exit(main())
