# The image as a disk: it boots without a further medium, has the image's files, and what is persistent fills the disk that
# it was copied to, once it is larger, and keeps what was written.
{
  mkTest,
  formsImage,
  qemu,
}:
mkTest {
  name = "disk";
  constants = {
    RAW = "${formsImage.disk}/${formsImage.disk.raw}";
    QEMU_IMG = "${qemu}/bin/qemu-img";
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
        raise AssertionError("there is no vda3")

    machine.start()
    machine.wait(r"tinyboot: storage: /persistent is btrfs on /dev/vda3", BOOT)
    machine.ready()
    machine.says(r"tinyboot: storage: /iso is iso9660 on /dev/vda2, read-only")
    t.assertEqual(machine.ask("cat /iso/deep/er/A Longer Name.txt"), "found\n")
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

    with subtest("it stays so, also after a power failure"):
        machine.start()
        machine.ready()
        t.assertGreater(mebibytes(), 3900)
        t.assertEqual(machine.ask("count /persistent/boots"), "3")
        machine.powered_off()
        t.assertEqual(machine.said("tinyboot: .*(cannot|failed|panic| is not extended| grew )"), [])
  '';
}
