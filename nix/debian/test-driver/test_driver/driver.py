"""Runs one test script."""

import os
import signal
import sys
import tempfile
import threading
import traceback
import unittest
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from test_driver.errors import RequestedAssertionFailed
from test_driver.logger import Logger
from test_driver.machine import BaseMachine, QemuMachine, retry

# How much of each console a failed run repeats at its end.
LAST_LINES = 60


class AssertionTester(unittest.TestCase):
    """`t` in scripts: unittest's assertions."""

    failureException = RequestedAssertionFailed


class Driver:
    """Gives scripts their symbols, and leaves no QEMU behind."""

    def __init__(
        self,
        tests: str,
        out_dir: Path,
        logger: Logger,
        keep_machine_state: bool = False,
        global_timeout: int = 60 * 60,
    ) -> None:
        self.tests = tests
        self.out_dir = out_dir
        self.logger = logger
        self.keep_machine_state = keep_machine_state
        self.global_timeout = global_timeout
        self.race_timer = threading.Timer(global_timeout, self.terminate_test)
        self.race_timer.daemon = True
        # Machines of NixOS nodes; there are none here. Those that the script makes are its own to start.
        self.machines: list[QemuMachine] = []
        self._created: list[QemuMachine] = []
        # Unix socket paths have 107 bytes, so the directory is directly under TMPDIR.
        self.tmp_dir = Path(tempfile.gettempdir())

    def __enter__(self) -> "Driver":
        return self

    def __exit__(self, *_: Any) -> None:
        self.race_timer.cancel()
        for machine in self._created:
            machine.release()

    def test_symbols(self) -> dict[str, Any]:
        """What a script can name."""
        return {
            "start_all": self.start_all,
            "join_all": self.join_all,
            "test_script": self.test_script,
            "run_tests": self.run_tests,
            "machines": self.machines,
            "machines_qemu": self.machines,
            "driver": self,
            "log": self.logger,
            "os": os,
            "create_machine": self.create_machine,
            "subtest": self.subtest,
            "retry": retry,
            "serial_stdout_on": self.serial_stdout_on,
            "serial_stdout_off": self.serial_stdout_off,
            "BaseMachine": BaseMachine,
            "t": AssertionTester(),
        }

    def test_script(self) -> None:
        """Runs the script; ends the process with status 1 when it fails."""
        with self.logger.nested("run the VM test script"):
            try:
                exec(compile(self.tests, "<test script>", "exec"), self.test_symbols(), None)
            except Exception:
                for machine in self._created:
                    self._repeat_console(machine)
                self._explain()
                sys.exit(1)

    def run_tests(self) -> None:
        """Runs the script within the global timeout. The script must end each machine that it makes."""
        self.logger.info(f"The test may take {self.global_timeout} s.")
        self.race_timer.start()
        try:
            self.test_script()
        finally:
            self.race_timer.cancel()
            left = [machine.name for machine in self._created if machine.process and machine.process.poll() is None]
            if left:
                self.logger.log_test_error(f"The script has left QEMU running: {', '.join(left)}.")
                sys.exit(1)

    def start_all(self) -> None:
        """Starts the machines of all nodes."""
        for machine in self.machines:
            machine.start()

    def join_all(self) -> None:
        """Waits for the machines of all nodes to end."""
        for machine in self.machines:
            machine.wait_for_shutdown()

    def create_machine(
        self, start_command: str, *, name: str | None = None, keep_machine_state: bool = False
    ) -> QemuMachine:
        """A machine that `start_command`, the head of a QEMU command line, describes."""
        machine = QemuMachine(
            out_dir=self.out_dir,
            tmp_dir=self.tmp_dir,
            start_command=start_command,
            logger=self.logger,
            name=name,
            keep_machine_state=keep_machine_state or self.keep_machine_state,
        )
        self._created.append(machine)
        return machine

    @contextmanager
    def subtest(self, name: str) -> Iterator[None]:
        """Groups a part of the log under a name."""
        with self.logger.subtest(name):
            try:
                yield
            except Exception as error:
                self.logger.log_test_error(f'Test "{name}" failed: {error}')
                raise

    def serial_stdout_on(self) -> None:
        self.logger.print_serial_logs(True)

    def serial_stdout_off(self) -> None:
        self.logger.print_serial_logs(False)

    def terminate_test(self) -> None:
        """Ends the script: the global timeout is over. Runs in the timer's thread, which cannot raise an exception in the
        script's: a script that has machines to end handles SIGTERM."""
        for machine in self._created:
            self._repeat_console(machine)
        self.logger.log_test_error(f"The test took more than {self.global_timeout} s.")
        os.kill(os.getpid(), signal.SIGTERM)

    def _repeat_console(self, machine: QemuMachine) -> None:
        self.logger.print_serial_logs(True)
        lines = machine.full_console_log[-LAST_LINES:]
        self.logger.log_test_error(f'The last {len(lines)} lines of the console of "{machine.name}":')
        for line in lines:
            self.logger.log_serial(line, machine.name)

    def _explain(self) -> None:
        """Shows where in the script it failed, with the script's own lines."""
        kind, error, trace = sys.exc_info()
        code = self.tests.splitlines()
        frames = traceback.extract_tb(trace)
        for frame in frames:
            line = frame.lineno or 0
            if frame.filename == "<test script>" and 0 < line <= len(code):
                self.logger.log_test_error(f"line {line}, in {frame.name}: {code[line - 1].strip()}")
            elif not isinstance(error, RequestedAssertionFailed):
                self.logger.log_test_error(f"{frame.filename}:{line}, in {frame.name}: {frame.line}")
        self.logger.log_test_error(f"{kind.__name__ if kind else 'Error'}: {error}")

