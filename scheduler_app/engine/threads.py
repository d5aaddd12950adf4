"""Threads that do not die of one mistake."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

logger = logging.getLogger(__name__)

RESTART_AFTER_S = 1.0


def start_guarded(name: str, run: Callable[[], None], closing: threading.Event) -> threading.Thread:
    """Start a daemon thread that runs `run` again when it raises, until `closing`; it ends when `run` returns.

    What a part expects it handles itself. This is for the rest, no file descriptor or memory left, say: without it the
    node would go on as if the part were there.
    """

    def guarded() -> None:
        while not closing.is_set():
            try:
                run()
                return
            except Exception:
                logger.exception("a part of the node failed, starting it again part=%s", name)
                closing.wait(RESTART_AFTER_S)

    thread = threading.Thread(target=guarded, name=name, daemon=True)
    thread.start()
    return thread
