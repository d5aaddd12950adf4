"""What commands write, when those who read it go away."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def until_nobody_reads() -> Iterator[None]:
    """End quietly, with 1, when the reader of a pipe is gone: `... | head`."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        # Python would fail again when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
