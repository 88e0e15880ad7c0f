"""Processes that know nothing of this one's main module, nor of Ctrl-C."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

_LOCK = threading.Lock()


@contextmanager
def mainless() -> Iterator[None]:
    """Let processes that are started inside not run this one's main module.

    multiprocessing runs it again in each of them, so that what it defines can be sent there. Of a
    script without `if __name__ == "__main__"` that would start everything once more, and what came
    from standard input cannot be run again at all. Nothing that it defines may be sent.
    """
    with _LOCK:
        main = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = main


@contextmanager
def ctrl_c_ignored() -> Iterator[None]:
    """Ignore Ctrl-C, and let processes that are started inside do so from their beginning."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may say what a signal does
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
