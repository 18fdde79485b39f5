"""Small changes to bytes, as hypothesis makes them."""

from collections.abc import Sequence
from typing import TypeAlias

from hypothesis import strategies as st

# Where (as a share of the whole), how many bytes go, and what comes in their place.
Change: TypeAlias = tuple[float, int, bytes]


def changes(*pieces: bytes, most: int = 4) -> st.SearchStrategy[list[Change]]:
    """Some changes; what they put in is any few bytes, or one of the pieces."""
    put = st.binary(max_size=4) | st.sampled_from(pieces)
    return st.lists(st.tuples(st.floats(0, 1), st.integers(0, 5), put), min_size=1, max_size=most)


def changed(whole: bytes, made: Sequence[Change]) -> bytes:
    """The bytes after these changes, one after the other."""
    found = bytearray(whole)
    for where, length, piece in made:
        begin = int(where * len(found))
        found[begin : begin + length] = piece
    return bytes(found)
