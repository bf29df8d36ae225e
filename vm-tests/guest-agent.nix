# The QEMU guest agent's protocol on its virtio-serial port: what libvirt and Proxmox ask, freezing around a snapshot,
# and the ways to stop. The bytes on the socket are the real ones.
{ mkTest, probeImage }:
mkTest {
  name = "guest-agent";
  constants.ISO = probeImage.isoFile;
  script = ''
    import json
    import threading

    class Host:
        """A connection to the agent, as a hypervisor's tools make it."""

        def __init__(self, path: str) -> None:
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(SOON)
            self.socket.connect(path)

        def close(self) -> None:
            self.socket.close()

        def send(self, data: bytes) -> None:
            self.socket.sendall(data)

        def line(self) -> bytes:
            line = b""
            while not line.endswith(b"\n"):
                byte = self.socket.recv(1)
                t.assertTrue(byte, f"the connection ended after {line!r}")
                line += byte
            return line

        def request(self, command: str, **arguments: typing.Any) -> typing.Any:
            # Without a line's end, as Proxmox sends it.
            self.send(json.dumps({"execute": command, "arguments": arguments}).encode())
            return json.loads(self.line())

        def ask(self, command: str, **arguments: typing.Any) -> typing.Any:
            answer = self.request(command, **arguments)
            t.assertIn("return", answer, command)
            return answer["return"]

        def fails(self, command: str, **arguments: typing.Any) -> typing.Any:
            answer = self.request(command, **arguments)
            t.assertIn("error", answer, command)
            return answer["error"]

        def sync(self, number: int) -> None:
            """Whatever the connection before left behind."""
            self.send(b'\xff{"execute": "guest-sync-delimited", "arguments": {"id": %d}}\n' % number)
            while self.socket.recv(1) != b"\xff":
                pass
            t.assertEqual(json.loads(self.line()), {"return": number})

    def stat(machine: Guest) -> tuple[float, float]:
        """Seconds since boot, and seconds of processor time of init."""
        fields = machine.ask("cat /proc/1/stat").rsplit(")", 1)[1].split()
        return float(machine.ask("cat /proc/uptime").split()[0]), (int(fields[11]) + int(fields[12])) / 100

    def sleepers(machine: Guest) -> bool:
        """Whether a thread of the probe waits for a file system."""
        probe = next(line.split()[0] for line in machine.ask("processes").splitlines() if line.endswith(" probe"))
        states = []
        for thread in machine.ask(f"ls /proc/{probe}/task").splitlines():
            status, text = machine.request(f"cat /proc/{probe}/task/{thread}/stat")
            # A thread may end between the two steps.
            states += [text.rsplit(")", 1)[1].split()[0]] if status == 200 else []
        return "D" in states

    path = os.path.abspath(f"agent-{free_port()}")
    controller = "-device virtio-serial-pci,id=agent"
    port = [
        f"-chardev socket,id=agent,path={path},server=on,wait=off",
        "-device virtserialport,bus=agent.0,chardev=agent,name=org.qemu.guest_agent.0",
    ]
    disk = btrfs("disk", "tinyboot")
    # Under KVM the host's clock would overrule the agent's time.
    machine = Guest("machine", ISO, disks=[disk], accel="tcg", arguments=[controller, *port])
    machine.start(allow_reboot=True)
    machine.ready()
    t.assertTrue(machine.said(r"tinyboot: agent: answers the host on vport"))

    with subtest("the agent answers in the protocol's form"):
        host = Host(path)
        host.sync(1)
        host.send(b'{"execute": "guest-sync", "arguments": {"id": 123456789012345}, "id": "x"}\n')
        t.assertEqual(json.loads(host.line()), {"return": 123456789012345, "id": "x"})
        t.assertEqual(host.ask("guest-ping"), {})
        names = [command["name"] for command in host.ask("guest-info")["supported_commands"]]
        t.assertIn("guest-fsfreeze-freeze", names)
        t.assertEqual(host.fails("guest-exec", path="/bin/sh")["class"], "CommandNotFound")
        t.assertEqual(host.fails("guest-shutdown", mode="now")["class"], "GenericError")
        host.send(b"what is this?\n")
        t.assertEqual(json.loads(host.line())["error"]["class"], "GenericError")

    with subtest("it tells what the machine is"):
        osinfo = host.ask("guest-get-osinfo")
        t.assertEqual((osinfo["id"], osinfo["machine"]), ("tinyboot", "x86_64"))
        t.assertIn(osinfo["kernel-release"], machine.ask("cat /proc/version"))
        t.assertEqual(host.ask("guest-get-host-name"), {"host-name": "probe"})
        links = {link["name"]: link for link in host.ask("guest-network-get-interfaces")}
        t.assertEqual(links["eth0"]["hardware-address"], "52:54:00:00:00:01")
        address = {"ip-address": "10.99.0.15", "ip-address-type": "ipv4", "prefix": 24}
        t.assertIn(address, links["eth0"]["ip-addresses"])
        t.assertGreater(links["eth0"]["statistics"]["rx-bytes"], 0)

    with subtest("it tells what KubeVirt and libvirt ask for"):
        [persistent, iso] = host.ask("guest-get-fsinfo")
        t.assertEqual(
            {name: persistent[name] for name in ["name", "mountpoint", "type"]},
            {"name": "vda", "mountpoint": "/persistent", "type": "btrfs"},
        )
        t.assertEqual((iso["mountpoint"], iso["type"]), ("/iso", "iso9660"))
        t.assertGreater(persistent["total-bytes"], persistent["used-bytes"])
        [place] = persistent["disk"]
        t.assertEqual((place["bus-type"], place["dev"]), ("virtio", "/dev/vda"))
        t.assertGreater(place["pci-controller"]["slot"], 0)
        names = [disk["name"] for disk in host.ask("guest-get-disks")]
        t.assertIn("/dev/vda", names)
        t.assertIn("/dev/sr0", names)
        t.assertEqual(host.ask("guest-get-vcpus")[0], {"logical-id": 0, "online": True, "can-offline": False})
        t.assertEqual(sorted(host.ask("guest-get-load")), ["load15m", "load1m", "load5m"])
        t.assertEqual(host.ask("guest-get-users"), [])
        t.assertEqual(host.ask("guest-get-timezone"), {"zone": "UTC", "offset": 0})

    with subtest("it sets the clock"):
        before = host.ask("guest-get-time")
        t.assertLess(abs(before / 1e9 - int(machine.ask("time"))), 30)
        host.ask("guest-set-time", time=before + 3600 * 10**9)
        t.assertGreaterEqual(int(machine.ask("time")), before // 10**9 + 3600)
        machine.says(r"tinyboot: clock: set to .* by the guest agent")
        t.assertIn("floor", host.fails("guest-set-time", time=10**9)["desc"])
        # The RTC was set with it.
        host.ask("guest-set-time")
        t.assertGreaterEqual(int(machine.ask("time")), before // 10**9 + 3600)

    with subtest("a connection that breaks off leaves nothing behind and keeps nobody busy"):
        host.send(b'{"execute": "guest-ping", "argu')
        host.close()
        begin, used = stat(machine)
        machine.until("some seconds", lambda: stat(machine)[0] > begin + 4)
        end, total = stat(machine)
        t.assertLess(total - used, (end - begin) / 4, "init is busy")
        for number in range(2, 6):
            host = Host(path)
            host.sync(number)
            host.close()

    with subtest("nothing is written while the file system is frozen"):
        host = Host(path)
        host.sync(7)
        t.assertEqual(host.ask("guest-fsfreeze-status"), "thawed")
        t.assertEqual(host.ask("guest-fsfreeze-freeze-list", mountpoints=["/"]), 0)
        t.assertEqual(host.ask("guest-fsfreeze-freeze"), 1)
        t.assertEqual(host.ask("guest-fsfreeze-status"), "frozen")
        writer = threading.Thread(target=machine.ask, args=["write /persistent/during one"])
        writer.start()
        machine.until("a write that waits", lambda: sleepers(machine))
        image = digest(disk)
        t.assertEqual(host.ask("guest-fsfreeze-status"), "frozen")
        t.assertEqual(digest(disk), image)
        t.assertTrue(writer.is_alive())
        t.assertEqual(host.ask("guest-fsfreeze-thaw"), 1)
        writer.join(SOON)
        t.assertFalse(writer.is_alive())
        t.assertEqual(machine.ask("cat /persistent/during"), "one")
        t.assertEqual(host.ask("guest-fsfreeze-thaw"), 0)

    with subtest("a host that forgets to thaw does not stop the machine"):
        t.assertEqual(host.ask("guest-fsfreeze-freeze"), 1)
        host.close()
        machine.says(r"tinyboot: agent: /persistent was frozen for 60 s and is thawed", BOOT)
        machine.ask("write /persistent/after two")
        host = Host(path)
        host.sync(8)
        t.assertEqual(host.ask("guest-fsfreeze-status"), "thawed")

    with subtest("reboot"):
        machine.wait(r"$")
        host.send(b'{"execute": "guest-shutdown", "arguments": {"mode": "reboot"}}\n')
        machine.wait(r"tinyboot: shutdown: guest agent: rebooting")
        machine.wait(r"tinyboot: shutdown: reboot")
        machine.ready()
        host.close()
        host = Host(path)
        host.sync(9)

    with subtest("power off, with a file system that is frozen"):
        machine.ask("on-term 1")
        t.assertEqual(host.ask("guest-fsfreeze-freeze"), 1)
        host.send(b'{"execute": "guest-shutdown"}\n')
        machine.wait(r"tinyboot: shutdown: guest agent: powering off; the app has 4 s")
        t.assertEqual(machine.ended(), "guest-shutdown")
        t.assertTrue(machine.said(r"tinyboot: agent: /persistent is thawed after"))
        t.assertTrue(machine.said(r"app: probe: work finished"))
        t.assertTrue(machine.said(r"tinyboot: shutdown: /persistent unmounted"))
        host.close()

    with subtest("a port that is plugged in later"):
        late = Guest("late", ISO, arguments=[controller])
        late.start()
        late.ready()
        t.assertFalse(late.said(r"tinyboot: agent: answers"))
        late.monitor(f"chardev-add socket,id=agent,path={path}-late,server=on,wait=off")
        late.monitor("device_add virtserialport,bus=agent.0,chardev=agent,name=org.qemu.guest_agent.0")
        late.says(r"tinyboot: agent: answers the host on vport")
        host = Host(f"{path}-late")
        host.sync(10)
        host.send(b'{"execute": "guest-shutdown", "arguments": {"mode": "halt"}}\n')
        t.assertEqual(late.ended(), "guest-shutdown")
  '';
}
