# Hardware profiles: the modules that a kind of machine needs beyond what is built in (virtio, AHCI, IDE).
{
  # QEMU, KVM, Firecracker and clouds that give virtio devices.
  virtio = [ ];

  # Any hypervisor's emulated devices.
  vm = [
    "e1000"
    "e1000e"
    "ehci_pci"
    "hid_generic"
    "nvme"
    "uas"
    "usb_storage"
    "usbhid"
    "vmw_pvscsi"
    "vmxnet3"
    "xhci_pci"
  ];
}
