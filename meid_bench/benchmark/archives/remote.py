"""Remote: a file on an HTTP server, read by ranges, resumed, never mixed from two versions."""

import logging
import re
import socket
import threading
from dataclasses import dataclass
from http import HTTPStatus

import requests
import urllib3

from meid_bench.errors import DataError

# Failures in a row without a byte in between; with the waits below it is two minutes of patience.
PATIENCE = 10
SAY_AFTER = 4
FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0
CONNECT_SECONDS, READ_SECONDS = 15, 30
# A cut connection loses what it had read of a block.
BLOCK = 1 << 16
# As little left of an answer is read to its end: that keeps the connection.
CHEAPER = 1 << 14
PASSING = {408, 425, 429, 500, 502, 503, 504}
# Ways in which a request or its answer may fail and the next one may not. urllib3's own retries
# would not do: they end with the headers, and what is cut is the body.
_FAILURES = (requests.RequestException, urllib3.exceptions.HTTPError, OSError)
_NO_ADDRESS = (
    requests.exceptions.InvalidURL,
    requests.exceptions.InvalidSchema,
    urllib3.exceptions.LocationValueError,
)
log = logging.getLogger(__name__)

_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


class RemoteError(DataError):
    """The server refuses, cannot be reached, or the user wants to stop."""


class ChangedError(RemoteError):
    """The file on the server is another version than the one read so far."""


class NoRangesError(RemoteError):
    """The server gives the whole file only."""


@dataclass(frozen=True, slots=True)
class Version:
    """What tells one version of a remote file from another.

    Attributes:
        size: Bytes, or None where the server does not say.
        etag: Its ETag, or its Last-Modified where it has none; None where it has neither.
    """

    size: int | None
    etag: str | None

    def __str__(self) -> str:
        """Both, for a message."""
        return f"{self.size} bytes, version {self.etag}"


