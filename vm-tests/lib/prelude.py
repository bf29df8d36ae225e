# What the scenarios share. Only what NixOS's test driver has is used of the driver.
import hashlib
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import time
import types
import typing
import urllib.error
import urllib.request

# Bounds are several times what a slow machine without KVM needs: they end a test that fails, they pace none.
BOOT = 180
SOON = 60
# The pause between two looks at a condition, in seconds.
POLL = 0.1

# Without the proxies that the environment may name.
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))

vms: list["Vm"] = []


def accelerator() -> str:
    """KVM where guests can use it: the device alone does not say so."""
    if os.access("/dev/kvm", os.W_OK):
        with open("/proc/cpuinfo") as info:
            if re.search(r"\b(vmx|svm)\b", info.read()):
                return "kvm"
    return "tcg"


def on_sigterm(_number: int, _frame: types.FrameType | None) -> None:
    """The driver sends SIGTERM to itself when the test's time is over. As an error in the script it reaches mk-test's
    `finally`, which ends the machines."""
    t.fail("the test took longer than it may")


signal.signal(signal.SIGTERM, on_sigterm)


def end_machines() -> None:
    """Kills every QEMU that still runs."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for vm in vms:
        vm.end()


def poll(condition: typing.Callable[[], bool], seconds: int) -> bool:
    """Waits until a condition holds; False when it does not within the time."""
    begin = time.monotonic()
    while not condition():
        if time.monotonic() - begin > seconds:
            return condition()
        time.sleep(POLL)
    return True


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Vm:
    """A machine of the driver, with what a guest without a shell lets one do."""

    def __init__(
        self, name: str, arguments: list[str], machine: str = "q35", qemu: str = "", accel: str = ""
    ) -> None:
        self.name = name
        # With `exec` the driver's process is QEMU itself and no shell that would outlive it.
        common = f"exec {qemu or QEMU} -machine {machine} -accel {accel or accelerator()}"
        self.machine = create_machine(" ".join([common, *arguments]), name=name)
        # Up to where the console was read.
        self.read = 0
        vms.append(self)

    def start(self, allow_reboot: bool = False) -> None:
        self.read = 0
        self.machine.start(allow_reboot=allow_reboot)

    def running(self) -> bool:
        process = self.machine.process
        return process is not None and process.poll() is None

    def over(self) -> bool:
        """Whether QEMU has ended; the console's log has all of its words then."""
        if self.running():
            return False
        # The driver's thread may not have read the last lines yet.
        if self.machine.serial_thread is not None:
            self.machine.serial_thread.join(SOON)
        return True

    def wait(self, regex: str, seconds: int = SOON) -> re.Match[str]:
        """Waits for a regular expression in the console's text after the last such text."""
        found: list[re.Match[str]] = []

        def look() -> bool:
            over = self.over()
            match = re.compile(regex).search(self.machine.get_console_log(), self.read)
            if match:
                self.read = match.end()
                found.append(match)
            elif over:
                t.fail(f"{self.name} did not say /{regex}/ before it ended")
            return match is not None

        if not poll(look, seconds):
            t.fail(f"{self.name} did not say /{regex}/ within {seconds} s")
        return found[0]

    def said(self, regex: str) -> list[str]:
        """Each line of the console since `start` that has the regular expression in it."""
        return [line for line in self.machine.get_console_log().splitlines() if re.search(regex, line)]

    def says(self, regex: str, seconds: int = SOON) -> None:
        """Waits for a line with the regular expression, whatever was read before: for what has no order."""
        self.until(f"a line with /{regex}/", lambda: self.said(regex), seconds)

    def monitor(self, command: str) -> str:
        return self.machine.send_monitor_command(command)

    def until(self, what: str, condition: typing.Callable[[], typing.Any], seconds: int = SOON) -> None:
        """Waits until a condition holds."""
        if not poll(lambda: bool(condition()), seconds):
            t.fail(f"{self.name}: {what} did not come true within {seconds} s")

    def ended(self, seconds: int = SOON) -> str:
        """Waits for QEMU's end; QEMU's reason for it: `guest-shutdown`, `guest-reset` or `host-qmp-quit`."""
        self.until("its end", self.over, seconds)
        self.machine.wait_for_shutdown()
        client = self.machine.qmp_client
        assert client is not None
        reasons: list[str] = []
        # A call may take in one message alone, and it may be no event.
        silent = 0
        while silent < 2:
            client.read_pending_messages()
            events = list(client.events())
            silent = 0 if events else silent + 1
            reasons += [event["data"]["reason"] for event in events if event["event"] == "SHUTDOWN"]
        t.assertEqual(len(reasons), 1, f"{self.name} sent the shutdown events {reasons}")
        return reasons[0]

    def crash(self) -> None:
        """Takes the power away."""
        self.machine.crash()

    def end(self) -> None:
        """Kills QEMU, in whatever state the driver believes it to be."""
        process = self.machine.process
        if process is not None and process.poll() is None:
            process.kill()
            process.wait()


