"""Long tables of decimal numbers to and from text, at the speed of the memory rather than of Python."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from types import ModuleType

import numpy as np

# pyarrow parses six times as fast as numpy, but its import takes as long as numpy needs for so many bytes
PYARROW_BYTES = 2_000_000
PIECE_NUMBERS = 30_000  # how many are written at once, so that all steps stay in the processor's cache

_BLANKS_TO_NEWLINES = bytes.maketrans(b" \t\r\v\f", b"\n\n\n\n\n")


_bytes_met = 0


def fast_parser(size: int) -> ModuleType | None:
    """`pyarrow.csv` for a text of `size` bytes, once the texts of this process make up for its import; else None."""
    global _bytes_met
    _bytes_met += size
    if _bytes_met < PYARROW_BYTES and "pyarrow" not in sys.modules:
        return None
    import pyarrow.csv

    return pyarrow.csv


def parse_numbers(text: bytes, csv: ModuleType | None = None) -> np.ndarray | None:
    """The numbers between blanks, each the double nearest to its digits as `float` reads them; None if one is none.

    Args:
        text: ASCII text.
        csv: what `fast_parser` gives, or None for numpy alone; the result is the same.
    """
    if not text.strip():  # in which numpy sees a number
        return np.empty(0)
    if csv is not None:
        import pyarrow

        # a table of one column, so that it does not matter how the numbers stand in lines
        lines = pyarrow.py_buffer(text.translate(_BLANKS_TO_NEWLINES))
        try:
            return csv.read_csv(
                lines,
                csv.ReadOptions(use_threads=False, column_names=["numbers"], block_size=2**20),
                csv.ParseOptions(quote_char=False),
                csv.ConvertOptions(
                    column_types={"numbers": pyarrow.float64()}, null_values=[], check_utf8=False
                ),
            )["numbers"].to_numpy()  # fmt: skip
        except pyarrow.ArrowInvalid:
            pass  # such as +1, which numpy reads
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)  # how older numpy says so
        try:
            return np.fromstring(text, sep=" ")
        except (ValueError, DeprecationWarning):
            return None


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
