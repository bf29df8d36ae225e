# How a program is shut in: what the kernel says about it, and what it is refused.
{ mkTest, mkProbeImage }:
let
  image =
    name: app:
    (mkProbeImage {
      inherit name;
      settings.app = app;
    }).isoFile;
in
mkTest {
  name = "sandbox";
  constants = {
    DEFAULT = image "default" { };
    OPEN = image "open" {
      sandbox = false;
      user = 1000;
      readOnlyRoot = true;
    };
    USER = image "user" { user = 1000; };
    LOCKED = image "locked" {
      user = 1000;
      capabilities = [ "CAP_NET_BIND_SERVICE" ];
      privateTmp = true;
      readOnlyRoot = true;
      limits = {
        NOFILE = 256;
        NPROC = 100;
      };
      onExit = "restart";
      gracePeriod = 4;
    };
  };
  script = ''
    KINDS = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"]
    NET_BIND_SERVICE = 1 << 10
    # SYS_MODULE, SYS_RAWIO, SYS_BOOT, MAC_OVERRIDE, MAC_ADMIN
    WITHHELD = 1 << 16 | 1 << 17 | 1 << 22 | 1 << 32 | 1 << 33


    def status(machine: Guest) -> dict[str, str]:
        lines = machine.ask("cat /proc/self/status").splitlines()
        return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


    def capabilities(machine: Guest, kind: str) -> int:
        return int(status(machine)[kind], 16)


    def mount_options(machine: Guest, path: str) -> set[str]:
        """Those of what was mounted last at a path."""
        found: set[str] = set()
        for line in machine.ask("cat /proc/self/mountinfo").splitlines():
            fields = line.split()
            if fields[4] == path:
                found = set(fields[5].split(","))
        return found


    with subtest("without settings: root, without what would reach past the kernel or init"):
        machine = Guest("default", DEFAULT, disks=[btrfs("default-disk", "tinyboot")])
        machine.start()
        machine.ready()
        now = status(machine)
        t.assertEqual((now["Uid"], now["NoNewPrivs"]), ("0\t0\t0\t0", "1"))
        for kind in ["CapPrm", "CapEff", "CapBnd"]:
            t.assertEqual(int(now[kind], 16), 0x1FF_FFFF_FFFF & ~WITHHELD, kind)
        machine.ask("bind 80")
        machine.ask("write /persistent/root-was-here yes")
        machine.ask("write /var yes")

    with subtest("mounts give neither rights nor devices away"):
        for path in ["/", "/iso", "/persistent", "/run", "/tmp"]:
            t.assertLessEqual({"nosuid", "nodev"}, mount_options(machine, path), path)
        for path in ["/proc", "/sys", "/dev/shm"]:
            t.assertLessEqual({"nosuid", "nodev", "noexec"}, mount_options(machine, path), path)
    machine.powered_off()

    with subtest("one line puts all of it off"):
        machine = Guest("open", OPEN)
        machine.start()
        machine.ready()
        now = status(machine)
        t.assertEqual((now["Uid"], now["NoNewPrivs"]), ("0\t0\t0\t0", "0"))
        t.assertEqual(int(now["CapEff"], 16), 0x1FF_FFFF_FFFF)
        machine.ask("write /var yes")
        machine.powered_off()

    with subtest("another user than root has no capabilities, and a home"):
        # The disk of the machine before, with what root wrote.
        machine = Guest("user", USER, disks=[os.path.abspath("default-disk")])
        machine.start()
        machine.ready()
        now = status(machine)
        t.assertEqual((now["Uid"], now["Gid"], now["Groups"]), ("1000\t" * 3 + "1000", "1000\t" * 3 + "1000", ""))
        t.assertEqual([int(now[kind], 16) for kind in KINDS], [0] * 5)
        t.assertIn("Permission denied", machine.refused("bind 80"))
        variables = machine.ask("cat /proc/self/environ").split("\0")
        for variable in ["HOME=/run/app", "USER=app", "LOGNAME=app"]:
            t.assertIn(variable, variables)
        t.assertIn("app:x:1000:1000:app:/run/app:", machine.ask("cat /etc/passwd"))
        t.assertIn("app:x:1000:", machine.ask("cat /etc/group"))
        machine.ask("write /run/app/file yes")
        t.assertIn("Permission denied", machine.refused("write /run/file yes"))
        t.assertIn("Permission denied", machine.refused("write /etc/passwd yes"))

    with subtest("it can write to /persistent, and neither to root's files there nor to init's"):
        machine.ask("write /persistent/file yes")
        t.assertIn("Permission denied", machine.refused("write /persistent/root-was-here no"))
        t.assertIn("Permission denied", machine.refused("write /persistent/.tinyboot/file no"))
    machine.powered_off()

    with subtest("shut in: one capability, which is enough for port 80"):
        machine = Guest(
            "locked",
            LOCKED,
            arguments=["-device pcie-root-port,id=spare,chassis=9"],
        )
        machine.start()
        machine.ready()
        now = status(machine)
        t.assertEqual([int(now[kind], 16) for kind in KINDS], [NET_BIND_SERVICE] * 5)
        t.assertEqual((now["Uid"], now["NoNewPrivs"]), ("1000\t" * 3 + "1000", "1"))
        machine.ask("bind 80")
        limits = machine.ask("cat /proc/self/limits")
        t.assertRegex(limits, r"Max open files +256 +256 ")
        t.assertRegex(limits, r"Max processes +100 +100 ")

    with subtest("it sees a root directory that refuses writes"):
        for path in ["/", "/sys", "/sys/fs/cgroup", "/proc/sys"]:
            t.assertIn("ro", mount_options(machine, path), path)
        machine.ask("write /tmp/file yes")
        machine.ask("write /run/app/file yes")

    with subtest("a disk that comes later is there for it too"):
        path = btrfs("late-disk", "tinyboot")
        t.assertIn("Read-only file system", machine.refused("write /persistent/file yes"))
        machine.monitor(f"drive_add 0 if=none,id=late,format=raw,file={path}")
        machine.monitor("device_add virtio-blk-pci,drive=late,bus=spare")
        machine.wait(r"tinyboot: storage: .*/persistent")
        machine.asked("write /persistent/file yes", r"^$")
        t.assertIn("btrfs", machine.ask("cat /proc/mounts"))

    with subtest("its next start has an empty /tmp and an empty home"):
        machine.tell("end 3")
        machine.ready()
        t.assertEqual(machine.ask("ls /tmp"), "")
        t.assertEqual(machine.ask("ls /run/app"), "")
    with subtest("and its disk is unmounted at the end"):
        machine.power_button()
        machine.wait(r"tinyboot: shutdown: /persistent unmounted")
        t.assertEqual(machine.ended(), "guest-shutdown")
  '';
}
