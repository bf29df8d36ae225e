# The power button: the app is asked to stop and finishes its work, the file systems are unmounted, the machine is off.
# An app that does not listen is killed after its grace period; a second press changes nothing.
{ mkTest, probeImage }:
mkTest {
  name = "acpi-poweroff";
  constants.ISO = probeImage.isoFile;
  script = ''
    disk = btrfs("disk", "tinyboot")
    machine = Guest("machine", ISO, disks=[disk])

    with subtest("an app that works for two seconds more"):
        machine.start()
        machine.ready()
        machine.ask("on-term 2")
        machine.powered_off()
        order = [
            r"tinyboot: shutdown: power button: powering off; the app has 4 s",
            r"app: probe: asked to stop",
            r"app: probe: work finished",
            r"tinyboot: app: exited with status 0",
            r"tinyboot: shutdown: /persistent unmounted",
            r"tinyboot: shutdown: power off$",
        ]
        console = machine.machine.get_console_log()
        at = [re.compile(line, re.MULTILINE).search(console) for line in order]
        t.assertTrue(all(at), f"not all of {order} were said")
        begins = [match.start() for match in at if match]
        t.assertEqual(begins, sorted(begins), "the steps of the shutdown are out of order")
        t.assertFalse(machine.said("tinyboot: shutdown: killed"))

    with subtest("an app that ignores the request, and a second press"):
        machine.start()
        machine.ready()
        t.assertEqual(machine.ask("cat /persistent/finished"), "yes")
        machine.ask("on-term ignore")
        machine.power_button()
        first = machine.wait(r"\[ *([\d.]+)\] tinyboot: shutdown: power button: powering off; the app has 4 s")
        # Long enough after the first press not to be taken for the same one.
        machine.wait("app: probe: still here")
        machine.power_button()
        killed = machine.wait(r"\[ *([\d.]+)\] tinyboot: shutdown: killed 1 process(es)? that did not stop within 4 s")
        passed = float(killed[1]) - float(first[1])
        t.assertGreaterEqual(passed, 3.9, "the app was killed before its grace period was over")
        t.assertLess(passed, 7.5, "the grace period was started again")
        t.assertEqual(machine.ended(), "guest-shutdown")
        t.assertTrue(machine.said("tinyboot: shutdown: /persistent unmounted"))
        t.assertTrue(machine.said("tinyboot: shutdown: power off$"))
  '';
}
