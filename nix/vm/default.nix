# Runs an image in a VMM as a user would: console in the terminal, a NIC, a disk that stays, a forwarded port.
{
  lib,
  writeShellApplication,
  qemu,
  OVMF,
  btrfs-progs,
  coreutils,
  gnugrep,
  jq,
  kernelImage,
}:
/*
  Type: mkRunner :: { name, kernel, vmlinux, initramfs, commandLine, payload, firecracker } -> derivation with the program
    `run-<name>`

  kernel, vmlinux, initramfs  what is started without firmware's help, for a change of the program to run soonest
  commandLine                 the kernel's
  payload                     output of mkPayload
  firecracker                 the configuration of mkFirecracker's
*/
{
  name,
  kernel,
  vmlinux,
  initramfs,
  commandLine,
  payload,
  firecracker,
}:
writeShellApplication {
  name = "run-${name}";
  runtimeInputs = [
    qemu
    btrfs-progs
    coreutils
    gnugrep
    jq
  ];
  # With the Debian package set, a program of the user's is found only if it is named here.
  derivationArgs.hostPrograms = "firecracker cloud-hypervisor";
  text = ''
    name=${name}
    kernel=${kernelImage kernel}
    vmlinux=${vmlinux}/vmlinux
    initramfs=${initramfs}/initramfs
    commandLine=${lib.escapeShellArg commandLine}
    payload=${payload}/${payload.file}
    firecracker=${firecracker}
    uefi=${OVMF.firmware}
    variables=${OVMF.variables}
    ${builtins.readFile ./run.sh}
  '';
  meta.description = "Boots ${name} in QEMU";
}