class Guest(Vm):
    """A machine that boots an image's ISO, under UEFI unless said otherwise."""

    def __init__(
        self,
        name: str,
        iso: str,
        disks: typing.Sequence[str] = (),
        nics: typing.Sequence[str] = (),
        control: bool = True,
        arguments: typing.Sequence[str] = (),
        machine: str = "q35",
        qemu: str = "",
        accel: str = "",
        memory: int = 256,
        firmware: str = "uefi",
        variables: str = "",
        medium: str = "-device ide-cd,drive=iso,bootindex=0",
        nic_device: str = "virtio-net-pci,romfile=",
    ) -> None:
        """`disks` are raw images for virtio-blk; `nics` are QEMU's -netdev values without the id, for virtio-net, in
        the order of the guest's names; `control` adds a last NIC, through which the probe takes commands and which
        has neither a router nor a DNS server.

        `memory` is in MiB; `firmware` is "uefi", "bios" or the file of another UEFI firmware; `variables` is the
        file of UEFI variables with which each start begins; `medium` plugs in the drive `iso`, to which the
        machine may write and of which nothing is kept; `nic_device` is the device of each NIC; `qemu` is a program
        that takes QEMU's arguments; `accel` is "tcg" for a test that must not have KVM, whose own clock init takes
        instead of asking a server."""
        self.port = free_port()
        self.variables = variables or VARIABLES
        options = [f"-m {memory}"]
        if firmware != "bios":
            code = FIRMWARE if firmware == "uefi" else firmware
            options += [f"-drive if=pflash,format=raw,unit=0,readonly=on,file={code}"]
            options += ["-drive if=pflash,format=raw,unit=1,file=variables.fd"]
        options += [*arguments, f"-drive if=none,id=iso,format=raw,snapshot=on,file={iso}", medium]
        for number, disk in enumerate(disks):
            options += [f"-drive if=none,id=disk{number},format=raw,file={disk}"]
            options += [f"-device virtio-blk-pci,drive=disk{number}"]
        all_nics = list(nics)
        if control:
            all_nics += [f"user,restrict=on,net=10.99.0.0/24,hostfwd=tcp:127.0.0.1:{self.port}-:8080"]
        for number, nic in enumerate(all_nics):
            kind, _, rest = nic.partition(",")
            options += [f"-netdev {kind},id=nic{number},{rest}"]
            options += [f"-device {nic_device},netdev=nic{number},mac=52:54:00:00:00:{number + 1:02x}"]
        if not all_nics:
            options += ["-nic none"]
        super().__init__(name, options, machine, qemu, accel)

    def start(self, allow_reboot: bool = False) -> None:
        variables = self.machine.state_dir / "variables.fd"
        shutil.copyfile(self.variables, variables)
        variables.chmod(0o600)
        super().start(allow_reboot)

    def ready(self) -> None:
        """Waits until the probe has done what it was started with and takes commands."""
        self.wait(r"app: probe: ready", BOOT)

    def ask(self, command: str) -> str:
        """Has the probe do a command, and returns what it says."""
        status, text = self.request(command)
        t.assertEqual(status, 200, f"{self.name}: {command}: {text}")
        return text

    def refused(self, command: str) -> str:
        """Has the probe do a command that must fail, and returns the error."""
        status, text = self.request(command)
        t.assertEqual(status, 500, f"{self.name}: {command} worked: {text}")
        return text

    def tell(self, command: str) -> None:
        """Has the probe do a command after which it cannot answer."""
        try:
            status, text = self.request(command)
        except (OSError, urllib.error.URLError):
            return
        t.fail(f"{self.name}: {command} was answered with {status}: {text}")

    def request(self, command: str) -> tuple[int, str]:
        try:
            with DIRECT.open(f"http://127.0.0.1:{self.port}/", command.encode(), timeout=SOON) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def fetch(self, path: str) -> str:
        """What a web server on port 8080 of the guest answers; nothing while there is none."""
        t.assertTrue(self.running(), f"{self.name} ended before it answered")
        try:
            with DIRECT.open(f"http://127.0.0.1:{self.port}{path}", timeout=SOON) as answer:
                return str(answer.read().decode())
        except (OSError, urllib.error.URLError):
            return ""

    def asked(self, command: str, regex: str, seconds: int = SOON) -> None:
        """Has the probe do a command again and again until its words have the regular expression in them."""
        self.until(
            f"{command} with /{regex}/", lambda: re.search(regex, self.request(command)[1], re.MULTILINE), seconds
        )

    def power_button(self) -> None:
        self.monitor("system_powerdown")

    def powered_off(self) -> None:
        """Presses the power button and proves that the guest itself switched the machine off."""
        self.power_button()
        t.assertEqual(self.ended(), "guest-shutdown")
        t.assertTrue(self.said("tinyboot: shutdown: power off$"))


