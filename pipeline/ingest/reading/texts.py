"""Texts of a column looked at all at once: most are stored as they came, which a look at their bytes proves."""

import unicodedata

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

NO_BREAK = "\u00a0\u202f"
ZERO_WIDTH = "\u200b\u200c\u200d\u2060\ufeff"
WIDE_BLANK = "\u3000"


def texts_of(column: pa.Array | pa.ChunkedArray) -> tuple[bytes, np.ndarray]:
    """The texts of a string column, one behind the other, and where each begins, with the end of the last."""
    chunk = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    _, offsets, data = chunk.buffers()
    if data is None or not len(chunk):
        return b"", np.zeros(len(chunk) + 1, np.int32)
    ends = np.frombuffer(offsets, np.int32)[chunk.offset : chunk.offset + len(chunk) + 1]
    return data[int(ends[0]) : int(ends[-1])].to_pybytes(), ends - ends[0]


def is_composed(text: bytes) -> bool:
    """Whether a text is UTF-8, composed (NFC), and has no character that is stored as another or as none.

    Then so is every part of it that is UTF-8: the parts of a composed text are composed.
    """
    if text.isascii():
        return True
    try:
        characters = text.decode()
    except UnicodeDecodeError:
        return False
    return not any(c in characters for c in NO_BREAK + ZERO_WIDTH) and unicodedata.is_normalized(
        "NFC", characters
    )


def are_clean(values: pa.StringArray, text: bytes, ends: np.ndarray) -> bool:
    """Whether each text is stored as it came: composed, and without a blank around it.

    False also where telling takes more than a look, as where one text ends in the middle of a character.

    Args:
        text, ends: of `values`, as texts_of gives them.
    """
    if not is_composed(text):
        return False
    if not text.isascii():
        begins = np.frombuffer(text, np.uint8)[ends[:-1][np.diff(ends) > 0]]
        # Bytes that go on with a character: what is UTF-8 as a whole need not be so in its parts.
        if ((begins & 0xC0) == 0x80).any():
            return False
    blanks = [blank for blank in (" ", WIDE_BLANK) if blank.encode() in text]
    return not any(
        pc.any(pc.or_(pc.starts_with(values, blank), pc.ends_with(values, blank))).as_py() for blank in blanks
    )
