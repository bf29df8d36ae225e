# What is on /persistent outlives a power-off, a reboot, and, once it was synced, a power failure.
{ mkTest, probeImage }:
mkTest {
  name = "persistence";
  constants.ISO = probeImage.isoFile;
  script = ''
    disk = btrfs("disk", "tinyboot")
    machine = Guest("machine", ISO, disks=[disk])

    machine.start()
    machine.wait(r"tinyboot: storage: /persistent is btrfs on /dev/vda", BOOT)
    machine.ready()
    machine.ask("mkdir /persistent/folder")
    machine.ask("write /persistent/folder/first one")
    t.assertEqual(machine.ask("count /persistent/boots"), "1")
    machine.powered_off()

    with subtest("after a power-off"):
        machine.start(allow_reboot=True)
        machine.ready()
        t.assertEqual(machine.ask("cat /persistent/folder/first"), "one")
        t.assertEqual(machine.ask("count /persistent/boots"), "2")
        machine.ask("write /persistent/folder/second two")

    with subtest("after a reboot"):
        machine.machine.send_key("ctrl-alt-delete")
        machine.wait("tinyboot: shutdown: reboot")
        machine.ready()
        t.assertEqual(machine.ask("cat /persistent/folder/second"), "two")
        t.assertEqual(machine.ask("count /persistent/boots"), "3")
        machine.ask("write /persistent/folder/third three")

    with subtest("after a power failure"):
        machine.crash()
        machine.start()
        machine.ready()
        t.assertEqual(machine.ask("cat /persistent/folder/third"), "three")
        t.assertEqual(machine.ask("count /persistent/boots"), "4")

    machine.powered_off()
  '';
}
