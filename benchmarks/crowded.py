"""Run the obvious stack with as many series as a large account has: `python -m benchmarks.crowded SERIES ...`.

The other arguments are those of `benchmarks/obvious.py`.
"""

import sys

from benchmarks import obvious


def main() -> None:
    for number in range(int(sys.argv.pop(1)) // 2):  # two lines per series: prometheus_client adds `_created`
        obvious.COST.labels("main", "call-control", f"product-{number}", "USD").inc(number / 1000)
    obvious.main()


if __name__ == "__main__":
    main()
