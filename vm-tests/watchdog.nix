# A machine whose init stands still, while everything else in it goes on, is restarted by the hardware watchdog after 60 s:
# with the i6300esb that hypervisors offer and with the TCO timer of Intel's chipsets, which counts twice.
{ mkTest, probeImage }:
mkTest {
  name = "watchdog";
  constants.ISO = probeImage.isoFile;
  script = ''
    watchdogs = {
        "i6300esb": ("i6300ESB timer", "-device i6300esb"),
        "tco": ("iTCO_wdt", "-global ICH9-LPC.noreboot=false"),
    }
    for name, (timer, device) in watchdogs.items():
        with subtest(name):
            machine = Guest(name, ISO, arguments=[device, "-action watchdog=reset"])
            machine.start(allow_reboot=True)
            machine.ready()
            t.assertTrue(machine.said(f"tinyboot: power: the watchdog {timer} restarts the machine if init stands still for 60 s"))

            machine.ask("mkdir /sys/fs/cgroup/still")
            # What these files are told they do; they cannot be synced, which the probe complains of.
            machine.refused("write /sys/fs/cgroup/still/cgroup.procs 1")
            machine.refused("write /sys/fs/cgroup/still/cgroup.freeze 1")
            machine.asked("cat /sys/fs/cgroup/still/cgroup.events", "^frozen 1$")
            uptimes: list[float] = []

            def started_again() -> bool:
                if len(machine.said("app: probe: ready")) > 1:
                    return True
                try:
                    with DIRECT.open(f"http://127.0.0.1:{machine.port}/", b"cat /proc/uptime", timeout=5) as answer:
                        uptimes.append(float(answer.read().split()[0]))
                except (OSError, urllib.error.URLError):
                    pass
                return False

            machine.until("a restart", started_again, BOOT + 120)
            # Those of the boot that ended: the rest of the machine was alive all the time.
            last = max(uptimes)
            waited = last - uptimes[0]
            t.assertGreater(waited, 35, "the machine was restarted too early for a missing meal")
            t.assertLess(waited, 75, "the machine was restarted too late")
            t.assertFalse(machine.said("tinyboot: shutdown:"))
            t.assertFalse(machine.said("panic"))
            machine.powered_off()
  '';
}
