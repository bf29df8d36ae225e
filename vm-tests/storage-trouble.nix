# Disks in a bad state: damaged superblocks are named and left alone, and one that is full costs only what does not fit.
{ mkTest, probeImage }:
mkTest {
  name = "storage-trouble";
  constants.ISO = probeImage.isoFile;
  script = ''
    def damaged(path: str, at: int, count: int) -> str:
        """Overwrites bytes of a disk."""
        with open(path, "r+b") as disk:
            disk.seek(at)
            disk.write(b"\xa5" * count)
        return path

    # Wrong in a field, so that the checksum is too; and with nothing left that names a file system.
    bad = [
        damaged(btrfs("sum-btrfs", "tinyboot"), 0x10100, 8),
        damaged(btrfs("gone-btrfs", "tinyboot"), 0x10000, 4096),
        damaged(ext(4, "sum-ext4", "tinyboot"), 0x404, 4),
        damaged(ext(4, "gone-ext4", "tinyboot"), 0x400, 1024),
    ]
    before = [digest(path) for path in bad]
    good = ext(4, "good", "tinyboot")
    machine = Guest("machine", ISO, disks=[*bad, good])

    with subtest("damaged superblocks are named, and the next disk is taken"):
        machine.start()
        machine.wait(r"tinyboot: storage: the btrfs on /dev/vda cannot be mounted on /persistent: .*; it is left as it is", BOOT)
        machine.wait(r"tinyboot: storage: the ext4 on /dev/vdc cannot be mounted on /persistent: .*; it is left as it is")
        machine.wait(r"tinyboot: storage: /persistent is ext4 on /dev/vde")
        machine.ready()
        machine.ask("write /persistent/x 1")

    with subtest("the program is told when the file system is full, and stops in order"):
        machine.ask("fill /persistent")
        t.assertIn("No space left on device", machine.refused("write /persistent/y 1"))
        machine.powered_off()
        t.assertTrue(machine.said("tinyboot: shutdown: /persistent unmounted"))

    with subtest("what init cannot keep there it says, and goes on"):
        # The one more link has a lease that is not on the disk yet.
        again = Guest("again", ISO, disks=[*bad, good], nics=["user,restrict=on"])
        again.start()
        again.wait(r"tinyboot: net: eth\d: the lease cannot be saved: No space left on device", BOOT)
        again.says(r"app: probe: ready", BOOT)
        t.assertEqual(again.ask("cat /persistent/x"), "1")
        again.powered_off()
        t.assertTrue(again.said("tinyboot: shutdown: /persistent unmounted"))

    with subtest("the damaged disks are the same, byte for byte"):
        t.assertEqual([digest(path) for path in bad], before)
  '';
}
