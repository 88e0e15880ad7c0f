"""Mainless: processes that know nothing of this one's main module."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from types import ModuleType

_LOCK = Lock()


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
