"""Long tables of decimal numbers to and from text, at the speed of the memory rather than of Python."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np

PIECE_NUMBERS = 30_000  # how many are written at once, so that all steps stay in the processor's cache

_WIDEST = 16  # letters of a word: 15 digits and a point are below 2^53
_TENS = 10.0 ** np.arange(_WIDEST)
_INKED = np.ones(256, dtype=bool)
_INKED[list(b" \t\n\r\v\f")] = False


def parse_numbers(text: bytes) -> np.ndarray | None:
    """The numbers between blanks, each the double nearest to its digits as `float` reads them; None if one is none."""
    if not text.strip():  # in which numpy sees a number
        return np.empty(0)
    numbers = _parse_decimals(text)
    if numbers is not None:
        return numbers
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)  # how older numpy says so
        try:
            return np.fromstring(text, sep=" ")
        except (ValueError, DeprecationWarning):
            return None


def _parse_decimals(text: bytes) -> np.ndarray | None:
    """The same, three times as fast, where all words are digits with a point and a minus; None where one is not.

    All words are read at once, a place at a time from the left; a double holds their digits exactly, so that only the
    division by a power of ten rounds.
    """
    letters = np.frombuffer(bytes(_WIDEST) + text, np.uint8)
    inked = np.append(_INKED[letters], False)
    inked[:_WIDEST] = False
    edges = np.flatnonzero(inked[1:] != inked[:-1]) + 1
    start, end = edges[::2], edges[1::2]
    width = int((end - start).max())
    if width > _WIDEST:
        return None
    negative = letters[start] == ord("-")
    start = start + negative
    digits, decimals = np.zeros(len(start), np.int64), np.zeros(len(start), np.int64)
    points = np.zeros(len(start), np.int8)
    for place in range(width, 0, -1):
        letter = letters[end - place]
        inside = end - place >= start
        point = (letter == ord(".")) & inside
        counts = inside & ~point
        digit = letter - np.uint8(ord("0"))  # what is below wraps round to above 9
        if ((digit > 9) & counts).any():
            return None
        digits = np.where(counts, 10 * digits + digit, digits)
        decimals[point] = place - 1
        points += point
    if (points > 1).any() or (end - start == points).any():
        return None
    numbers = digits / _TENS[decimals]
    return np.where(negative, -numbers, numbers)


def format_rows(values: np.ndarray) -> Iterator[bytes]:
    """Lines of numbers with six decimals and a blank between them, in pieces that together are the text.

    The same text as that of "%.6f", but for zero, which has no sign here, and the last digit of ties.

    Args:
        values: (rows, columns) finite, of magnitude below 1e9.
    """
    step = max(1, PIECE_NUMBERS // max(1, values.shape[1]))
    for start in range(0, len(values), step):
        yield _format_piece(values[start : start + step])


def _format_piece(values: np.ndarray) -> bytes:
    """Each number becomes fields of four bytes taken from tables; the unused bytes are NUL, and go at the end."""
    millionths = np.rint(values * 1e6).astype(np.int64)
    sign = np.where(millionths < 0, 1000, 0)
    whole, decimals = np.divmod(np.abs(millionths), 1_000_000)
    upper, lower = np.divmod(decimals, 1000)
    fields = [_DECIMALS[upper], _LAST[lower]]
    fields[-1][:, -1] = _LAST_OF_ROW[lower[:, -1]]
    while True:
        more = whole >= 1000
        if not more.any():
            fields.insert(0, _FIRST[whole + sign])
            break
        whole, group = np.divmod(whole, 1000)
        # below a higher group all three digits stand, and the sign comes before that
        fields.insert(0, np.where(more, _INNER[group], _FIRST[group + sign]))
        # a number without a higher group leaves its field empty
        sign = np.where(more, sign, 2000)
    return np.stack(fields, -1).tobytes().translate(None, b"\0")


def _table(pattern: str) -> np.ndarray:
    """Four bytes, as one integer, for each number of three digits."""
    return np.array([(pattern % number).encode().rjust(4, b"\0") for number in range(1000)], "S4").view(np.uint32)


_DECIMALS, _INNER, _LAST, _LAST_OF_ROW = _table(".%03d"), _table("%03d"), _table("%03d "), _table("%03d\n")
# by number, plus 1000 if it is negative; at 2000 nothing
_FIRST = np.concatenate([_table("%d"), _table("-%d"), np.zeros(1, np.uint32)])
