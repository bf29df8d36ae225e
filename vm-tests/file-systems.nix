# Each file system that the machine knows is mounted, written where it can be, and read again, on virtio-blk and on
# virtio-scsi.
{
  mkTest,
  probeImage,
  runCommand,
  xorriso,
}:
let
  # Two discs of the same content, whose long name exists in one of the two extensions only.
  discs = runCommand "discs" { nativeBuildInputs = [ xorriso ]; } ''
    mkdir -p $out tree
    echo from the disc > "tree/A long name, in lower case.text"
    xorriso -as mkisofs -quiet -o $out/joliet.iso --norock -joliet tree
    xorriso -as mkisofs -quiet -o $out/rock-ridge.iso -rational-rock tree
  '';
in
mkTest {
  name = "file-systems";
  constants = {
    ISO = probeImage.isoFile;
    JOLIET = "${discs}/joliet.iso";
    ROCK_RIDGE = "${discs}/rock-ridge.iso";
  };
  script = ''
    def disk(kind: str, where: str) -> str:
        if kind in ("joliet", "rock-ridge"):
            return JOLIET if kind == "joliet" else ROCK_RIDGE
        path = f"{where}-{kind}"
        return btrfs(path, "data") if kind == "btrfs" else ext(int(kind[-1]), path, "data")

    kinds = ["ext2", "ext3", "ext4", "btrfs", "joliet", "rock-ridge"]
    arguments = ["-device virtio-scsi-pci,id=scsi"]
    for number, kind in enumerate(kinds):
        access = "readonly=on" if kind in ("joliet", "rock-ridge") else "readonly=off"
        for where, device in (("blk", f"virtio-blk-pci,serial={kind}"), ("scsi", f"scsi-hd,bus=scsi.0,product={kind}")):
            drive = f"{where}{number}"
            arguments.append(f"-drive if=none,id={drive},format=raw,{access},file={disk(kind, where)}")
            arguments.append(f"-device {device},drive={drive}")
    machine = Guest("machine", ISO, arguments=arguments)
    machine.start()
    machine.ready()

    def check(kind: str, device: str) -> None:
        """Mounts, writes, mounts again and reads."""
        with subtest(f"{kind} on {device}"):
            machine.ask(f"mount {kind} {device} /tmp/{kind}")
            machine.ask(f"mkdir /tmp/{kind}/folder")
            machine.ask(f"write /tmp/{kind}/folder/file {kind}")
            if device != "none":
                machine.ask(f"umount /tmp/{kind}")
                machine.ask(f"mount {kind} {device} /tmp/{kind}")
            t.assertEqual(machine.ask(f"cat /tmp/{kind}/folder/file"), kind)
            machine.ask(f"umount /tmp/{kind}")

    def check_disc(kind: str, device: str) -> None:
        """Mounts, reads, and fails to write."""
        with subtest(f"{kind} on {device}"):
            machine.ask(f"mount-ro iso9660 {device} /tmp/{kind}")
            t.assertEqual(machine.ask(f"ls /tmp/{kind}"), "A long name, in lower case.text")
            t.assertIn("Read-only file system", machine.refused(f"write /tmp/{kind}/x 1"))
            machine.ask(f"umount /tmp/{kind}")

    for kind in ("tmpfs", "ramfs"):
        check(kind, "none")
    # Which device is which: their order is the kernel's matter.
    devices = {"vd": "serial", "sd": "device/model"}
    for prefix, attribute in devices.items():
        names = [name for name in machine.ask("ls /sys/block").split() if name.startswith(prefix)]
        found = {machine.ask(f"cat /sys/block/{name}/{attribute}").strip(): f"/dev/{name}" for name in names}
        t.assertEqual(sorted(found), sorted(kinds))
        for kind in kinds:
            if kind in ("joliet", "rock-ridge"):
                check_disc(kind, found[kind])
            else:
                check(kind, found[kind])

    machine.powered_off()
  '';
}
