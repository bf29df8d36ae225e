"""Tests of the driver itself, against a QEMU that is none."""

import shlex
import signal
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from test_driver.driver import Driver
from test_driver.errors import MachineError, RequestedAssertionFailed
from test_driver.logger import Logger
from test_driver.machine import QemuMachine, retry

FAKE = shlex.join([sys.executable, str(Path(__file__).with_name("fake_qemu.py"))])


class DriverTest(unittest.TestCase):
    def setUp(self) -> None:
        self.dir = tempfile.TemporaryDirectory()
        tempfile.tempdir = self.dir.name

    def tearDown(self) -> None:
        tempfile.tempdir = None
        self.dir.cleanup()

    def driver(self, script: str = "") -> Driver:
        return Driver(script, Path(self.dir.name), Logger())

    def machine(self, driver: Driver, behaviour: str) -> QemuMachine:
        return driver.create_machine(f"exec {FAKE} {behaviour}", name="m")

    def test_console_monitor_and_last_event(self) -> None:
        with self.driver() as driver:
            machine = self.machine(driver, "echo")
            machine.start()
            machine.wait_for_console_text("very n[e]ar", timeout=60)
            machine.send_console("hello\n")
            machine.wait_for_console_text("said hello", timeout=60)
            self.assertIn("got info status", machine.send_monitor_command("info status"))
            machine.crash()
            assert machine.serial_thread
            machine.serial_thread.join()
            self.assertEqual(machine.get_console_log().splitlines()[:2], ["booting", "very near"])
            self.assertFalse(machine.booted)

    def test_events_outlive_qemu(self) -> None:
        with self.driver() as driver:
            machine = self.machine(driver, "wait")
            machine.start()
            machine.crash()
            assert machine.qmp_client
            # One message a call.
            names = [[event["event"] for event in machine.qmp_client.events()]]
            for _ in range(2):
                machine.qmp_client.read_pending_messages()
                names.append([event["event"] for event in machine.qmp_client.events()])
            self.assertEqual(names, [["RESUME"], ["SHUTDOWN"], []])

    def test_text_is_waited_for_once(self) -> None:
        with self.driver() as driver:
            machine = self.machine(driver, "wait")
            machine.start()
            machine.wait_for_console_text("booting")
            with self.assertRaises(RequestedAssertionFailed):
                machine.wait_for_console_text("booting", timeout=1)

    def test_qemu_that_refuses(self) -> None:
        with self.driver() as driver, self.assertRaisesRegex(MachineError, "ended with status 1 .*no such machine"):
            self.machine(driver, "refuse").start()

    def test_a_script_that_leaves_qemu_fails(self) -> None:
        script = f"m = create_machine({f'exec {FAKE} hang'!r}, name='m')\nm.start()"
        with self.driver(script) as driver, self.assertRaises(SystemExit):
            driver.run_tests()
        (machine,) = driver._created
        assert machine.process
        self.assertIsNotNone(machine.process.poll())

    def test_the_timeout_is_a_signal(self) -> None:
        """As under NixOS, a script that does not handle it has no last word."""
        script = Path(self.dir.name) / "script"
        script.write_text("import signal\ntry:\n    signal.pause()\nfinally:\n    print('the end')")
        run = [sys.executable, "-m", "test_driver", "--global-timeout", "1", str(script)]
        ended = subprocess.run(run, capture_output=True, text=True)
        self.assertEqual((ended.returncode, ended.stdout), (-signal.SIGTERM, ""))
        handled = "import signal, sys\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(3))\n"
        script.write_text(handled + script.read_text())
        ended = subprocess.run(run, capture_output=True, text=True)
        self.assertEqual((ended.returncode, ended.stdout), (3, "the end\n"))

    def test_shell_methods_explain_themselves(self) -> None:
        with self.driver() as driver:
            machine = self.machine(driver, "wait")
            with self.assertRaisesRegex(MachineError, '"succeed" needs a shell'):
                getattr(machine, "succeed")("true")
            with self.assertRaises(AttributeError):
                getattr(machine, "power_off")

    def test_retry_gives_up(self) -> None:
        calls: list[bool] = []
        with self.assertRaises(RequestedAssertionFailed):
            retry(lambda last: calls.append(last), 1)
        self.assertTrue(calls[-1])


unittest.main()
