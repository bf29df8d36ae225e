"""The log of a run: what the driver does and what the consoles say, with the seconds since the start."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Logger:
    def __init__(self) -> None:
        self._begin = time.monotonic()
        self._lock = threading.Lock()
        self._depth = 0
        self._print_serial = True

    def log(self, message: str, attributes: dict[str, str] | None = None) -> None:
        machine = (attributes or {}).get("machine")
        with self._lock:
            passed = time.monotonic() - self._begin
            prefix = f"{machine}: " if machine else ""
            sys.stderr.write(f"[{passed:8.2f}] {'  ' * self._depth}{prefix}{message}\n")
            sys.stderr.flush()

    def log_serial(self, message: str, machine: str) -> None:
        if self._print_serial:
            with self._lock:
                sys.stderr.write(f"{machine} # {message}\n")

    def print_serial_logs(self, enable: bool) -> None:
        self._print_serial = enable

    def info(self, message: str) -> None:
        self.log(message)

    def warning(self, message: str) -> None:
        self.log(f"warning: {message}")

    def error(self, message: str) -> None:
        self.log(f"error: {message}")

    def log_test_error(self, message: str) -> None:
        self.log(f"!!! {message}")

    @contextmanager
    def nested(self, message: str, attributes: dict[str, str] | None = None) -> Iterator[None]:
        self.log(message, attributes)
        begin = time.monotonic()
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
        self.log(f"(finished: {message}, in {time.monotonic() - begin:.2f} seconds)", attributes)

    @contextmanager
    def subtest(self, name: str) -> Iterator[None]:
        with self.nested(f"subtest: {name}"):
            yield
