"""A client of the QEMU Machine Protocol (QEMU's docs/interop/qmp-spec)."""

import datetime
import json
import select
import socket
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ANSWER_SECONDS = 60.0


class QMPAPIError(RuntimeError):
    """QEMU refused a command."""

    def __init__(self, message: dict[str, Any]) -> None:
        self.class_name = message["error"]["class"]
        self.description = message["error"]["desc"]
        super().__init__(f"QEMU answered {self.class_name}: {self.description}")


class QMPSession:
    """One connection. Events are kept until they are asked for; the last ones can be read after QEMU has ended."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.sock.setblocking(False)
        self._buffer = b""
        self._closed = False
        self._results: deque[dict[str, Any]] = deque()
        self._events: deque[dict[str, Any]] = deque()
        self._lines: deque[bytes] = deque()
        self._wait_for_result()
        self.send("qmp_capabilities")

    @classmethod
    def from_path(cls, path: Path) -> "QMPSession":
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.connect(str(path))
        return cls(sock)

    def close(self) -> None:
        self.sock.close()

    def read_pending_messages(self) -> None:
        """Takes in one message that QEMU has sent, if there is one, without waiting."""
        self._receive(0)

    def wait_for_event(
        self, timeout: datetime.timedelta = datetime.timedelta(seconds=10)
    ) -> dict[str, Any]:
        """The next event."""
        while not self._events:
            if not self._receive(timeout.total_seconds()):
                raise TimeoutError(f"QEMU sent no event within {timeout.total_seconds()} s.")
        return self._events.popleft()

    def events(
        self, timeout: datetime.timedelta = datetime.timedelta(seconds=10)
    ) -> Iterator[dict[str, Any]]:
        """The events that were taken in so far."""
        while self._events:
            yield self._events.popleft()

    def send(self, cmd: str, args: dict[str, str] = {}) -> dict[str, Any]:
        """Sends a command and waits for its result."""
        request: dict[str, Any] = {"execute": cmd}
        if args:
            request["arguments"] = args
        self.sock.sendall(json.dumps(request).encode() + b"\n")
        return self._wait_for_result()

    def _wait_for_result(self) -> dict[str, Any]:
        while not self._results:
            if not self._receive(ANSWER_SECONDS):
                raise TimeoutError(f"QEMU did not answer within {ANSWER_SECONDS} s or has ended.")
        result = self._results.popleft()
        if "error" in result:
            raise QMPAPIError(result)
        return result

    def _receive(self, seconds: float) -> bool:
        """Waits for a message and sorts it; False when none came or none can come any more. There may be a part of one
        after data came."""
        if self._lines:
            message = json.loads(self._lines.popleft())
            (self._events if "event" in message else self._results).append(message)
            return True
        if self._closed or not select.select([self.sock], [], [], seconds)[0]:
            return False
        try:
            data = self.sock.recv(65536)
        except ConnectionResetError:
            data = b""
        if not data:
            self._closed = True
            return False
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        self._lines += lines
        return self._receive(0) if lines else True
