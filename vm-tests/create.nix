# A blank disk becomes /persistent where the image asks for it; what is not provably blank stays as it is, byte for byte.
{
  mkTest,
  mkProbeImage,
  probeImage,
  btrfs-progs,
}:
let
  image = mkProbeImage {
    name = "create";
    # For a controller without a disk.
    hardware = [ "nvme" ];
    settings = {
      app.gracePeriod = 4;
      storage.create = true;
      # So that the program waits for it, however slow this host is.
      storage.deadline = 300;
    };
  };
in
mkTest {
  name = "create";
  constants = {
    ISO = image.isoFile;
    WITHOUT = probeImage.isoFile;
    BTRFS = "${btrfs-progs}/bin/btrfs";
  };
  script = ''
    def with_bytes(name: str, mebibytes: int, at: int, content: bytes) -> str:
        """A disk that is blank but for some bytes."""
        path = make_disk(name, "", mebibytes)
        with open(path, "r+b") as disk:
            disk.seek(at)
            disk.write(content)
        return path

    def file_system_id(path: str) -> bytes:
        with open(path, "rb") as disk:
            disk.seek(0x10020)
            return disk.read(16)

    def plug(machine: Guest, path: str) -> None:
        machine.monitor(f"drive_add 0 if=none,id=late,format=raw,file={path}")
        answer = machine.monitor("device_add virtio-blk-pci,drive=late,bus=spare")
        t.assertNotIn("Error", answer)

    def check(path: str) -> None:
        subprocess.run([BTRFS, "check", "--readonly", path], check=True)

    port = "-device pcie-root-port,id=spare,chassis=1"
    last = (200 << 20) - 1
    table = bytes([0, 0, 2, 0, 0x83, 0, 2, 0]) + (2048).to_bytes(4, "little") + (16384).to_bytes(4, "little")
    others = [
        with_bytes("last", 200, last, b"\1"),
        with_bytes("partitioned", 200, 446, table + bytes(48) + b"\x55\xaa"),
        make_disk("fat", f"{MKFS_VFAT} -n tinyboot {{}}", 200),
        btrfs("second", "tinyboot2"),
        make_disk("small", "", 64),
    ]
    others_before = [digest(path) for path in others]
    blank = make_disk("blank", "", 300)
    machine = Guest("machine", ISO, disks=[*others, blank])

    with subtest("the blank disk becomes /persistent and is filled"):
        machine.start()
        machine.wait("tinyboot: storage: /dev/vdf was blank and has a new btrfs for /persistent", BOOT)
        machine.wait("tinyboot: storage: /persistent grew from 128 to 300 MiB", BOOT)
        machine.wait("tinyboot: storage: /persistent is btrfs on /dev/vdf", BOOT)
        machine.ready()
        t.assertEqual(machine.ask("count /persistent/boots"), "1")
        t.assertIn('"creating": false', machine.ask("cat /run/tinyboot/status.json"))
        machine.powered_off()
        check(blank)

    with subtest("what another machine writes to a disk after it was read is seen on the disk"):
        shared = make_disk("shared", "", 200)
        throttled = ["-drive", f"if=none,id=slow,format=raw,throttling.bps-read=4000000,file={shared}", "-device virtio-blk-pci,drive=slow"]
        # It has room for all that it read.
        reader = Guest("reader", ISO, arguments=throttled, memory=768)
        reader.start()
        reader.wait("tinyboot: storage: .* of the 200 MiB of /dev/vda are blank so far", BOOT)
        with open(shared, "r+b") as disk:
            disk.seek(0x10000)
            disk.write(b"raw")
        reader.wait("tinyboot: storage: /dev/vda does not become /persistent: it is not blank: there is something at byte 65536", BOOT)
        reader.crash()
        with open(shared, "rb") as written:
            t.assertEqual(sum(byte != 0 for byte in written.read()), 3)

    with subtest("the log says of each other disk why it did not"):
        why = "does not become /persistent: it"
        t.assertTrue(machine.said(f"storage: /dev/vda {why} is not blank: there is something at byte {last - 511}$"))
        t.assertTrue(machine.said(f"storage: /dev/vdc {why} is not blank: there is something at byte 0$"))
        t.assertTrue(machine.said(f"storage: /dev/vde {why} has 67108864 bytes, and 134217728 are needed$"))
        t.assertEqual(machine.said("storage: /dev/vd[bd] "), [])

    with subtest("it stays so"):
        machine.start()
        machine.ready()
        t.assertEqual(machine.ask("count /persistent/boots"), "2")
        t.assertEqual(machine.said("has a new btrfs| is looked through"), [])
        machine.powered_off()
        check(blank)

    with subtest("another machine's has another id and is as small as can be; a controller without a disk holds nothing up"):
        another = make_disk("another", "", 200)
        other = Guest("other", ISO, disks=[another], arguments=["-device nvme,serial=empty"])
        other.start()
        other.ready()
        t.assertIn("nvme0", other.ask("ls /sys/class/nvme"))
        # The kernel would not extend it.
        t.assertEqual(other.said("storage: /persistent (grew|is not extended)"), [])
        t.assertEqual(other.ask("count /persistent/boots"), "1")
        other.powered_off()
        check(another)
        t.assertNotEqual(file_system_id(blank), file_system_id(another))

    with subtest("a disk that comes while a blank one is read is /persistent, and the blank one stays blank"):
        slow, late = make_disk("slow", "", 128), btrfs("late", "tinyboot")
        slow_before = digest(slow)
        drive = f"-drive if=none,id=slow,format=raw,throttling.bps-read=1048576,file={slow}"
        reader = Guest("reader", ISO, arguments=[port, drive, "-device virtio-blk-pci,drive=slow"])
        reader.start()
        reader.wait("tinyboot: storage: /dev/vda is looked through", BOOT)
        plug(reader, late)
        reader.says("tinyboot: storage: /dev/vda does not become /persistent: another disk may be it, or the machine stops")
        reader.says("tinyboot: storage: /persistent is btrfs on /dev/vdb")
        reader.ready()
        t.assertEqual(reader.ask("count /persistent/boots"), "1")
        reader.powered_off()
        check(late)
        t.assertEqual(digest(slow), slow_before)

    with subtest("two blank disks stay blank, as does a third one that comes later, and so does one of a machine whose own file system is damaged"):
        pair = [make_disk("one", "", 128), make_disk("two", "", 128)]
        before = [digest(path) for path in pair]
        third = make_disk("three", "", 128)
        both = Guest("both", ISO, disks=pair, arguments=[port])
        both.start()
        both.wait("tinyboot: storage: /dev/vda, /dev/vdb are blank; none of them becomes /persistent", BOOT)
        both.ready()
        plug(both, third)
        both.asked("cat /proc/partitions", "vdc$")
        t.assertIn("Read-only file system", both.refused("write /persistent/x 1"))
        both.powered_off()
        t.assertEqual(both.said("/dev/vdc is looked through"), [])
        t.assertEqual(digest(third), before[0])
        damaged = btrfs("damaged", "tinyboot")
        with open(damaged, "r+b") as disk:
            disk.seek(0x10100)
            disk.write(b"\xff" * 8)
        before += [digest(damaged)]
        wounded = Guest("wounded", ISO, disks=[damaged, pair[0]])
        wounded.start()
        wounded.wait(r"tinyboot: storage: the btrfs on /dev/vda cannot be mounted on /persistent: .*; it is left as it is", BOOT)
        wounded.ready()
        t.assertIn("Read-only file system", wounded.refused("write /persistent/x 1"))
        wounded.powered_off()
        t.assertEqual([digest(path) for path in [*pair, damaged]], before)

    with subtest("nothing happens unasked"):
        unasked = Guest("unasked", WITHOUT, disks=[pair[0]])
        unasked.start()
        unasked.ready()
        unasked.powered_off()
        t.assertEqual(digest(pair[0]), before[0])

    with subtest("the other disks are the same, byte for byte"):
        t.assertEqual([digest(path) for path in others], others_before)
  '';
}