class Remote:
    """One file on a server; threads may read it at once.

    Args:
        url: Its address.
        version: The one to read; None takes that of the first answer.

    Attributes:
        fetched: Bytes of bodies read so far.
        requests: Requests sent so far.
    """

    def __init__(self, url: str, version: Version | None = None) -> None:
        self.url = url
        self.fetched = 0
        self.requests = 0
        self._version = version
        self._lock = threading.Lock()
        self._threads = threading.local()
        self._stop = threading.Event()

    def version(self) -> Version:
        """Ask for one byte, to learn the version and whether ranges are served.

        Raises:
            NoRangesError: They are not; only `stream(0)` works.
            ChangedError: It is another version than the one to read.
            RemoteError: The server refuses, or cannot be reached.
        """
        if self._version is None:
            with self.stream(0, 1) as stream:
                stream.read(1)
        assert self._version is not None  # the answer to the request above set it
        return self._version

    def stream(self, start: int, end: int | None = None) -> "Stream":
        """Read bytes [start, end), or to the file's end."""
        return Stream(self, start, end)

    def stop(self) -> None:
        """Let every thread that reads or waits give up: the user wants to stop."""
        self._stop.set()

    def request(self, start: int, end: int | None) -> requests.Response:
        """Send one request for [start, end); the body is not read yet.

        Raises:
            requests.RequestException: It failed in a way that may pass.
            NoRangesError, ChangedError, RemoteError: As in `version`.
        """
        if self._stop.is_set():
            raise RemoteError(f"{self.url}: stopped")
        # requests promises nothing about one session in several threads.
        if not hasattr(self._threads, "session"):
            self._threads.session = requests.Session()
        with self._lock:
            self.requests += 1
        last = "" if end is None else end - 1
        response: requests.Response = self._threads.session.get(
            self.url,
            # A server that compressed on the fly would count other bytes than the file has.
            headers={"Range": f"bytes={start}-{last}", "Accept-Encoding": "identity"},
            stream=True,
            timeout=(CONNECT_SECONDS, READ_SECONDS),
        )
        try:
            self._check(response, start, end)
        except BaseException:
            response.close()
            raise
        return response

    def wait(self, failures: int, error: Exception) -> None:
        """Wait before trying again: not at all at first, then twice as long each time.

        Where connections are cut now and then, waiting for each would cost more than they do.

        Raises:
            RemoteError: It failed too often, it is no address, its host has none, or the user
                wants to stop.
        """
        if isinstance(error, _NO_ADDRESS):
            raise RemoteError(
                f"{self.url} is no address that can be asked ({error}); correct it, or name a "
                "mirror or a folder with --source"
            ) from error
        # requests wraps urllib3's errors, which wrap the system's.
        reason: BaseException = error
        while isinstance(reason.__context__, Exception):
            reason = reason.__context__
        brief = str(reason) or type(reason).__name__
        if not self.fetched and isinstance(reason, socket.gaierror):
            raise RemoteError(
                f"{self.url}: its host cannot be found ({brief}); check the address and "
                "the connection, or name a mirror or a folder with --source"
            ) from error
        if failures > PATIENCE:
            raise RemoteError(
                f"{self.url} failed {failures} times in a row ({brief}); check the "
                "connection and run the same command again, it goes on where it stopped"
            ) from error
        if failures == SAY_AFTER:
            log.warning("%s fails (%s); trying again for a while", self.url, brief)
        wait = 0.0 if failures == 1 else min(FIRST_WAIT * 2 ** (failures - 2), LONGEST_WAIT)
        if self._stop.wait(wait):
            raise RemoteError(f"{self.url}: stopped") from error

    def count(self, size: int) -> None:
        """Note `size` bytes read."""
        with self._lock:
            self.fetched += size

    def _check(self, response: requests.Response, start: int, end: int | None) -> None:
        status = response.status_code
        if status in PASSING:
            raise requests.HTTPError(f"status {status} {response.reason}")
        if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise ChangedError(f"{self.url} has no byte {start}: the file is shorter than it was")
        if status not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
            raise RemoteError(
                f"{self.url} answers {status} {response.reason}; check the address, or name a "
                "mirror or a folder with --source"
            )
        if status == HTTPStatus.PARTIAL_CONTENT:
            content = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
            if content is None or int(content[1]) != start:
                raise NoRangesError(
                    f"{self.url}: the server answers another range than byte {start} on"
                )
            size = content[3]
        else:
            size = response.headers.get("Content-Length")
        etag = response.headers.get("ETag") or response.headers.get("Last-Modified")
        seen = Version(int(size) if size else None, etag)
        with self._lock:
            known = self._version = self._version or seen
        if seen != known:
            raise ChangedError(f"{self.url} changed on the server: it has {seen}; it had {known}")
        if status == HTTPStatus.OK and (start or end is not None):
            raise NoRangesError(f"{self.url}: the server serves no byte ranges")


class Stream:
    """Bytes of a remote file, in order; where the connection is cut, it asks for the rest.

    Attributes:
        position: The file's next byte.
    """

    def __init__(self, remote: Remote, start: int, end: int | None) -> None:
        self.position = start
        self._end = end
        self._remote = remote
        self._response: requests.Response | None = None
        self._failures = 0

    def read(self, size: int) -> bytes:
        """Up to `size` bytes, at least one unless the end is reached.

        Raises:
            NoRangesError, ChangedError, RemoteError: As in `Remote.version`; NoRangesError also
                where the connection was cut and the server cannot go on in the middle.
        """
        while True:
            try:
                if self._response is None:
                    if self.position == self._end:
                        return b""
                    self._response = self._remote.request(self.position, self._end)
                data: bytes = self._response.raw.read(min(size, BLOCK))
                if not data and self._end is not None and self.position < self._end:
                    raise OSError(f"{self._end - self.position} bytes did not come")
            except _FAILURES as error:
                self._drop()
                self._failures += 1
                self._remote.wait(self._failures, error)
                continue
            self._failures = 0
            self.position += len(data)
            self._remote.count(len(data))
            return data

    def read_exactly(self, size: int) -> bytes:
        """`size` bytes, or those left until the end; raises as `read` does."""
        parts = []
        while size > 0 and (part := self.read(size)):
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def close(self) -> None:
        """Give the connection back, or drop it where much of the answer was not read."""
        left = 0 if self._end is None else self._end - self.position
        if self._response is not None and 0 < left <= CHEAPER:
            self._response.raw.drain_conn()
            self._remote.count(left)
        self._drop()

    def _drop(self) -> None:
        if self._response is not None:
            self._response.close()
            self._response = None

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
