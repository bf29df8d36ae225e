# Without a medium the initramfs brings the image's files: /iso is the same as on one, mounted by a loop device.
{ mkTest, formsImage }:
mkTest {
  name = "direct-boot";
  constants.NETBOOT = formsImage.netboot;
  script = ''
    # The drive that is not plugged in has no part in it.
    kernel = f"-kernel {NETBOOT}/bzImage -initrd {NETBOOT}/initramfs"
    with open(f"{NETBOOT}/cmdline") as text:
        kernel += f" -append '{text.read()}'"
    machine = Guest("machine", f"{NETBOOT}/bzImage", firmware="bios", medium="", arguments=[kernel])
    machine.start()
    machine.wait(r"tinyboot: storage: /iso is iso9660 on /dev/loop0, read-only", BOOT)
    machine.ready()
    t.assertEqual(machine.ask("cat /iso/deep/er/A-Longer-Name.txt"), "found\n")
    t.assertIn("Read-only file system", machine.refused("write /iso/new 1"))
    t.assertRegex(machine.ask("cat /proc/mounts"), r"(?m)^/dev/loop0 /iso iso9660 ro,")
    t.assertEqual(machine.ask("cat /sys/block/loop0/loop/backing_file"), "/image.iso\n")
    machine.powered_off()
    t.assertTrue(machine.said("tinyboot: shutdown: /iso unmounted"))
    t.assertEqual(machine.said("tinyboot: .*(cannot|failed|panic)"), [])
  '';
}
