# The kernel as an ELF file with the PVH entry point: what Firecracker, Cloud Hypervisor and QEMU's microvm start without any
# firmware.
{ runCommand, binutils }:
# Type: mkVmlinux :: kernel -> derivation with the file `vmlinux`
kernel:
runCommand "vmlinux-${kernel.version}"
  {
    nativeBuildInputs = [ binutils ];
    meta.description = "Linux ${kernel.version} for direct boot by PVH";
  }
  ''
    mkdir -p $out
    strip -o $out/vmlinux ${kernel.dev}/vmlinux
  ''
