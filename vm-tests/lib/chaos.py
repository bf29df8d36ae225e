# Two features or faults at once, drawn by a fixed seed, in one machine after the other on one disk. After each round the next boot
# looks for what the one before had made durable.
import itertools
import json
import random

# What must hold with each of them, whatever else happens. docs/seams.md has this table, and the next one.
HOLDS = {
    "watchdog": "an app that writes and then says WATCHDOG=1 is not killed, unless its disk hangs",
    "ready timeout": "an app that says READY=1 in time is not killed; a freeze does not count",
    "restart": "an app that ends is started again, and told to stop at the end",
    "reboot": "the pause after boots that fail grows with each, and the app's next life is told to stop at the end",
    "machine settings": "the machine keeps its own settings to the end",
    "create": "the blank disk becomes /persistent, and keeps what was fsynced",
    "grow": "the file system has the disk's size",
    "links": "each of two links in one network is BOUND",
    "DHCPv6": "the link has its address again once the fault is over",
    "freeze": "nothing is killed for a write that waits; a stop thaws first",
    "pause": "the machine goes on as before, and leases are verified",
    "hot plug": "the disk comes and goes, and /persistent stays",
    "eject": "/iso goes and comes back, and /persistent stays",
    "link": "the link is BOUND again once the cable is back",
    "syslog down": "nobody waits for the server",
    "disk full": "the app has ENOSPC; init does without its files, and stops in order",
    "disk slow": "an orderly stop writes all there is, however long it takes",
    "disk hung": "the stop gives the disk up, and is in order otherwise",
    "memory": "the app is killed and started again, never init",
    "processes": "init does without new threads, and stops in order",
    "clock": "no deadline, lease or pause follows the wall clock",
}
# Pairs that do not meet: the reason.
APART = {
    ("create", "grow"): "a disk that init made fills its device already",
    ("freeze", "disk hung"): "FIFREEZE syncs first and does not return while the disk hangs; the agent's bound is a test of its own",
    ("disk full", "disk hung"): "a disk that takes nothing is not filled",
    ("disk full", "freeze"): "filling waits until the thaw, which is the freeze alone",
    ("disk slow", "disk hung"): "one throttle",
    ("disk full", "disk slow"): "filling a slow disk takes the round's time",
    ("memory", "restart"): "one end of the app, two names",
    ("reboot", "restart"): "two values of one setting",
    ("memory", "reboot"): "the app's end by memory is one more end",
    ("memory", "processes"): "the kernel kills those who hold the processes",
}
# Pairs whose rule is another one than both rules together.
TOGETHER = {
    ("watchdog", "disk hung"): "the app may be killed: it says nothing while its write waits",
    ("freeze", "ready timeout"): "the time stands still while the disk is frozen, and begins anew with the thaw",
    ("freeze", "watchdog"): "the same",
    ("disk slow", "watchdog"): "the app may be killed if a single write takes longer than the watchdog's time",
}


def key(pair: tuple[str, str]) -> tuple[str, str]:
    return pair if pair in APART or pair in TOGETHER else (pair[1], pair[0])


PAIRS = [pair for pair in itertools.combinations(HOLDS, 2) if key(pair) not in APART]


def page() -> str:
    """The tables of docs/seams.md."""
    lines = ["| feature or fault | must hold |", "|---|---|"]
    lines += [f"| {name} | {rule} |" for name, rule in HOLDS.items()]
    lines += ["", "| together | must hold |", "|---|---|"]
    lines += [f"| {' and '.join(pair)} | {rule} |" for pair, rule in TOGETHER.items()]
    lines += ["", "| not drawn together | because |", "|---|---|"]
    lines += [f"| {' and '.join(pair)} | {reason} |" for pair, reason in APART.items()]
    return "\n".join(lines) + "\n"


# What the kernel's count of a process' memory is exact to, as in the scenario soak, and what allocators keep of a peak.
EXACT = 256 + 512
WATCHDOG = 3
READY = 20
# Of dirty data on a slow disk: more than the disk takes in the 30 s that a stop once had.
DIRTY = 12
SLOW = DIRTY * (1 << 20) // 40
# How long a stop may take: without trouble of the disk, with a disk that hangs, and with one that is slow.
STOP = {"": 40, "disk hung": 120, "disk slow": 240}