class Peer(Vm):
    """The machine at the other end of the wires: our kernel, BusyBox, dnsmasq, udhcpd and chronyd, with a shell on
    its console. Its wire number n is for the NIC `peer.wire(n)` of one other machine."""

    def __init__(
        self, wires: int = 1, arguments: typing.Sequence[str] = (), name: str = "peer", memory: int = 768
    ) -> None:
        self.commands = 0
        # Enough for the servers' closures, which lie in memory.
        options = [f"-m {memory} -vga none -kernel {PEER_KERNEL} -initrd {PEER_INITRAMFS}"]
        options += ["-append 'console=ttyS0 quiet panic=-1'", *arguments]
        self.sockets: list[str] = []
        for number in range(wires):
            path = os.path.abspath(f"wire{number}-{free_port()}")
            self.sockets.append(path)
            options += [f"-netdev stream,id=nic{number},server=on,addr.type=unix,addr.path={path}"]
            options += [f"-device virtio-net-pci,netdev=nic{number},romfile=,mac=52:54:00:00:01:{number + 1:02x}"]
        super().__init__(name, options)
        self.start()
        self.wait("peer: up", BOOT)
        for number in range(wires):
            self.run(f"ip address add 10.{number}.0.1/24 dev eth{number}; ip link set eth{number} up")

    def wire(self, number: int = 0) -> str:
        return f"stream,server=off,addr.type=unix,addr.path={self.sockets[number]}"

    def serve_time(self) -> None:
        """An NTP server on the first wire with the peer's own clock, and a DHCP server that names it."""
        self.run("echo 'local stratum 5' > /etc/chrony.conf; echo 'allow all' >> /etc/chrony.conf")
        self.run("echo 'cmdport 0' >> /etc/chrony.conf; mkdir -p /var/lib/chrony /run/chrony")
        self.run("chronyd -x -u root -f /etc/chrony.conf")
        self.run(
            "dnsmasq --user=root --group=root --no-resolv --no-hosts --no-ping --port=0 --dhcp-range=10.0.0.50,10.0.0.60,1h"
            " --dhcp-leasefile=/tmp/leases --dhcp-authoritative --dhcp-option=option:ntp-server,10.0.0.1"
        )

    def run(self, command: str) -> str:
        """Runs a shell command on the peer, waits for its end and returns what the console said."""
        self.commands += 1
        begin = self.read
        # The terminal echoes the command, in which the mark is written in another way.
        self.machine.send_console(f"{command}; echo ended-''{self.commands}\n")
        end = self.wait(f"ended-{self.commands}(?!\\d)").start()
        return self.machine.get_console_log()[begin:end]


def make_disk(path: str, command: str, mebibytes: int = 128) -> str:
    """A sparse raw image on which `command`, with {} for the image, has run; its absolute path."""
    path = os.path.abspath(path)
    with open(path, "wb") as image:
        image.truncate(mebibytes << 20)
    if command:
        subprocess.run(shlex.split(command.replace("{}", path)), check=True, stdout=subprocess.DEVNULL)
    return path


def btrfs(path: str, label: str) -> str:
    return make_disk(path, f"{MKFS_BTRFS} -q -L {label} {{}}")


def ext(version: int, path: str, label: str) -> str:
    return make_disk(path, f"{MKFS_EXT} -q -t ext{version} -L {label} {{}}", 64)


def digest(path: str) -> str:
    """SHA-256 of a file."""
    with open(path, "rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()
