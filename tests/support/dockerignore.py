"""Read a .dockerignore file and decide which paths reach the build of the image.

Only the patterns that this project needs are understood: names, `*` within a name, `**/` for any depth, and `!` for an
exception. Any other pattern is refused, since a wrong guess would test another image than the one that is built.
"""

import re
from collections.abc import Callable
from pathlib import PurePosixPath

_PATTERN = re.compile(r"(?P<exception>!?)(?P<path>(?:\*\*/)?[\w.*-]+(?:/[\w.*-]+)*)")


def reader(text: str) -> Callable[[str], bool]:
    """Return a function: is a path part of the build? Raise ValueError for a pattern that isn't understood.

    The last pattern that matches a path or one of its parents decides, as in Docker:
    https://docs.docker.com/build/concepts/context/#dockerignore-files
    """
    rules: list[tuple[re.Pattern[str], bool]] = []
    for line in text.splitlines():
        pattern = line.strip()
        if not pattern or pattern.startswith("#"):
            continue
        parts = _PATTERN.fullmatch(pattern)
        if parts is None or "**" in parts["path"].removeprefix("**/") or ".." in pattern:
            raise ValueError(f".dockerignore: the tests don't understand {pattern!r}")
        name = re.escape(parts["path"].removeprefix("**/")).replace(r"\*", "[^/]*")
        depth = "(?:.*/)?" if parts["path"].startswith("**/") else ""
        rules.append((re.compile(depth + name), bool(parts["exception"])))

    def seen(path: str) -> bool:
        candidates = [path, *map(str, PurePosixPath(path).parents)]
        verdicts = [kept for rule, kept in rules if any(map(rule.fullmatch, candidates))]
        return verdicts[-1] if verdicts else True

    return seen
