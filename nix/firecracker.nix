# Firecracker's files: kernel, initramfs, the image's files, and the configuration that names them.
{ runCommand, writeText }:
/*
  Type: mkFirecracker :: { name, vmlinux, initramfs, payload, commandLine } -> derivation with the files `vmlinux`,
    `initramfs`, `<name>-files.iso` and `firecracker.json`

  The paths in firecracker.json are relative: Firecracker is to be started in a directory with the four files.
*/
{
  name,
  vmlinux,
  initramfs,
  payload,
  commandLine,
}:
let
  configuration = writeText "firecracker.json" (
    builtins.toJSON {
      boot-source = {
        kernel_image_path = "vmlinux";
        initrd_path = "initramfs";
        # Firecracker ends when the guest resets by the keyboard controller, of which it has no more than that.
        boot_args = "${commandLine} reboot=k i8042.dumbkbd";
      };
      machine-config = {
        vcpu_count = 1;
        mem_size_mib = 128;
      };
      drives = [
        {
          drive_id = "files";
          path_on_host = payload.file;
          is_root_device = false;
          is_read_only = true;
        }
      ];
      network-interfaces = [ ];
      entropy = { };
    }
  );
in
runCommand "${name}-firecracker"
  {
    passthru = { inherit configuration; };
    meta.description = "Kernel, initramfs, files and configuration of ${name} for Firecracker";
  }
  ''
    mkdir -p $out
    cp ${vmlinux}/vmlinux ${initramfs}/initramfs ${payload}/${payload.file} $out/
    cp ${configuration} $out/firecracker.json
    chmod 0444 $out/*
  ''
