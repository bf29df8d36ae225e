# The image as a disk: it boots without a further medium, has the image's files, and what is persistent fills the disk that
# it was copied to, once it is larger, and keeps what was written.
{
  mkTest,
  formsImage,
  qemu-utils,
}:
mkTest {
  name = "disk";
  constants = {
    RAW = "${formsImage.disk}/${formsImage.disk.raw}";
    QCOW2 = "${formsImage.disk}/${formsImage.disk.qcow2}";
    QEMU_IMG = "${qemu-utils}/bin/qemu-img";
  };
  script = ''
    disk = os.path.abspath("disk")
    shutil.copyfile(RAW, disk)
    os.chmod(disk, 0o600)
    machine = Guest("machine", RAW, medium="", disks=[disk])

    def mebibytes() -> int:
        for line in machine.ask("cat /proc/partitions").splitlines():
            words = line.split()
            if words[-1:] == ["vda3"]:
                return int(words[2]) >> 10
        t.fail("there is no vda3")

    with subtest("the formats of docs/cloud.md have the same content"):
        t.assertLess(os.path.getsize(QCOW2), 16_000_000)
        copy = os.path.abspath("copy")
        shutil.copyfile(RAW, copy)
        os.chmod(copy, 0o600)
        subprocess.run([QEMU_IMG, "resize", "-q", "-f", "raw", copy, "1G"], check=True)
        archive = os.path.abspath("copy.tar.gz")
        tar = ["tar", "--format=oldgnu", "--sparse", "--create", "--gzip", f"--file={archive}"]
        subprocess.run([*tar, "--transform=s,.*,disk.raw,", "--directory=/", copy[1:]], check=True)
        os.mkdir("unpacked")
        subprocess.run(["tar", "--extract", f"--file={archive}", "--directory=unpacked"], check=True)
        others = [
            ("raw", "unpacked/disk.raw"),
            ("vpc", "copy.vhd", "-o", "subformat=fixed,force_size"),
            ("vmdk", "copy.vmdk", "-o", "subformat=streamOptimized"),
        ]
        for kind, file, *options in others:
            if options:
                subprocess.run([QEMU_IMG, "convert", "-f", "raw", "-O", kind, *options, copy, file], check=True)
            subprocess.run([QEMU_IMG, "compare", "-q", "-f", "raw", "-F", kind, copy, file], check=True)
        subprocess.run([QEMU_IMG, "compare", "-q", "-f", "raw", "-F", "qcow2", RAW, QCOW2], check=True)

    machine.start()
    machine.wait(r"tinyboot: storage: /persistent is btrfs on /dev/vda3", BOOT)
    machine.ready()
    machine.says(r"tinyboot: storage: /iso is iso9660 on /dev/vda2, read-only")
    t.assertEqual(machine.ask("cat /iso/deep/er/A-Longer-Name.txt"), "found\n")
    t.assertEqual(mebibytes(), 128)
    t.assertEqual(machine.ask("count /persistent/boots"), "1")
    machine.powered_off()
    t.assertEqual(machine.said("tinyboot: .*(cannot|failed|panic| is not extended| grew )"), [])

    subprocess.run([QEMU_IMG, "resize", "-q", "-f", "raw", disk, "4G"], check=True)
    with subtest("a larger disk"):
        machine.start()
        machine.wait(r"tinyboot: storage: /persistent grew from 128 to (39|40)\d\d MiB", BOOT)
        machine.ready()
        t.assertGreater(mebibytes(), 3900)
        t.assertEqual(machine.ask("count /persistent/boots"), "2")
        machine.crash()

    with subtest("BIOS boots it as well, with the table that has grown"):
        bios = Guest("bios", RAW, firmware="bios", medium="", disks=[disk], memory=128)
        bios.start()
        bios.ready()
        t.assertEqual(bios.ask("count /persistent/boots"), "3")
        bios.powered_off()

    with subtest("a data disk beside it is used in place of its own partition, whatever its file system, and the one that is named"):
        data = ext(4, "data", "tinyboot")
        # In a slot after that of the first disk, which is the one that the BIOS boots.
        drive = [f"-drive if=none,id=data,format=raw,file={data}", "-device virtio-blk-pci,drive=data,serial=data,addr=0x10"]
        named = "-fw_cfg name=opt/io.systemd.credentials/tinyboot.storage.persistent,string=serial"
        for name, setting, device, other in (
            ("unnamed", [], "ext4 on /dev/vdb", "vda3"),
            ("named", [f"{named}:data"], "ext4 on /dev/vdb", "vda3"),
            ("missing", [f"{named}:none"], "", "vdb"),
        ):
            both = Guest(name, RAW, firmware="bios", medium="", disks=[disk], arguments=[*drive, *setting])
            both.start()
            both.ready()
            if device:
                both.says(f"tinyboot: storage: /persistent is {device}")
                both.says(f"tinyboot: storage: /dev/{other} also has a file system labelled")
            else:
                both.says("was found on the disk that storage.persistent asks for, serial:none; /persistent refuses writes")
                t.assertEqual(both.said("tinyboot: storage: /persistent is"), [])
            both.powered_off()

    with subtest("it stays so, also after a power failure"):
        machine.start()
        machine.ready()
        t.assertGreater(mebibytes(), 3900)
        t.assertEqual(machine.ask("count /persistent/boots"), "4")
        machine.powered_off()
        t.assertEqual(machine.said("tinyboot: .*(cannot|failed|panic| is not extended| grew )"), [])
  '';
}
