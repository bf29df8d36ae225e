"""Command line: `python -m test_driver SCRIPT`."""

import argparse
import code
import os
from pathlib import Path

from test_driver.driver import Driver
from test_driver.logger import Logger


def main() -> None:
    parser = argparse.ArgumentParser(prog="nixos-test-driver", description="Runs a test of virtual machines.")
    parser.add_argument("script", type=Path, help="the test script")
    parser.add_argument("-o", "--output-directory", type=Path, default=Path("."), help="for screenshots (.)")
    parser.add_argument("-I", "--interactive", action="store_true", help="a Python prompt instead; test_script() runs it")
    parser.add_argument("-K", "--keep-machine-state", action="store_true", help="start on the state of the last run")
    parser.add_argument("--global-timeout", type=int, default=60 * 60, help="seconds for all of it (3600)")
    options = parser.parse_args()

    with Driver(
        options.script.read_text(),
        options.output_directory.resolve(),
        Logger(),
        options.keep_machine_state,
        options.global_timeout,
    ) as driver:
        if options.interactive:
            os.environ.setdefault("PYTHON_HISTORY", os.devnull)
            code.interact(local=driver.test_symbols(), banner="test_script() runs the script.")
        else:
            driver.run_tests()


main()
