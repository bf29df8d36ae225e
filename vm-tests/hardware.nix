# The profile "pc" and its kernel on the devices of real machines and of other hypervisors that QEMU has: each NIC gets an
# address and each disk its file system, by modules that the devices themselves call for.
{ mkTest, mkProbeImage }:
let
  image = mkProbeImage {
    name = "hardware";
    hardware = "pc";
  };
in
mkTest {
  name = "hardware";
  constants.ISO = image.isoFile;
  script = ''
    nics = ["igb", "e1000", "e1000e", "vmxnet3"]
    # Controllers in front, the disk's own options behind.
    disks = {
        "vmw_pvscsi": "-device pvscsi,id=scsi -device scsi-hd,bus=scsi.0",
        "nvme": "-device nvme,serial=tinyboot",
        "usb_storage": "-device qemu-xhci,id=usb -device usb-storage,bus=usb.0",
    }

    port = free_port()
    arguments = []
    for number, nic in enumerate(nics):
        forward = f",hostfwd=tcp:127.0.0.1:{port}-:8080" if number == 0 else ""
        arguments += [f"-netdev user,id=wire{number},restrict=on,net=10.99.{number}.0/24{forward}"]
        arguments += [f"-device {nic},netdev=wire{number},romfile="]
    for number, device in enumerate(disks.values()):
        disk = btrfs(f"disk{number}", "tinyboot" if number == 0 else f"other{number}")
        arguments += [f"-drive if=none,id=extra{number},format=raw,file={disk} {device},drive=extra{number}"]

    machine = Guest("machine", ISO, control=False, arguments=arguments)
    machine.port = port
    machine.start()
    machine.ready()
    for number, nic in enumerate(nics):
        with subtest(f"NIC {nic}"):
            machine.says(rf"tinyboot: net: eth\d: BOUND to 10\.99\.{number}\.15/24")
    modules = machine.ask("cat /proc/modules")
    for name in [*nics, *disks]:
        with subtest(f"module {name}"):
            t.assertRegex(modules, rf"(?m)^{name} ")
    # SCSI and USB share the names sd*.
    machine.until("three disks", lambda: len(re.findall(r"(?m) (?:sd[a-z]|nvme0n1)$", machine.ask("cat /proc/partitions"))) == 3)
    t.assertTrue(machine.said(r"tinyboot: storage: /persistent is btrfs on /dev/sd"))
    t.assertEqual(machine.ask("count /persistent/boots"), "1")
    machine.powered_off()
  '';
}
