"""A virtual machine: starts QEMU, reads its console, talks to its monitor."""

import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from test_driver.errors import MachineError, RequestedAssertionFailed
from test_driver.logger import Logger
from test_driver.qmp import QMPSession

# How long QEMU may take to open its sockets, and how often that is looked at.
START_SECONDS = 120.0
START_POLL_SECONDS = 0.1
# How often conditions are looked at: no script may count on more.
POLL_SECONDS = 1.0

# Characters whose key has another name than the character; "shift-" for the upper row of a US keyboard.
KEYS = {" ": "spc", "\n": "ret", "-": "minus", "=": "equal", "[": "bracket_left", "]": "bracket_right"}
KEYS |= {";": "semicolon", "'": "apostrophe", "`": "grave_accent", "\\": "backslash"}
KEYS |= {",": "comma", ".": "dot", "/": "slash"}
KEYS |= {upper: f"shift-{KEYS.get(lower, lower)}" for upper, lower in zip('_+{}:"~|<>?', "-=[];'`\\,./")}
KEYS |= {upper: f"shift-{digit}" for upper, digit in zip("!@#$%^&*()", "1234567890")}
KEYS |= {chr(c): f"shift-{chr(c).lower()}" for c in range(ord("A"), ord("Z") + 1)}

# What the NixOS driver does through a root shell in the guest.
NEEDS_SHELL = set(
    """
    block connect copy_from_host copy_from_host_via_shell copy_from_machine copy_from_vm dump_tty_contents execute
    fail get_screen_text get_screen_text_variants get_tty_text get_unit_info get_unit_property get_window_names
    require_unit_state shell_interact shutdown sleep start_job stop_job succeed switch_root systemctl unblock
    wait_for_closed_port wait_for_file wait_for_open_port wait_for_open_unix_socket wait_for_text wait_for_unit
    wait_for_window wait_for_x wait_until_fails wait_until_succeeds wait_until_tty_matches
    """.split()
)


def retry(fn: Callable[[bool], Any], timeout_seconds: int = 900) -> None:
    """Calls `fn` until it returns something true. The last call, after the time is over, gets True."""
    begin = time.monotonic()
    while time.monotonic() - begin < timeout_seconds:
        if fn(False):
            return
        time.sleep(POLL_SECONDS)
    if not fn(True):
        raise RequestedAssertionFailed(f"What was waited for did not happen within {timeout_seconds} s.")


class BaseMachine:
    """What every kind of machine has."""

    def __init__(self, out_dir: Path, name: str, logger: Logger, tmp_dir: Path, keep_machine_state: bool) -> None:
        self.out_dir = out_dir
        self.name = name
        self.logger = logger
        self.tmp_dir = tmp_dir
        self.keep_machine_state = keep_machine_state
        self.state_dir = tmp_dir / f"vm-state-{name}"
        if not keep_machine_state and self.state_dir.exists():
            shutil.rmtree(self.state_dir)
        self.state_dir.mkdir(mode=0o700, exist_ok=True)
        self.shared_dir = tmp_dir / "shared-xchg"
        self.shared_dir.mkdir(mode=0o700, exist_ok=True)

    def log(self, msg: str) -> None:
        self.logger.log(msg, {"machine": self.name})

    def nested(self, msg: str) -> AbstractContextManager[None]:
        return self.logger.nested(msg, {"machine": self.name})


