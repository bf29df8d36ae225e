# What a machine costs that has nothing to do: init's memory, and how often it wakes up.
{ mkTest, probeImage }:
mkTest {
  name = "idle";
  constants.ISO = probeImage.isoFile;
  script = ''
    WINDOW = 60

    disk = btrfs("disk", "tinyboot")
    # With what init has to look after: a lease, a disk, a watchdog, the guest agent's port.
    arguments = [
        "-device i6300esb",
        "-chardev socket,id=agent,path=agent.sock,server=on,wait=off",
        "-device virtio-serial-pci,id=agent",
        "-device virtserialport,bus=agent.0,chardev=agent,name=org.qemu.guest_agent.0",
    ]
    machine = Guest("machine", ISO, disks=[disk], arguments=arguments)
    machine.start()
    machine.ready()
    machine.says("tinyboot: net: eth0: BOUND to 10\\.99\\.0\\.")
    machine.says("tinyboot: agent: answers the host")
    machine.says("tinyboot: power: the watchdog i6300ESB timer restarts")
    # The search for another machine with the address is a matter of the first seconds.
    machine.asked("cat /proc/uptime", r"^([2-9]\d|\d{3,})\.")

    with subtest("init wakes up once a second at most, and needs 4 MiB at most"):
        # The guest itself waits for the end of the window: how much happens in it is what is measured.
        machine.ask(f"idle {WINDOW}")
        found = machine.wait(r"app: probe: idle: woke (\d+) times in ([\d.]+) s, rss (\d+) ", WINDOW + BOOT)
        times, seconds, memory = int(found[1]), float(found[2]), int(found[3])
        t.assertGreaterEqual(seconds, WINDOW)
        t.assertLessEqual(times, seconds, "init wakes up more than once a second")
        # A watchdog that is not fed would be no machine at rest.
        t.assertGreaterEqual(times, 2)
        t.assertLessEqual(memory, 4096, "init needs more than 4 MiB")

    machine.powered_off()
  '';
}
