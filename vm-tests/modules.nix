# Hardware whose drivers are modules: what an image names, and that alone, is in it and drives the devices.
{
  lib,
  mkTest,
  mkProbeImage,
  kernel,
}:
let
  usb = "-device usb-storage,bus=usb.0,drive=disk";
  # Names of modules, QEMU's network card and disk, and the disk's name in the guest. Without a card or a disk of its
  # own the machine has virtio's.
  cases = {
    none.names = [ ];
    one = {
      names = [ "nvme" ];
      disk = "-device nvme,drive=disk,serial=tinyboot";
      device = "nvme0n1";
    };
    e1000-pvscsi = {
      names = [
        "e1000"
        "vmw_pvscsi"
      ];
      card = "e1000";
      disk = "-device pvscsi,id=scsi -device scsi-hd,bus=scsi.0,drive=disk";
      device = "sda";
    };
    e1000e-xhci = {
      names = [
        "e1000e"
        "usb_storage"
        "xhci_pci"
      ];
      card = "e1000e";
      disk = "-device qemu-xhci,id=usb ${usb}";
      device = "sda";
    };
    vmxnet3-ehci = {
      # Underscore and hyphen are the same.
      names = [
        "vmxnet3"
        "usb-storage"
        "ehci-pci"
      ];
      card = "vmxnet3";
      disk = "-device usb-ehci,id=usb ${usb}";
      device = "sda";
    };
    uas = {
      names = [
        "uas"
        "xhci_pci"
      ];
      disk = "-device qemu-xhci,id=usb -device usb-uas,bus=usb.0,id=uas -device scsi-hd,bus=uas.0,drive=disk";
      device = "sda";
    };
  };
  filled =
    name: case:
    {
      card = "virtio-net-pci";
      disk = "-device virtio-blk-pci,drive=disk";
      device = "vda";
    }
    // case
    // {
      iso =
        (mkProbeImage {
          inherit name;
          hardware = case.names;
        }).isoFile;
    };
in
mkTest {
  name = "modules";
  constants = {
    CASES = builtins.toJSON (lib.mapAttrs filled cases);
    MODULES = "${kernel.modules}/lib/modules/${kernel.modDirVersion}";
  };
  script = ''
    import json

    def plain(path: str) -> str:
        """A module's name from its file's."""
        return os.path.basename(path).split(".ko")[0].replace("-", "_")

    needs: dict[str, set[str]] = {}
    with open(f"{MODULES}/modules.dep") as table:
        for line in table:
            module, _, others = line.partition(":")
            needs[plain(module)] = {plain(other) for other in others.split()}

    for name, case in json.loads(CASES).items():
        with subtest(f"{name}: the modules of {case['names']}, and no other"):
            disk = btrfs(f"disk-{name}", "tinyboot")
            port = free_port()
            arguments = [
                f"-drive if=none,id=disk,format=raw,file={disk} {case['disk']}",
                f"-netdev user,id=wire,restrict=on,net=10.99.0.0/24,hostfwd=tcp:127.0.0.1:{port}-:8080",
                f"-device {case['card']},netdev=wire,romfile=",
            ]
            machine = Guest(name, case["iso"], control=False, arguments=arguments)
            machine.port = port
            machine.start()
            machine.ready()
            t.assertTrue(machine.said(f"tinyboot: storage: /persistent is btrfs on /dev/{case['device']}"))
            t.assertTrue(machine.said(r"tinyboot: net: eth0: BOUND to 10\.99\.0\.15/24"))
            t.assertEqual(machine.ask("count /persistent/boots"), "1")

            def closure(names: typing.Iterable[str]) -> set[str]:
                wanted = {module.replace("-", "_") for module in names}
                return wanted.union(*(needs[module] for module in wanted))

            # Every image has the drivers of AHCI and IDE; this machine has AHCI alone.
            held = {plain(file) for file in re.findall(r"\S+\.ko\b", machine.ask("tree /lib/modules"))}
            t.assertEqual(held, closure([*case["names"], "ahci", "ata_piix"]))
            loaded = {line.split()[0] for line in machine.ask("cat /proc/modules").splitlines()}
            t.assertEqual(loaded, closure([*case["names"], "ahci"]))
            machine.powered_off()
  '';
}
