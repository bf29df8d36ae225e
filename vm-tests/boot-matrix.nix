# The ways in which an image starts: firmware, machine and medium in every combination, and a kernel that is started
# directly. Each goes up to a request that the program answers from a file of the medium. A choice that has every value
# of every axis is tested with each change, all of it in the long run.
{
  lib,
  mkTest,
  mkProbeImage,
  writeText,
  writeShellScript,
  qemu_test,
  kernelImage,
}:
let
  text = "This was read from the medium.\n";
  image = mkProbeImage {
    name = "matrix";
    hardware = [
      "nvme"
      "usb_storage"
      "xhci_pci"
    ];
    files."about.txt" = writeText "about.txt" text;
  };

  # How the drive `iso` is plugged in. The first controller of q35 is AHCI, that of pc is IDE.
  drive = "drive=iso,bootindex=0";
  onBoth = devices: {
    q35 = devices;
    pc = devices;
  };
  media = {
    cd-ide = {
      q35 = "-device piix3-ide,id=pata -device ide-cd,bus=pata.0,${drive}";
      pc = "-device ide-cd,${drive}";
    };
    cd-ahci = {
      q35 = "-device ide-cd,${drive}";
      pc = "-device ich9-ahci,id=sata -device ide-cd,bus=sata.0,${drive}";
    };
    cd-virtio-scsi = onBoth "-device virtio-scsi-pci,id=scsi -device scsi-cd,bus=scsi.0,${drive}";
    disk-virtio-blk = onBoth "-device virtio-blk-pci,${drive}";
    disk-ahci = {
      q35 = "-device ide-hd,${drive}";
      pc = "-device ich9-ahci,id=sata -device ide-hd,bus=sata.0,${drive}";
    };
    disk-nvme = onBoth "-device nvme,serial=matrix,${drive}";
    disk-usb = onBoth "-device qemu-xhci -device usb-storage,${drive}";
  };
  # BIOS and direct boot get along with less than any UEFI firmware itself needs.
  memory = {
    uefi = 256;
    bios = 64;
  };

  impossible = {
    "uefi q35 cd-ide" =
      "q35 has no IDE controller, and UEFI does not switch on the ports of one that is plugged into it, as BIOS does";
  };

  withFirmware =
    map
      (
        {
          firmware,
          machine,
          medium,
        }@axes:
        axes
        // {
          name = "${firmware} ${machine} ${medium}";
          memory = memory.${firmware};
          medium = media.${medium}.${machine};
        }
      )
      (
        lib.cartesianProduct {
          firmware = lib.attrNames memory;
          machine = [
            "q35"
            "pc"
          ];
          medium = lib.attrNames media;
        }
      );

  direct =
    lib.mapAttrsToList
      (
        name: cell:
        {
          inherit name;
          firmware = "bios";
          memory = 64;
          arguments = [
            "-kernel ${cell.kernel} -initrd ${image.initramfs}/initramfs -append '${image.uki.commandLine}'"
          ];
        }
        // removeAttrs cell [ "kernel" ]
      )
      {
        "direct q35" = {
          kernel = kernelImage image.kernel;
          medium = "-device virtio-blk-pci,drive=iso";
        };
        "pvh q35" = {
          kernel = "${image.vmlinux}/vmlinux";
          medium = "-device virtio-blk-pci,drive=iso";
        };
        # Without ACPI and PCI: the kernel is told of its devices on its command line.
        "pvh microvm" = {
          kernel = "${image.vmlinux}/vmlinux";
          machine = "microvm,acpi=off";
          qemu = withoutPci;
          medium = "-device virtio-blk-device,drive=iso";
          nic_device = "virtio-net-device";
          button = false;
        };
      };
  # The test driver gives each machine devices for PCI.
  withoutPci = writeShellScript "qemu-without-pci" ''
    arguments=()
    for argument in "$@"; do
      case $argument in
        virtio-serial) argument=virtio-serial-device ;;
        virtio-rng-pci) argument=virtio-rng-device ;;
      esac
      arguments+=("$argument")
    done
    exec ${qemu_test}/bin/qemu-system-x86_64 "''${arguments[@]}"
  '';

  always = [
    "uefi q35 cd-virtio-scsi"
    "uefi pc cd-ide"
    "uefi q35 disk-nvme"
    "uefi pc disk-usb"
    "bios q35 cd-ahci"
    "bios pc disk-virtio-blk"
    "bios q35 disk-usb"
    "bios pc disk-ahci"
  ];
  cells = lib.filter ({ name, ... }: !impossible ? ${name}) (withFirmware ++ direct);
  isDirect = cell: lib.any ({ name, ... }: name == cell.name) direct;

  test =
    name: cells:
    mkTest {
      inherit name;
      seconds = 1800;
      constants = {
        ISO = image.isoFile;
        TEXT = text;
        CELLS = builtins.toJSON cells;
      };
      script = ''
        import json

        for cell in json.loads(CELLS):
            name = cell.pop("name")
            with subtest(name):
                button = cell.pop("button", True)
                machine = Guest(name.replace(" ", "-"), ISO, **cell)
                machine.start()
                machine.ready()
                t.assertEqual(machine.ask("cat /iso/about.txt"), TEXT)
                if "disk" in name:
                    # Where UEFI looks for its program on a disk; OVMF would find it without, as on a disc.
                    t.assertRegex(machine.ask("ls /sys/class/block"), r"(?m)^(vda1|sda1|nvme0n1p1)$")
                t.assertEqual(machine.said("tinyboot: .*(cannot|failed|panic)"), [])
                if button:
                    machine.powered_off()
                else:
                    machine.crash()
      '';
    };
in
assert lib.all (name: lib.any (cell: cell.name == name) withFirmware) (
  always ++ lib.attrNames impossible
);
test "boot-matrix" (lib.filter (cell: lib.elem cell.name always || isDirect cell) cells)
// {
  # All of it, for the long run.
  long = test "boot-matrix-long" cells;
}