class Agent:
    """The guest agent's port, a connection for each request."""

    def __init__(self) -> None:
        self.path = os.path.abspath(f"agent-{free_port()}")

    def ask(self, command: str, **arguments: typing.Any) -> typing.Any:
        with socket.socket(socket.AF_UNIX) as host, host.makefile("rb") as answers:
            host.settimeout(SOON)
            host.connect(self.path)
            host.sendall(json.dumps({"execute": command, "arguments": arguments}).encode())
            answer = json.loads(answers.readline())
            t.assertIn("return", answer, command)
            return answer["return"]


class Round:
    """One life of the machine."""

    def __init__(self, number: int, seed: str, pair: tuple[str, str], disk: str) -> None:
        self.number, self.seed, self.pair, self.disk = number, seed, pair, disk
        self.random = random.Random(f"{seed} {pair}")
        self.agent = Agent()
        # Whether the faults are over before the stop.
        self.mends = self.random.random() < 0.5
        self.order = list(pair)
        self.random.shuffle(self.order)
        # The boots that fail are to have the other one.
        self.order.sort(key=lambda name: name == "reboot")
        self.work = f"/persistent/work{number}"
        self.journals = 0
        self.starts = 1
        self.dirty = 0
        # Names of the faults that are on.
        self.on: set[str] = set()
        self.known = ["0"] * 4
        self.machine = self.make()

    def has(self, name: str) -> bool:
        return name in self.pair

    def make(self) -> Guest:
        # The image has what it needs for `create`; here alone is a blank disk.
        settings = {"app.onExit": "restart", "app.longestPause": "1"}
        if self.has("reboot"):
            settings = {"app.onExit": "reboot", "app.longestPause": "3"}
        if self.has("watchdog"):
            settings["app.watchdog"] = str(WATCHDOG)
        if self.has("ready timeout"):
            settings["app.readyTimeout"] = str(READY)
        if self.has("machine settings"):
            settings["network.hostName"] = "chaos"
        if self.has("create"):
            self.disk = make_disk("blank", "", 256)
        if self.has("grow"):
            settings["storage.grow"] = "true"
            with open(self.disk, "r+b") as image:
                image.truncate(os.path.getsize(self.disk) + (16 << 20))
        if self.has("syslog down"):
            # The network takes it and nobody answers.
            settings["log.syslog"] = "tcp://10.99.0.77:601"
        # In the order of the guest's names; the last one is for the commands.
        nics: list[str] = []
        wire: list[str] = []
        if self.has("links"):
            nics = ["hubport,hubid=0", "hubport,hubid=0"]
            wire = ["-netdev user,id=wire,restrict=on,net=10.98.0.0/24 -netdev hubport,id=port,hubid=0,netdev=wire"]
        elif self.has("DHCPv6"):
            nics = [peer.wire()]
        elif self.has("link"):
            nics = ["user,restrict=on,net=10.98.0.0/24"]
        arguments = [
            f"-kernel {KERNEL} -initrd {INITRAMFS} -append '{COMMAND_LINE}'",
            "-device virtio-serial-pci,id=agent",
            f"-chardev socket,id=agent,path={self.agent.path},server=on,wait=off",
            "-device virtserialport,bus=agent.0,chardev=agent,name=org.qemu.guest_agent.0",
            "-device pcie-root-port,id=spare,chassis=1",
            f"-drive if=none,id=spare,format=raw,file={SPARE}",
        ]
        arguments += wire
        arguments += [
            f"-fw_cfg name=opt/io.systemd.credentials/tinyboot.{name},string={value}" for name, value in settings.items()
        ]
        # Under KVM the host's clock would overrule the steps.
        return Guest(
            f"round{self.number}",
            ISO,
            disks=[self.disk],
            nics=nics,
            arguments=arguments,
            accel="tcg",
            firmware="bios",
            medium="-device virtio-scsi-pci -device scsi-cd,drive=iso",
        )

    def status(self) -> typing.Any:
        return json.loads(self.machine.ask("cat /run/tinyboot/status.json"))

    def bound(self, count: int) -> bool:
        links = [link for link in self.status()["links"] if link["state"] == "BOUND"]
        return len(links) >= count

    def passes(self, seconds: int) -> None:
        """Lets the machine's own time pass."""

        def uptime() -> float:
            return float(self.machine.ask("cat /proc/uptime").split()[0])

        end = uptime() + seconds
        self.machine.until(f"{seconds} s of its time", lambda: uptime() > end, BOOT)

    def begin(self) -> None:
        """What the app does in each of its lives."""
        self.journals += 1
        self.machine.ask(f"background journal {self.work}-{self.journals} 100000")
        if self.has("watchdog"):
            if not self.has("ready timeout"):
                self.machine.ask("notify READY=1")
            self.machine.ask("feed-by-writing /persistent/alive")

    def inject(self, name: str) -> None:
        machine = self.machine
        self.on.add(name)
        if name == "restart":
            machine.tell("end 3")
            self.starts += 1
            machine.ready()
            self.begin()
        elif name == "reboot":
            self.reboots()
        elif name == "freeze":
            t.assertGreaterEqual(self.agent.ask("guest-fsfreeze-freeze"), 1)
        elif name == "pause":
            machine.monitor("stop")
            # Nothing of the guest tells how long it stood.
            poll(lambda: False, 3)
            machine.monitor("cont")
        elif name == "hot plug":
            machine.monitor("device_add virtio-blk-pci,drive=spare,bus=spare,id=late")
            machine.asked("ls /sys/block", "^vdb$")
        elif name == "eject":
            machine.monitor("eject -f iso")
            machine.until("/iso gone", lambda: self.status()["storage"]["iso"] is None)
        elif name == "link":
            machine.monitor("set_link nic0 off")
        elif name == "syslog down":
            machine.ask("flood 300")
        elif name == "disk full":
            machine.ask("background fill /persistent")
            machine.says(r"probe: fill /persistent: \d+|probe: journal .* error: .*No space", BOOT)
        elif name == "disk slow":
            self.throttle(SLOW)
        elif name == "disk hung":
            self.throttle(1)
        elif name == "memory":
            before = len(machine.said("app: probe: ready"))
            machine.request("background exhaust memory")
            self.starts += 1
            machine.until("the app's next life", lambda: len(machine.said("app: probe: ready")) > before, BOOT)
            self.begin()
        elif name == "processes":
            machine.ask("hoard")
        elif name == "clock":
            now = self.agent.ask("guest-get-time")
            for step in (7200, 86400, 0):
                self.agent.ask("guest-set-time", time=now + step * 10**9)

    def reboots(self) -> None:
        """The app fails in three boots in a row, with the other fault in each."""
        machine = self.machine
        other = [name for name in self.on if name != "reboot"]
        before = 0
        for _ in range(3):
            machine.tell("end 3")
            t.assertEqual(machine.ended(BOOT), "guest-reset")
            lines = machine.said("tinyboot: app: ended within 10 s, boot [0-9]+ in a row")
            # On a busy host an app may have run too long for that.
            count = int(lines[0].split("boot ")[1].split()[0]) if lines else 0
            if count and not self.has("disk hung"):
                t.assertEqual(count, before + 1, "boots that failed are counted wrong")
            before = count
            machine.start()
            machine.ready()
            self.begin()
            for name in other:
                if name != "disk full":
                    self.inject(name)

    def throttle(self, rate: int) -> None:
        answer = self.machine.monitor(f"block_set_io_throttle disk0 {rate} 0 0 0 0 0")
        t.assertNotIn("rror", answer)

    def mend(self, name: str) -> None:
        machine = self.machine
        self.on.discard(name)
        if name == "freeze":
            self.agent.ask("guest-fsfreeze-thaw")
        elif name == "hot plug":
            machine.monitor("device_del late")
            machine.until("the disk gone", lambda: "vdb" not in machine.ask("ls /sys/block"))
        elif name == "eject":
            machine.monitor(f"change iso {ISO} raw")
            machine.until("/iso back", lambda: self.status()["storage"]["iso"] is not None)
        elif name == "link":
            machine.monitor("set_link nic0 on")
        elif name == "disk full":
            machine.ask("empty /persistent")
        elif name in ("disk slow", "disk hung"):
            self.throttle(0)
        elif name == "processes":
            machine.ask("release")

    def figures(self) -> dict[str, int]:
        words = self.machine.ask("figures").split()
        return {name: int(value) for name, value in zip(words[::2], words[1::2])}

    def run(self) -> None:
        """Up to the power button, and the machine's end."""
        machine = self.machine
        machine.start()
        machine.ready()
        before = self.figures()
        self.begin()
        if self.has("ready timeout") and not self.has("freeze"):
            machine.ask("notify READY=1")
        for name in self.order:
            self.inject(name)
        # Longer than the watchdog's time, or than the time to be ready.
        self.passes(READY + 4 if set(self.pair) == {"freeze", "ready timeout"} else WATCHDOG + 3)
        if self.mends:
            for name in self.order:
                self.mend(name)
            if self.has("ready timeout") and self.has("freeze"):
                machine.ask("notify READY=1")
            self.still()
            self.constant(before)
        if self.on & {"disk slow"} and not self.on & {"freeze", "memory", "processes"}:
            machine.ask(f"dirty /persistent/dirty {DIRTY}")
            self.dirty = DIRTY
        if "freeze" not in self.on and machine.request("durable")[0] == 200:
            self.known = machine.ask("durable").split()
        self.stop()

    def still(self) -> None:
        """What holds again once the faults are over."""
        machine = self.machine
        if not self.has("disk hung") and not {"disk slow", "watchdog"} <= set(self.pair):
            machine.until("the app up", lambda: self.status()["app"]["starts"] >= self.starts)
            t.assertEqual(self.status()["app"]["starts"], self.starts, f"starts of the app: {self.status()['app']}")
            t.assertEqual(machine.said("tinyboot: app: it did not say"), [])
        t.assertIsNotNone(self.status()["storage"]["persistent"], "/persistent is gone")
        links = 3 if self.has("links") else 2 if self.has("link") and not self.has("DHCPv6") else 1
        machine.until(f"{links} links BOUND", lambda: self.bound(links), BOOT)
        if self.has("DHCPv6"):
            machine.until("DHCPv6", lambda: any((link["lease6"] or {}).get("address") for link in self.status()["links"]), BOOT)
        if self.has("machine settings"):
            t.assertEqual(machine.ask("cat /proc/sys/kernel/hostname").strip(), "chaos")
        if self.has("create"):
            t.assertTrue(machine.said("tinyboot: storage: .*created|tinyboot: storage: /persistent is btrfs"))
        machine.ask("write /persistent/after 1")

    def constant(self, before: dict[str, int]) -> None:
        """Memory and descriptors of process 1."""
        least = self.figures()

        def settled() -> bool:
            now = self.figures()
            for name in least:
                least[name] = min(least[name], now[name])
            return least["fds"] <= before["fds"] and least["anon"] <= before["anon"] + EXACT

        if not poll(settled, SOON):
            t.fail(f"process 1 had {before} and has {least}")

    def stop(self) -> None:
        machine = self.machine
        trouble = next((name for name in ("disk hung", "disk slow") if name in self.on), "")
        told = len(machine.said("app: probe: asked to stop"))
        machine.power_button()
        t.assertEqual(machine.ended(STOP[trouble]), "guest-shutdown")
        t.assertEqual(len(machine.said("tinyboot: shutdown: power off$")), 1, "the end was not in order")
        t.assertEqual(len(machine.said("app: probe: asked to stop")), told + 1, "the app was not told")
        t.assertEqual(machine.said("(?i)panic|kernel: .*(BUG|Oops)"), [])
        if trouble != "disk hung":
            t.assertTrue(machine.said("tinyboot: shutdown: /persistent unmounted"), "/persistent was not unmounted")
        for line in machine.said("app: probe: durable"):
            self.known = line.split("durable ")[1].split()

    def verify(self) -> None:
        """What the round had made durable, in another boot."""
        machine = Guest(
            f"after{self.number}",
            ISO,
            disks=[self.disk],
            arguments=[f"-kernel {KERNEL} -initrd {INITRAMFS} -append '{COMMAND_LINE}'"],
            accel="tcg",
            firmware="bios",
            medium="",
        )
        machine.start()
        machine.ready()
        names = machine.ask("ls /persistent").split()
        for number in range(1, self.journals + 1):
            path = f"{self.work}-{number}"
            known = self.known if number == self.journals else ["0"] * 4
            if path.removeprefix("/persistent/") in names:
                machine.ask(f"recheck {path} {' '.join(known)}")
            else:
                t.assertEqual(known, ["0"] * 4, f"the records of {path} are lost")
        if self.dirty:
            machine.ask(f"clean /persistent/dirty {self.dirty}")
        machine.ask("empty /persistent")
        machine.powered_off()


