"""The simulated API's cache of answers is bounded in bytes and evicts the least recently used."""

from functools import partial

from hypothesis import given
from hypothesis import strategies as st

from simulator.limits import AnswerCache


def test_an_answer_is_made_once_while_it_is_remembered() -> None:
    """A second request for a key is answered from the cache, unless the answer was evicted."""
    made = []

    def make(key: str) -> bytes:
        made.append(key)
        return key.encode() * 10

    cache = AnswerCache(bytes_max=20)
    for key in ("a", "b", "a", "c", "a", "b"):
        assert cache.get(key, partial(make, key)) == key.encode() * 10
    assert made == ["a", "b", "c", "b"]


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 50)), max_size=60))
def test_a_cache_answers_right_whatever_its_size(requests: list[tuple[int, int]]) -> None:
    """The bound never changes an answer; an answer larger than the bound is given too."""
    sizes: dict[int, int] = {}
    cache = AnswerCache(bytes_max=40)
    for key, size in requests:
        sizes.setdefault(key, size)
        assert cache.get(key, partial(bytes, sizes[key])) == bytes(sizes[key])
