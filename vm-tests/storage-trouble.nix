# Disks in a bad state: damaged superblocks are named and left alone, one that is full costs only what does not fit, one with a
# bad block becomes read-only whatever its superblock wants, and the reason why one can only be read stands in the log.
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

    def special(name: str, options: str) -> str:
        return make_disk(name, f"{MKFS_EXT} -q -t ext4 -L tinyboot {options} {{}}", 64)

    with subtest("a superblock that wants a panic at an error gets a file system that can only be read"):
        os.makedirs("seed/folder")
        for name in ("marker-one", "marker-two"):
            with open(f"seed/folder/{name}", "w") as file:
                file.write("x")
        path = special("panic", "-e panic -b 4096 -O ^metadata_csum -d seed")
        with open(path, "rb") as image:
            blocks = iter(lambda: image.read(4096), b"")
            at = next(number for number, block in enumerate(blocks) if b"marker-one" in block and b"marker-two" in block)
        damaged(path, at * 4096, 4096)
        sick = Guest("sick", ISO, disks=[path])
        sick.start()
        sick.ready()
        sick.ask("write /persistent/before 1")
        # The bad block is skipped without an error; the kernel says so, and stops writing at once.
        t.assertEqual(sick.ask("ls /persistent/folder"), "")
        sick.says(r"kernel: EXT4-fs \(vda\): Remounting filesystem read-only")
        sick.says("tinyboot: storage: /persistent cannot be written any more: the ext4 on /dev/vda has an error")
        sick.refused("write /persistent/after 1")
        status = sick.ask("cat /run/tinyboot/status.json")
        t.assertRegex(status, r'"device": "/dev/vda",\s+"fileSystem": "ext4",\s+"readOnly": true')
        sick.powered_off()

    with subtest("what this kernel cannot write is mounted for reading, and what it does not know is named"):
        quota, folded = special("quota", "-O quota"), special("folded", "-O casefold")
        odd = Guest("odd", ISO, disks=[folded, quota])
        odd.start()
        odd.wait(r"tinyboot: storage: the ext4 on /dev/vda cannot be mounted on /persistent: this kernel does not have its feature casefold", BOOT)
        odd.wait(r"tinyboot: storage: the ext4 on /dev/vdb can be read alone, since this kernel does not have its feature quota")
        odd.wait(r"tinyboot: storage: /persistent is ext4 on /dev/vdb, read-only")
        odd.ready()
        odd.powered_off()

    with subtest("marks of two file systems are named, and nobody says that there was none"):
        both = btrfs("both", "tinyboot")
        with open(good, "rb") as source, open(both, "r+b") as disk:
            source.seek(1024)
            disk.seek(1024)
            disk.write(source.read(1024))
        unsure = Guest("unsure", ISO, disks=[both])
        unsure.start()
        unsure.wait("tinyboot: storage: /dev/vda has the marks of several file systems, btrfs and ext4; it is left as it is", BOOT)
        unsure.ready()
        t.assertEqual(unsure.said("no file system labelled"), [])
        unsure.powered_off()

    with subtest("the damaged disks are the same, byte for byte"):
        t.assertEqual([digest(path) for path in bad], before)
  '';
}
