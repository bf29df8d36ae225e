"""Tests of the driver itself, against a QEMU that is none."""

import shlex
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
            self.assertEqual(machine.get_console_log().splitlines()[:2], ["booting", "very near"])
            self.assertFalse(machine.booted)

    def test_events_outlive_qemu(self) -> None:
        with self.driver() as driver:
            machine = self.machine(driver, "wait")
            machine.start()
            machine.crash()
            assert machine.qmp_client
            machine.qmp_client.read_pending_messages()
            names = [event["event"] for event in machine.qmp_client.events()]
            self.assertEqual(names, ["RESUME", "SHUTDOWN"])

    def test_text_is_waited_for_once(self) -> None:
        with self.driver() as driver:
            machine = self.machine(driver, "wait")
            machine.start()
            machine.wait_for_console_text("booting")
            with self.assertRaises(RequestedAssertionFailed):
                machine.wait_for_console_text("booting", timeout=1)

    def test_qemu_that_refuses(self) -> None:
        with self.driver() as driver, self.assertRaisesRegex(MachineError, "ended with status 1"):
            self.machine(driver, "refuse").start()

    def test_no_qemu_is_left(self) -> None:
        script = f"m = create_machine({f'exec {FAKE} hang'!r}, name='m')\nm.start()\nassert False, 'broken'"
        with self.driver(script) as driver, self.assertRaises(SystemExit):
            driver.run_tests()
        (machine,) = driver._created
        assert machine.process
        self.assertIsNotNone(machine.process.poll())

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
