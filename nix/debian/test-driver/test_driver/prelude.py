# Stands before a test script when it is type-checked: the names that the driver gives it.
import os as os
from typing import Callable, ContextManager, List

from test_driver.driver import AssertionTester, Driver
from test_driver.logger import Logger
from test_driver.machine import BaseMachine as BaseMachine
from test_driver.machine import QemuMachine
from test_driver.machine import retry as retry

driver: Driver
create_machine = driver.create_machine
machines: List[QemuMachine] = driver.machines
machines_qemu: List[QemuMachine] = driver.machines
start_all: Callable[[], None]
join_all: Callable[[], None]
test_script: Callable[[], None]
run_tests: Callable[[], None]
subtest: Callable[[str], ContextManager[None]]
serial_stdout_on: Callable[[], None]
serial_stdout_off: Callable[[], None]
log: Logger
t: AssertionTester
