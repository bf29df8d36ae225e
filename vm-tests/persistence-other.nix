# Which disk becomes /persistent, and that no other disk is touched: labels that only look alike, other file systems,
# swap, partitions; no disk at all, and one that comes late.
{
  mkTest,
  probeImage,
}:
mkTest {
  name = "persistence-other";
  constants.ISO = probeImage.isoFile;
  script = ''
    def swap(path: str) -> str:
        """A swap area labelled tinyboot, as mkswap makes it."""
        path = make_disk(path, "", 16)
        with open(path, "r+b") as image:
            image.seek(1024)
            pages = (16 << 20) // 4096 - 1
            image.write((1).to_bytes(4, "little") + pages.to_bytes(4, "little") + bytes(4) + bytes(range(16)) + b"tinyboot")
            image.seek(4086)
            image.write(b"SWAPSPACE2")
        return path

    def partitioned(path: str) -> str:
        """A partition table with one Linux partition."""
        path = make_disk(path, "", 16)
        with open(path, "r+b") as image:
            image.seek(446)
            image.write(bytes([0, 0, 2, 0, 0x83, 0, 2, 0]) + (2048).to_bytes(4, "little") + (16384).to_bytes(4, "little"))
            image.seek(510)
            image.write(b"\x55\xaa")
        return path

    others = [
        btrfs("backup", "tinyboot-backup"),
        btrfs("second", "tinyboot2"),
        make_disk("fat", f"{MKFS_VFAT} -n tinyboot {{}}", 16),
        swap("swap"),
        partitioned("partitioned"),
        ext(4, "backup4", "tinyboot-backup"),
    ]
    before = [digest(path) for path in others]
    late = ext(4, "late", "tinyboot")
    latest = btrfs("latest", "tinyboot")
    root_ports = [f"-device pcie-root-port,id=port{number},chassis={number + 1}" for number in range(2)]
    machine = Guest("machine", ISO, disks=others, arguments=root_ports)

    def plug(path: str, port: int) -> None:
        machine.monitor(f"drive_add 0 if=none,id=late{port},format=raw,file={path}")
        answer = machine.monitor(f"device_add virtio-blk-pci,drive=late{port},bus=port{port}")
        t.assertNotIn("Error", answer)

    with subtest("without its disk the machine runs, and refuses to write what would be lost"):
        machine.start()
        machine.wait(r'tinyboot: storage: no file system labelled "tinyboot" was found', BOOT)
        machine.ready()
        t.assertIn("Read-only file system", machine.refused("write /persistent/x 1"))
        t.assertIn("Read-only file system", machine.refused("mkdir /persistent/folder"))

    with subtest("a disk that comes late is taken, ext4 as well"):
        plug(late, 0)
        machine.wait(r"tinyboot: storage: /persistent is ext4 on /dev/vdg")
        machine.ask("write /persistent/x 1")
        t.assertEqual(machine.ask("cat /persistent/x"), "1")

    with subtest("a further one is left alone, and the log says so"):
        plug(latest, 1)
        machine.wait(
            r'tinyboot: storage: /dev/vdh also has a file system labelled "tinyboot"; /persistent stays on /dev/vdg'
        )
        t.assertEqual(machine.ask("cat /persistent/x"), "1")
        machine.powered_off()

    with subtest("the other disks are the same, byte for byte"):
        t.assertEqual([digest(path) for path in others], before)

    with subtest("with both there from the start, btrfs is taken"):
        late_digest = digest(late)
        both = Guest("both", ISO, disks=[late, latest])
        both.start()
        both.wait(r"tinyboot: storage: /persistent is btrfs on /dev/vdb", BOOT)
        both.ready()
        t.assertTrue(both.said('/dev/vda also has a file system labelled "tinyboot"; /persistent stays on /dev/vdb'))
        t.assertNotIn("x", both.ask("ls /persistent").split())
        both.ask("write /persistent/y 2")
        both.powered_off()
        t.assertEqual(digest(late), late_digest)
  '';
}
