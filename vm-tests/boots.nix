# Boot after boot, on a host that is busy with other things: each is a whole life of the machine, up to the power button, every
# fifth from UEFI and the others with a kernel that is started directly. Only in the long run: boot-matrix has a few with each change.
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
      seconds = 120 * count;
      constants = {
        ISO = probeImage.isoFile;
        KERNEL = kernelImage probeImage.kernel;
        INITRAMFS = "${probeImage.initramfs}/initramfs";
        COMMAND_LINE = probeImage.uki.commandLine;
        COUNT = toString count;
      };
      script = ''
        count = int(COUNT)
        direct = [f"-kernel {KERNEL} -initrd {INITRAMFS} -append '{COMMAND_LINE}'"]
        disk = btrfs("disk", "tinyboot")
        guests = {
            "uefi": Guest("uefi", ISO, disks=[disk]),
            "direct": Guest("direct", ISO, disks=[disk], firmware="bios", arguments=direct, medium="-device ide-cd,drive=iso"),
        }
        # One for each processor.
        load = [subprocess.Popen(["sh", "-c", "while :; do :; done"]) for _ in range(os.cpu_count() or 1)]
        failures: list[str] = []
        # Counted on one disk for both.
        boots = 0
        try:
            for boot in range(1, count + 1):
                way = "uefi" if boot % 5 == 0 else "direct"
                machine = guests[way]
                try:
                    machine.start()
                    machine.ready()
                    before, boots = boots, int(machine.ask("count /persistent/boots"))
                    t.assertEqual(boots, before + 1)
                    t.assertTrue(machine.said(r"tinyboot: net: eth0: BOUND to 10\.99\.0\."))
                    t.assertEqual(machine.said("tinyboot: .*(cannot|failed|panic)"), [])
                    machine.powered_off()
                    t.assertTrue(machine.said("tinyboot: shutdown: /persistent unmounted"))
                except Exception as error:
                    failures.append(f"boot {boot}, {way}: {error}")
                    machine.machine.log(failures[-1])
                    machine.crash()
                machine.machine.log(f"boot {boot} of {count}, {len(failures)} failures")
        finally:
            for process in load:
                process.kill()
                process.wait()
        t.assertEqual(failures, [], f"{len(failures)} of {count} boots failed")
      '';
    };
in
{
  long = test "boots-long" 200;
}
