"""A local HTTP server that can be as difficult as the ones out there."""

import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


@dataclass
class Shelf:
    """What the server offers, and how it misbehaves; may be changed while it serves.

    Attributes:
        files: Name to contents, or to the file that holds them.
        etags: Name to ETag; a name that is not there gets none.
        ranges: Whether byte ranges are served.
        shift: How far behind the byte that was asked for a range begins.
        cut: Every how many-th answer ends in the middle with the connection; 0 for none.
        refuse: How many of the next requests are answered with 503.
        on_request: Called with the number of each request before it is answered.
        log: The Range header of every request, in order.
    """

    files: dict[str, bytes | Path]
    etags: dict[str, str] = field(default_factory=dict)
    ranges: bool = True
    shift: int = 0
    cut: int = 0
    refuse: int = 0
    on_request: Any = None
    log: list[str] = field(default_factory=list)
    lock: Any = field(default_factory=threading.Lock)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that hang up: interrupting is what the tests do."""


class FileServer:
    """Serves a shelf on a free port of this machine, in a `with`."""

    def __init__(self, shelf: Shelf) -> None:
        handler = type("Handler", (_Handler,), {"shelf": shelf})
        self._server = _Server(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "FileServer":
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Headers and body in two small packets wait for each other's acknowledgement otherwise.
    wbufsize = 1 << 16
    disable_nagle_algorithm = True
    shelf: Shelf

    def do_GET(self) -> None:
        shelf = self.shelf
        with shelf.lock:
            shelf.log.append(self.headers.get("Range", ""))
            number = len(shelf.log)
            refused, shelf.refuse = shelf.refuse > 0, max(shelf.refuse - 1, 0)
        if shelf.on_request is not None:
            shelf.on_request(number)
        name = self.path.lstrip("/")
        if refused:
            return self._answer(503, b"")
        if name not in shelf.files:
            return self._answer(404, b"")
        found = shelf.files[name]
        size = len(found) if isinstance(found, bytes) else found.stat().st_size
        headers = {"ETag": shelf.etags[name]} if name in shelf.etags else {}
        start, end = 0, size
        status = 200
        if shelf.ranges and self.headers.get("Range"):
            first, last = self.headers["Range"].removeprefix("bytes=").split("-")
            start, end = int(first) + shelf.shift, min(int(last) + 1 if last else size, size)
            if start >= size:
                return self._answer(416, b"", {"Content-Range": f"bytes */{size}"})
            status = 206
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        cut = shelf.cut and number % shelf.cut == 0
        return self._answer(status, _slice(found, start, end), headers, cut=bool(cut))

    def _answer(
        self, status: int, body: bytes, headers: dict[str, str] | None = None, cut: bool = False
    ) -> None:
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: (len(body) + 1) // 2] if cut else body)
        self.wfile.flush()
        if cut:
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def _slice(found: bytes | Path, start: int, end: int) -> bytes:
    if isinstance(found, bytes):
        return found[start:end]
    with found.open("rb") as file:
        file.seek(start)
        return file.read(end - start)
