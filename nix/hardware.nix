# Hardware profiles: the kernel that a kind of machine needs, and the modules beyond virtio, AHCI and IDE, which every
# image has.
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
    "am53c974"
    "e1000"
    "e1000e"
    "megaraid_sas"
    "mptsas"
    "mptspi"
    "nvme"
    "sym53c8xx"
    "vmw_pvscsi"
    "vmxnet3"
  ];
  # The network of AWS and Google Cloud; that of Azure is Hyper-V's.
  clouds = [
    "ena"
    "gve"
  ];
  vm = emulated ++ clouds ++ usb;
  pc = vm ++ [
    "alx"
    "atlantic"
    "ax88179_178a"
    "cdc_ether"
    "cdc_ncm"
    "igb"
    "igc"
    "ixgbe"
    "mmc_block"
    "r8152"
    "r8169"
    "realtek"
    "sdhci_acpi"
    "sdhci_pci"
    "tg3"
    "vmd"
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
    modules = vm;
  };

  # Real machines with common Ethernet and storage, and whatever `vm` runs on.
  pc = {
    kernel = "generic";
    modules = pc;
  };

  # Servers: fast Ethernet, RAID and SAS controllers, and whatever `pc` runs on.
  server = {
    kernel = "server";
    modules = pc ++ [
      "bnxt_en"
      "hpsa"
      "i40e"
      "ice"
      "mlx4_en"
      "mlx5_core"
      "mpt3sas"
      "smartpqi"
    ];
  };
}
