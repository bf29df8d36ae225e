# Hardware profiles: the kernel that a kind of machine needs, and the modules beyond what is built in (virtio, AHCI, IDE).
let
  usb = [
    "ehci_pci"
    "hid_generic"
    "uas"
    "usb_storage"
    "usbhid"
    "xhci_pci"
  ];
  emulated = [
    "e1000"
    "e1000e"
    "nvme"
    "vmw_pvscsi"
    "vmxnet3"
  ];
  # The network of AWS and Google Cloud; that of Azure is Hyper-V's.
  clouds = [
    "ena"
    "gve"
  ];
in
{
  # QEMU, KVM, Firecracker and clouds that give virtio devices.
  virtio = {
    kernel = "virtual";
    modules = [ ];
  };

  # Any hypervisor: the devices that they emulate, and Xen's and Hyper-V's own, which are built in.
  vm = {
    kernel = "generic";
    modules = emulated ++ clouds ++ usb;
  };

  # Real machines with common Ethernet and storage, and whatever `vm` runs on.
  pc = {
    kernel = "generic";
    modules =
      emulated
      ++ clouds
      ++ usb
      ++ [
        "alx"
        "atlantic"
        "ax88179_178a"
        "bnxt_en"
        "cdc_ether"
        "cdc_ncm"
        "hpsa"
        "i40e"
        "ice"
        "igb"
        "igc"
        "ixgbe"
        "megaraid_sas"
        "mlx4_en"
        "mlx5_core"
        "mmc_block"
        "mpt3sas"
        "r8152"
        "r8169"
        "realtek"
        "sdhci_acpi"
        "sdhci_pci"
        "smartpqi"
        "tg3"
        "vmd"
      ];
  };
}
