"""Damage to a file's bytes as Hypothesis strategies, so that failures shrink and can be reproduced."""

from __future__ import annotations

import re

from hypothesis import strategies as st

HEAD = 600
"""Bytes at the start, which hold the headers; half of the mutations fall there."""
NUMBERS = [
    b"-1",
    b"0",
    b"1",
    b"3",
    b"65536",
    b"2147483647",
    b"99999999999",
    b"1e308",
    b"-1e308",
    b"nan",
    b"inf",
    b"0.5",
]
WORDS = [b"null", b"true", b"[]", b"{}", b'""', b"spam", b"\\x00", b"\xff\xfe", b'"/dev/zero"', b"[1,2,3]"]
_NUMBER = re.compile(rb"-?\d+(\.\d+)?([eE][-+]?\d+)?")
_VALUE = re.compile(rb'"[^"]{0,40}"|-?\d+(\.\d+)?|\[[^\[\]]{0,40}\]|null|true|false')

_place = st.tuples(st.booleans(), st.floats(0, 1, exclude_max=True))
_overwrite = st.tuples(st.just("overwrite"), _place, st.binary(min_size=1, max_size=8))
_insert = st.tuples(st.just("insert"), _place, st.binary(min_size=1, max_size=24))
_delete = st.tuples(st.just("delete"), _place, st.integers(1, 40))
_truncate = st.tuples(st.just("truncate"), _place, st.none())
_number = st.tuples(st.just("number"), _place, st.sampled_from(NUMBERS))
_word = st.tuples(st.just("word"), _place, st.sampled_from(WORDS + NUMBERS))

binary_damage = st.lists(st.one_of(_overwrite, _insert, _delete, _truncate, _number), min_size=1, max_size=4)
text_damage = st.lists(
    st.one_of(_word, _word, _number, _overwrite, _insert, _delete, _truncate), min_size=1, max_size=4
)


def damaged(content: bytes, mutations: list[tuple[str, tuple[bool, float], object]]) -> bytes:
    """The content after applying the mutations in order."""
    for kind, (in_head, fraction), value in mutations:
        extent = min(HEAD, len(content)) if in_head else len(content)
        place = int(fraction * extent)
        if kind in ("number", "word"):
            content = _replaced(content, _NUMBER if kind == "number" else _VALUE, place, value)  # type: ignore[arg-type]
        elif kind == "overwrite":
            content = content[:place] + value + content[place + len(value) :]  # type: ignore[operator, arg-type]
        elif kind == "insert":
            content = content[:place] + value + content[place:]  # type: ignore[operator]
        elif kind == "delete":
            content = content[:place] + content[place + int(value) :]  # type: ignore[call-overload]
        else:
            content = content[:place]
    return content


def _replaced(content: bytes, pattern: re.Pattern[bytes], place: int, value: bytes) -> bytes:
    """The content with the first match from `place` on replaced, or the first of all if there is none."""
    match = pattern.search(content, place) or pattern.search(content)
    return content if match is None else content[: match.start()] + value + content[match.end() :]
