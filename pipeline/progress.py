"""What a person at the terminal sees of a long run: one line per step, with the seconds since the start."""

import sys
import time

_start = time.monotonic()


def say(message: str) -> None:
    """Write one progress line to standard error."""
    print(f"[{time.monotonic() - _start:6.1f} s] {message}", file=sys.stderr, flush=True)
