# Damaged and hostile disks, one after the other, in a machine that runs: each is plugged in, becomes /persistent if the kernel
# takes it, is read and written by the program, and is pulled. The kernel and init outlive all of them. The disks are made
# here from a fixed number: file systems with content, and bytes in them that are others. Only in the long run.
{
  mkTest,
  probeImage,
  kernelImage,
}:
let
  test =
    name: count:
    mkTest {
      inherit name;
      seconds = 600 + 6 * 60 * count;
      constants = {
        ISO = probeImage.isoFile;
        KERNEL = kernelImage probeImage.kernel;
        INITRAMFS = "${probeImage.initramfs}/initramfs";
        COMMAND_LINE = probeImage.uki.commandLine;
        COUNT = toString count;
      };
      script = ''
        import random

        # Fields of an ext superblock that say how large things are and where they lie, and its features.
        FIELDS = [0, 4, 8, 12, 20, 24, 28, 32, 40, 76, 84, 88, 92, 96, 100, 104, 0xE0, 0xFC, 0x104, 0x150, 0x174, 0x178]

        for directory in range(4):
            os.makedirs(f"seed/d{directory}")
            for number in range(12):
                with open(f"seed/d{directory}/f{number}", "w") as file:
                    file.write("x" * (997 * number))

        def ext_disk(name: str, version: int, options: str) -> str:
            return make_disk(name, f"{MKFS_EXT} -q -t ext{version} -L tinyboot -e panic {options} -d seed {{}}", 16)

        bases = {
            "ext2": ext_disk("ext2", 2, ""),
            "ext3": ext_disk("ext3", 3, ""),
            "ext4": ext_disk("ext4", 4, ""),
            "ext4-without-sums": ext_disk("ext4-without-sums", 4, "-O ^metadata_csum"),
            "btrfs": make_disk("btrfs", f"{MKFS_BTRFS} -q -L tinyboot --rootdir seed {{}}"),
        }

        def hostile(kind: str, number: int) -> str:
            """A disk with a few other bytes where there is something, and an ext superblock with another field."""
            chance = random.Random(f"{kind} {number}")
            path = os.path.abspath("hostile")
            shutil.copyfile(bases[kind], path)
            with open(path, "r+b") as disk:
                used: list[int] = []
                while block := disk.read(1 << 20):
                    begin = disk.tell() - len(block)
                    used += [begin + at for at in range(0, len(block), 512) if any(block[at : at + 512])]
                for _ in range(chance.choice([1, 3, 10, 40])):
                    disk.seek(chance.choice(used) + chance.randrange(508))
                    disk.write(chance.choice([b"\xff" * 4, bytes(4), b"\xff\xff\xff\x7f", chance.randbytes(4)]))
                if kind != "btrfs" and chance.random() < 0.6:
                    disk.seek(1024 + chance.choice(FIELDS))
                    disk.write(chance.choice([b"\xff" * 4, bytes(4), chance.randbytes(4)]))
            return path

        def fresh() -> Guest:
            arguments = [
                f"-kernel {KERNEL} -initrd {INITRAMFS} -append '{COMMAND_LINE}'",
                "-device pcie-root-port,id=spare,chassis=1",
            ]
            guest = Guest("machine", ISO, firmware="bios", arguments=arguments, medium="-device ide-cd,drive=iso")
            guest.start()
            guest.ready()
            return guest

        def verdict() -> str:
            kinds = "/persistent is|the .* cannot be mounted|/dev/vda cannot be read|/dev/vda has the marks"
            try:
                return machine.wait(f"tinyboot: storage: ({kinds})", 30)[1]
            except AssertionError:
                if not machine.running():
                    raise
                # Its mark or its label is among the bytes that are others.
                return ""

        machine = fresh()
        failures: list[str] = []
        mounted = 0
        for kind in bases:
            for number in range(int(COUNT)):
                try:
                    # A bad block on top of it in every fourth.
                    path, drive = hostile(kind, number), f"{kind}-{number}"
                    source = f"file={path}"
                    if number % 4 == 3:
                        source = f"file.driver=blkdebug,file.image.driver=file,file.image.filename={path}"
                        sector = random.Random(number).randrange(8, 4096)
                        source += f",file.inject-error.0.event=read_aio,file.inject-error.0.sector={sector}"
                    machine.monitor(f"drive_add 0 if=none,id={drive},format=raw,{source}")
                    machine.monitor(f"device_add virtio-blk-pci,drive={drive},bus=spare,id=hostile")
                    if verdict() == "/persistent is":
                        mounted += 1
                        for command in ("tree /persistent", "mkdir /persistent/new", "write /persistent/new/x 1"):
                            # An error is a right answer.
                            machine.request(command)
                    machine.monitor("device_del hostile")
                    machine.until("no disk", lambda: "vda" not in machine.ask("ls /sys/class/block").split())
                except Exception as error:
                    failures.append(f"{kind} {number}: {error}; {machine.said('panic|BUG:|Oops')}")
                    machine.machine.log(failures[-1])
                    machine.crash()
                    machine = fresh()
        t.assertEqual(failures, [])
        # Else nothing was tried.
        t.assertGreater(mounted, int(COUNT))
        t.assertEqual(machine.said("Kernel panic|BUG:|Oops"), [])
        machine.powered_off()
      '';
    };
in
{
  long = test "hostile-disks-long" 60;
}
