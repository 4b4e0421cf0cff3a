"""Numbers to and from text, against Python's own `float` and "%.6f"."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinema.formats import decimals
from kinema.formats.decimals import format_rows, parse_numbers

WORDS = st.one_of(
    st.from_regex(r"-?[0-9]{0,9}\.?[0-9]{1,6}", fullmatch=True),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.decimals(allow_nan=False, allow_infinity=False, places=6).map(str),
    st.from_regex(r"[+-]?[0-9]{0,25}\.?[0-9]{1,30}([eE][+-]?[0-9]{1,3})?", fullmatch=True),
)


@given(words=st.lists(WORDS, min_size=1, max_size=30), blanks=st.sampled_from([" ", "\t", "\n", " \r\n", "  "]))
@settings(max_examples=200, deadline=None)
def test_numbers_are_the_doubles_that_python_reads(words, blanks):
    found = parse_numbers(blanks.join(words).encode() + blanks.encode())
    np.testing.assert_array_equal(found, [float(word) for word in words])


@pytest.mark.parametrize("word", ["1,5", "1.2.3", "abc", "1e", "0x10", "--1", "1_0", "null", '"1"', "é", "1;2", "\0"])
def test_what_is_no_number_is_noticed(word):
    assert parse_numbers(f"1 2\n3 {word}\n4 5 6".encode()) is None
    assert parse_numbers(word.encode()) is None


def test_no_numbers():
    for text in (b"", b" \n\t "):
        assert len(parse_numbers(text)) == 0


def test_decimals_are_not_left_to_the_slow_way(monkeypatch):
    monkeypatch.setattr(np, "fromstring", None)
    assert parse_numbers(b"1 -2.5\t.125 -.5 7.\r\n-0 0001 123456789.123456").tolist() == [
        1, -2.5, 0.125, -0.5, 7, 0, 1, 123456789.123456
    ]  # fmt: skip


def text_of(values: np.ndarray) -> str:
    return b"".join(format_rows(values)).decode()


@given(
    values=st.lists(st.floats(-9e8, 9e8, allow_subnormal=False), min_size=1, max_size=24),
    columns=st.sampled_from([1, 2, 3]),
)
@settings(max_examples=300, deadline=None)
def test_written_numbers(values, columns):
    table = np.resize(values, (-(-len(values) // columns), columns))
    lines = text_of(table).splitlines()
    assert len(lines) == len(table)
    for line, row in zip(lines, table, strict=True):
        for word, value in zip(line.split(" "), row, strict=True):
            assert word.rpartition(".")[0].removeprefix("-") == str(int(word.rpartition(".")[0].removeprefix("-")))
            assert len(word.rpartition(".")[2]) == 6
            # half of the last digit, and what a double of that size cannot hold
            assert abs(float(word) - value) <= 0.5000001e-6 + abs(value) * 3e-16


def test_written_numbers_by_hand(monkeypatch):
    row = [0, -0.0, 1e-9, -0.0000006, 0.5, -1, 999.9999996, 1000, -1000.000001, 12345.5, 999999.9999999, -123456789.25]
    expected = "0.000000 0.000000 0.000000 -0.000001 0.500000 -1.000000 1000.000000 1000.000000 -1000.000001 "
    expected += "12345.500000 1000000.000000 -123456789.250000\n"
    assert text_of(np.array([row])) == expected
    monkeypatch.setattr(decimals, "PIECE_NUMBERS", 30)
    assert text_of(np.array([row] * 7)) == expected * 7
    assert text_of(np.empty((0, 3))) == ""
