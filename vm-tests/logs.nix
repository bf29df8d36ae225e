# Where lines go: kernel, init and app on the console, each once; all of them in memory, bounded; and to a syslog server
# that nobody waits for.
{ mkTest, mkProbeImage }:
let
  image =
    name: syslog:
    (mkProbeImage {
      inherit name;
      settings.log.syslog = syslog;
    }).isoFile;
in
mkTest {
  name = "logs";
  constants = {
    # The host, as QEMU's user network has it.
    UDP = image "udp" "udp://10.98.0.2:5514";
    TCP = image "tcp" "tcp://10.98.0.2:5601";
  };
  script = ''
    HOST = "user,net=10.98.0.0/24"
    HEAD = r"<(\d+)>1 (\S+) (\S+) (\S+) (\S+) - (\[timeQuality tzKnown=\"1\" isSynced=\"[01]\"\]) "

    received: list[str] = []


    def has(regex: str) -> bool:
        return any(re.search(regex, message) for message in received)


    def stored(machine: Guest) -> str:
        log = machine.ask("cat /run/tinyboot/log")
        t.assertLessEqual(len(log.encode()), 128 * 1024)
        return log


    with subtest("datagrams: kernel, init and app, with the time at which they said it"):
        listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        listener.bind(("127.0.0.1", 5514))
        listener.setblocking(False)

        def datagrams() -> bool:
            while True:
                try:
                    received.append(listener.recv(4096).decode())
                except BlockingIOError:
                    return True

        machine = Guest("udp", UDP, disks=[make_disk("blank", "", 16)], nics=[HOST])
        machine.start()
        machine.ready()
        machine.ask("say greetings")
        machine.until("the app's line", lambda: datagrams() and has(r" udp - - \[.*\] probe: greetings$"))
        for sent in received:
            t.assertRegex(sent, f"^{HEAD}")
        t.assertTrue(has(r"^<[0-7]>1 \S+ \S+ kernel - - .* Linux version "))
        t.assertTrue(has(r"^<30>1 \S+ \S+ tinyboot 1 - .* app: started /app/probe "))
        t.assertTrue(has(r"^<14>1 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z udp udp - - .* probe: ready$"))

    with subtest("the serial port has the speed of the image's command line"):
        t.assertEqual(machine.ask("speed /dev/ttyS0"), "115200")

    with subtest("what the kernel complains about is on the console once, the rest of it in memory alone"):
        machine.refused("mount ext4 /dev/vda /tmp/none")
        machine.wait(r"\[ *[\d.]+\] kernel: EXT4-fs \(vda\): VFS: Can't find ext4 filesystem")
        machine.until("the kernel's line", lambda: datagrams() and has(r"^<3>1 .* kernel - - .*Can't find ext4"))
        machine.ask("say afterwards")
        machine.wait(r"app: probe: afterwards")
        t.assertEqual(len(machine.said("Can't find ext4 filesystem")), 1)
        t.assertEqual(machine.said("Linux version"), [])
        kept = stored(machine)
        for line in [
            r"\] kernel: Linux version ",
            r"\] kernel: EXT4-fs \(vda\): VFS: Can't find ext4",
            r"\] tinyboot: app: started ",
            r"\] app: probe: afterwards\n",
        ]:
            t.assertRegex(kept, line)

    with subtest("memory for lines is bounded, and has the last ones"):
        machine.ask("flood 4000")
        machine.until("the last line in memory", lambda: "probe: line 3999 " in stored(machine))
        older = machine.ask("cat /run/tinyboot/log.old")
        t.assertLessEqual(len(older.encode()), 128 * 1024)
        numbers = [int(number) for number in re.findall(r"probe: line (\d+) ", older + stored(machine))]
        t.assertEqual(numbers, list(range(numbers[0], 4000)))
        t.assertGreater(len(numbers), 1000)
        t.assertEqual(machine.ask("ls /run/tinyboot").splitlines(), ["log", "log.old", "notify", "status.json"])

    with subtest("the last lines before the end go out too"):
        # The flood filled this socket's buffer.
        datagrams()
        machine.ask("say there is room again")
        machine.until("a line after the flood", lambda: datagrams() and has(r"probe: there is room again$"))
        machine.powered_off()
        datagrams()
        t.assertTrue(has(r"tinyboot 1 - .* shutdown: power button: powering off"))
        listener.close()

    with subtest("a server that is not there holds nobody up, and what found no room is counted"):
        received.clear()
        machine = Guest("tcp", TCP, nics=[HOST])
        machine.start()
        machine.ready()
        machine.says(r"tinyboot: log: tcp://10\.98\.0\.2:5601 cannot be reached: Connection refused")
        machine.ask("flood 4000")
        machine.ask("say the flood is over")
        machine.wait(r"app: probe: the flood is over")

        server = socket.create_server(("127.0.0.1", 5601))
        server.settimeout(120)
        stream, _ = server.accept()
        stream.settimeout(60)
        data = b""

        def messages() -> bool:
            """Takes the messages that are whole, each after its length."""
            global data
            data += stream.recv(65536)
            while length := re.match(rb"(\d+) ", data):
                end = length.end() + int(length[1])
                if len(data) < end:
                    break
                received.append(data[length.end() : end].decode())
                data = data[end:]
            return True

        lost = r"<28>1 .* log: (\d+) lines were not sent"
        machine.until("how many were lost", lambda: messages() and has(lost))
        machine.wait(r"tinyboot: log: lines go to tcp://10\.98\.0\.2:5601")
        for sent in received:
            t.assertRegex(sent, f"^{HEAD}")
        arrived = [int(n) for text in received for n in re.findall(r"probe: line (\d+) ", text)]
        # The first ones are kept: they tell how it began.
        t.assertEqual(arrived[:1000], list(range(1000)))
        machine.ask("say all is well")
        machine.until("a line after that", lambda: messages() and has(r"probe: all is well$"))
        machine.powered_off()
  '';
}
