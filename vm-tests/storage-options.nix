# How /persistent is mounted where the settings ask for it: compressed, and with the disk told which blocks are free.
{ mkTest, probeImage }:
mkTest {
  name = "storage-options";
  constants.ISO = probeImage.isoFile;
  script = ''
    def options(machine: Guest) -> list[str]:
        """The options of /persistent as the kernel says them."""
        # What is mounted last lies on top.
        mounts = [line.split() for line in machine.ask("cat /proc/self/mounts").splitlines()]
        return [mount[3] for mount in mounts if mount[1] == "/persistent"][-1].split(",")

    def setting(name: str, value: str) -> str:
        return f"-fw_cfg name=opt/io.systemd.credentials/tinyboot.storage.{name},string={value}"

    wanted = [setting("compress", "zstd:5"), setting("discard", "true")]
    wrong = [setting("compress", "lzo"), setting("discard", "often")]
    on_btrfs = Guest("on-btrfs", ISO, disks=[btrfs("b", "tinyboot")], arguments=wanted)
    on_ext4 = Guest("on-ext4", ISO, disks=[ext(4, "e", "tinyboot")], arguments=wanted)
    plain = Guest("plain", ISO, disks=[btrfs("p", "tinyboot")], arguments=wrong)

    with subtest("btrfs compresses and discards"):
        on_btrfs.start()
        on_btrfs.ready()
        found = options(on_btrfs)
        t.assertIn("compress=zstd:5", found)
        t.assertIn("discard=async", found)
        on_btrfs.ask("write /persistent/file text")
        on_btrfs.powered_off()
        t.assertEqual(on_btrfs.said("tinyboot: .*(cannot|failed|panic)"), [])

    with subtest("ext4 discards, and the log says that it cannot compress"):
        on_ext4.start()
        on_ext4.wait(
            "tinyboot: storage: ext4 cannot compress: what is written to /persistent is not compressed", BOOT
        )
        on_ext4.ready()
        found = options(on_ext4)
        t.assertIn("discard", found)
        t.assertIn("rw", found)
        on_ext4.powered_off()

    with subtest("neither is done unasked, and a wrong value is named"):
        plain.start()
        plain.ready()
        t.assertTrue(
            plain.said(
                r'settings: storage\.compress, which fw_cfg has, is ignored: "lzo" is neither zstd nor zstd:1 to zstd:15'
            )
        )
        t.assertTrue(plain.said(r"settings: storage\.discard, which fw_cfg has, is ignored: "))
        found = options(plain)
        t.assertEqual([option for option in found if "compress" in option or "discard" in option], [])
        plain.powered_off()
  '';
}