class QemuMachine(BaseMachine):
    """A machine in QEMU."""

    process: subprocess.Popen[bytes] | None = None
    pid: int | None = None
    qmp_client: QMPSession | None = None
    booted = False

    def __init__(
        self,
        out_dir: Path,
        tmp_dir: Path,
        start_command: str,
        logger: Logger,
        name: str | None = None,
        keep_machine_state: bool = False,
    ) -> None:
        super().__init__(out_dir, name or "machine", logger, tmp_dir, keep_machine_state)
        self.start_command = start_command
        self.full_console_log: list[str] = []
        self._waited_to = 0
        self._monitor: socket.socket | None = None
        self._shell: socket.socket | None = None
        # Reads the console. It may have lines to read after QEMU's end.
        self.serial_thread: threading.Thread | None = None

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            if name in NEEDS_SHELL:
                raise MachineError(
                    f'"{name}" needs a shell in the machine "{self.name}", but it has none: '
                    "use its console, the monitor or the network."
                )
            raise AttributeError(f'A machine has no "{name}".')

    def is_up(self) -> bool:
        """Never true here: NixOS means by it that the guest's shell answered."""
        return False

    def start(self, allow_reboot: bool = False) -> None:
        """Starts QEMU, and does not wait for the guest. Without `allow_reboot`, a reboot ends QEMU."""
        if self.booted:
            return
        self.log("starting QEMU")
        self.release()
        with self._listen("monitor") as monitor, self._listen("shell") as shell:
            self.process = self._popen(allow_reboot)
            self.full_console_log = []
            self._waited_to = 0
            self.serial_thread = threading.Thread(target=self._read_console, args=[self.process], daemon=True)
            self.serial_thread.start()
            self._monitor = self._accept(monitor)
            self._shell = self._accept(shell)
        try:
            self.qmp_client = QMPSession.from_path(self.state_dir / "qmp")
        except OSError:
            raise self._refusal() from None
        self._wait_for_monitor_prompt()
        self.pid = self.process.pid
        self.booted = True

    def _popen(self, allow_reboot: bool) -> "subprocess.Popen[bytes]":
        qmp_path = self.state_dir / "qmp"
        qmp_path.unlink(missing_ok=True)
        command = (
            f"{self.start_command}"
            f" -qmp unix:{qmp_path},server=on,wait=off"
            f" -monitor unix:{self.state_dir / 'monitor'}"
            f" -chardev socket,id=shell,path={self.state_dir / 'shell'}"
            " -device virtio-serial -device virtconsole,chardev=shell -device virtio-rng-pci -serial stdio"
            f"{'' if allow_reboot else ' -no-reboot'}"
        )
        if not any(display in os.environ for display in ("DISPLAY", "WAYLAND_DISPLAY")):
            command += " -nographic"
        return subprocess.Popen(
            [shutil.which("sh") or "/bin/sh", "-c", command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self.state_dir,
            env=os.environ | {"TMPDIR": str(self.state_dir), "SHARED_DIR": str(self.shared_dir), "USE_TMPDIR": "1"},
            # A group of its own, so that all of it can be ended.
            start_new_session=True,
        )

    def wait_for_shutdown(self) -> None:
        """Waits until QEMU has ended. The console may have lines that are not read yet; see `serial_thread`."""
        if not self.booted:
            return
        with self.nested("waiting for QEMU to end"):
            assert self.process
            self.process.wait()
            self.pid = None
            self.booted = False

    def crash(self) -> None:
        """Takes the power away."""
        if not self.booted:
            return
        self.log("taking the power away")
        self.send_monitor_command("quit")
        self.wait_for_shutdown()

    def reboot(self) -> None:
        """Presses Ctrl-Alt-Delete."""
        self.send_key("ctrl-alt-delete")

    def send_monitor_command(self, command: str) -> str:
        """Gives a command to QEMU's human monitor; returns what it printed."""
        assert self._monitor is not None, f'The machine "{self.name}" was not started.'
        self._monitor.sendall(f"{command}\n".encode())
        return self._wait_for_monitor_prompt()

    def send_key(self, key: str, delay: float | None = 0.01, log: bool | None = True) -> None:
        """Presses a key, or several joined by hyphens, by QEMU's names (`ctrl-alt-delete`) or as one character."""
        if log:
            self.log(f"pressing {key!r}")
        self.send_monitor_command(f"sendkey {KEYS.get(key, key)}")
        if delay is not None:
            time.sleep(delay)

    def send_chars(self, chars: str, delay: float | None = 0.01) -> None:
        """Types on the keyboard."""
        for char in chars:
            self.send_key(char, delay, log=False)

    def send_console(self, chars: str) -> None:
        """Sends characters to the serial console."""
        assert self.process and self.process.stdin, f'The machine "{self.name}" was not started.'
        self.process.stdin.write(chars.encode())
        self.process.stdin.flush()

    def wait_for_console_text(self, regex: str, timeout: int | None = None) -> None:
        """Waits for `regex` in what the console says after what earlier calls have waited for."""

        def found(_last_try: bool) -> bool:
            lines = self.full_console_log[self._waited_to :]
            match = re.search(regex, "\n".join(lines))
            if match:
                self._waited_to += "\n".join(lines)[: match.end()].count("\n") + 1
            elif not self.booted or (self.process and self.process.poll() is not None and not self._reading()):
                raise RequestedAssertionFailed(f'"{self.name}" ended without saying /{regex}/ on its console.')
            return match is not None

        with self.nested(f"waiting for /{regex}/ on the console"):
            retry(found, 10**9 if timeout is None else timeout)

    def get_console_log(self) -> str:
        """All that the console said since `start`."""
        return "\n".join(self.full_console_log)

    def screenshot(self, filename: str) -> None:
        """Writes the display as PNG, into the test's output unless the name has a slash."""
        path = filename if "." in filename else f"{filename}.png"
        answer = self.send_monitor_command(f"screendump {path if '/' in path else self.out_dir / path} -f png")
        if "Error" in answer:
            raise MachineError(f'The screen of "{self.name}" was not written to {path}: {answer.strip()}')

    def forward_port(self, host_port: int = 8080, guest_port: int = 80) -> None:
        """Forwards a TCP port of the host to the guest, with QEMU's user networking."""
        self.send_monitor_command(f"hostfwd_add tcp::{host_port}-:{guest_port}")

    def release(self) -> None:
        """Ends QEMU, whatever it does, and closes what belongs to it."""
        if self.process and self.process.poll() is None:
            self.log("killing QEMU")
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        if self.serial_thread:
            self.serial_thread.join(timeout=START_SECONDS)
        pipes = [self.process.stdin, self.process.stdout] if self.process else []
        for end in (self._monitor, self._shell, self.qmp_client, *pipes):
            if end is not None:
                end.close()
        self._monitor = self._shell = self.qmp_client = None
        self.booted = False

    def _reading(self) -> bool:
        return self.serial_thread is not None and self.serial_thread.is_alive()

    def _read_console(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout
        for raw in process.stdout:
            line = raw.decode(errors="ignore").replace("\r", "").rstrip()
            self.full_console_log.append(line)
            self.logger.log_serial(line, self.name)

    def _listen(self, name: str) -> socket.socket:
        path = self.state_dir / name
        path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(path))
        listener.listen(1)
        listener.settimeout(START_POLL_SECONDS)
        return listener

    def _accept(self, listener: socket.socket) -> socket.socket:
        assert self.process
        begin = time.monotonic()
        while time.monotonic() - begin < START_SECONDS:
            try:
                return listener.accept()[0]
            except TimeoutError:
                if self.process.poll() is not None:
                    raise self._refusal() from None
        raise MachineError(f'QEMU of "{self.name}" did not open its sockets within {START_SECONDS} s.')

    def _last_words(self) -> list[str]:
        if self.serial_thread:
            self.serial_thread.join(timeout=START_SECONDS)
        return self.full_console_log[-3:]

    def _refusal(self) -> MachineError:
        assert self.process
        self.process.wait(START_SECONDS)
        return MachineError(
            f'QEMU of "{self.name}" ended with status {self.process.returncode} before the guest started: '
            f"{' '.join(self._last_words())}"
        )

    def _wait_for_monitor_prompt(self) -> str:
        assert self._monitor is not None
        answer = b""
        while not answer.endswith(b"(qemu) "):
            try:
                data = self._monitor.recv(4096)
            except ConnectionResetError:
                break
            if not data:
                break
            answer += data
        return answer.decode(errors="replace")