def fresh(seed: str, pair: tuple[str, str]) -> str:
    """A new disk, with the file system that the seed gives."""
    if random.Random(f"disk {seed} {pair}").random() < 0.5:
        return ext(4, "disk", "tinyboot")
    return btrfs("disk", "tinyboot")


def play(number: int, seed: str, pair: tuple[str, str], disk: str) -> str:
    """One round; what did not hold."""
    begin = time.monotonic()
    one = Round(number, seed, pair, disk)
    log_line = one.machine.machine.log
    error = ""
    try:
        one.run()
        one.verify()
    except Exception as failure:
        error = f"seed {seed}, {' and '.join(pair)}, {'mended' if one.mends else 'stopped under it'}, {one.order[0]} first: {failure}"
        log_line(f"chaos: FAILED: {error}")
        for vm in vms:
            if vm is not peer:
                vm.end()
    vms[:] = [vm for vm in vms if vm is peer]
    log_line(f"chaos: round {number}: {' and '.join(pair)}: {time.monotonic() - begin:.0f} s")
    return error


with open(SEAMS) as text:
    t.assertIn(page(), text.read(), "docs/seams.md has other tables than vm-tests/lib/chaos.py")
SPARE = make_disk("spare", "", 16)
wanted = [tuple(pair.split("+")) for pair in json.loads(ONLY)]
chosen = [pair for pair in PAIRS if not wanted or pair in wanted or pair[::-1] in wanted]
# Each pair once before any comes again, in an order that the seed gives. A seed of a failure's message, such as 2026.1, begins
# with that turn.
base, _, first = SEED.partition(".")
plan: list[tuple[str, tuple[str, str]]] = []
for turn in range(int(first or 0), int(first or 0) + int(ROUNDS) // len(chosen) + 1):
    some = list(chosen)
    random.Random(f"{base} {turn}").shuffle(some)
    plan += [(f"{base}.{turn}", pair) for pair in some]
plan = plan[: int(ROUNDS)]
peer: typing.Any = None
if any("DHCPv6" in pair for _, pair in plan):
    peer = Peer()
    peer.run("ip -6 address add 2001:db8::1/64 dev eth0")
    peer.run(
        "dnsmasq --user=root --group=root --no-resolv --no-hosts --port=0 --pid-file=/run/dnsmasq"
        " --bind-dynamic --enable-ra --dhcp-leasefile=/tmp/leases --dhcp-range=2001:db8::100,2001:db8::1ff,64,120"
    )
begin_all = time.monotonic()
failures: list[str] = []
counts: dict[str, int] = {}
for number, (seed, pair) in enumerate(plan, 1):
    if time.monotonic() - begin_all > int(SECONDS):
        break
    failed = play(number, seed, pair, fresh(seed, pair))
    counts[" and ".join(pair)] = counts.get(" and ".join(pair), 0) + 1
    if failed:
        failures.append(failed)
log.info(f"chaos: {sum(counts.values())} rounds of {len(counts)} pairs, {len(failures)} failures")
t.assertEqual(failures, [], "\n".join(failures))
