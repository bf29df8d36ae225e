# Ctrl-Alt-Del: the same orderly stop as the power button's, and then the machine starts again.
{ mkTest, probeImage }:
mkTest {
  name = "ctrl-alt-del";
  constants.ISO = probeImage.isoFile;
  script = ''
    disk = btrfs("disk", "tinyboot")
    machine = Guest("machine", ISO, disks=[disk])

    with subtest("without a firmware that starts it again, the guest has reset the machine"):
        machine.start()
        machine.ready()
        t.assertEqual(machine.ask("count /persistent/boots"), "1")
        machine.machine.send_key("ctrl-alt-delete")
        t.assertEqual(machine.ended(), "guest-reset")

    with subtest("the app finishes its work, and the next boot counts one higher"):
        machine.start(allow_reboot=True)
        machine.ready()
        t.assertEqual(machine.ask("count /persistent/boots"), "2")
        machine.ask("on-term 2")
        machine.machine.send_key("ctrl-alt-delete")
        machine.wait(r"tinyboot: shutdown: Ctrl-Alt-Del: rebooting; the app has 4 s")
        machine.wait(r"app: probe: work finished")
        machine.wait(r"tinyboot: shutdown: /persistent unmounted")
        machine.wait(r"tinyboot: shutdown: reboot")
        machine.ready()
        t.assertEqual(machine.ask("count /persistent/boots"), "3")
        t.assertEqual(machine.ask("cat /persistent/finished"), "yes")

    with subtest("the later of two requests wins, and the grace period does not start again"):
        machine.ask("on-term ignore")
        machine.power_button()
        first = machine.wait(r"\[ *([\d.]+)\] tinyboot: shutdown: power button: powering off")
        machine.machine.send_key("ctrl-alt-delete")
        machine.wait(r"tinyboot: shutdown: Ctrl-Alt-Del: rebooting")
        killed = machine.wait(r"\[ *([\d.]+)\] tinyboot: shutdown: killed 1 process(es)? that did not stop within 4 s")
        t.assertLess(float(killed[1]) - float(first[1]), 7.5)
        machine.wait(r"tinyboot: shutdown: reboot")
        machine.ready()
        t.assertEqual(machine.ask("count /persistent/boots"), "4")

    machine.powered_off()
  '';
}
