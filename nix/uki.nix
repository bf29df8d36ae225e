# Kernel, initramfs and command line in one PE file: what UEFI starts, Secure Boot signs and a TPM measures.
# Format: the UAPI group's "Unified Kernel Image" specification.
{
  runCommand,
  stdenv,
  systemd,
  systemdUkify,
}:
# Type: mkUki :: { name, kernel, initramfs, commandLine } -> derivation with the file `<name>.efi`
{
  name,
  kernel,
  initramfs,
  commandLine,
}:
let
  release = import ./release.nix;
in
runCommand "${name}-uki"
  {
    nativeBuildInputs = [ systemdUkify ];
    inherit commandLine;
    osRelease = ''
      ID=tinyboot
      NAME="tinyboot"
      PRETTY_NAME="${name} on tinyboot ${release.version}"
      VERSION_ID="${release.version}"
      IMAGE_ID="${name}"
    '';
    passAsFile = [
      "commandLine"
      "osRelease"
    ];
    passthru = {
      file = "${name}.efi";
      inherit commandLine;
    };
  }
  ''
    mkdir -p $out
    ukify build \
      --efi-arch=${stdenv.hostPlatform.efiArch} \
      --stub=${systemd}/lib/systemd/boot/efi/linux${stdenv.hostPlatform.efiArch}.efi.stub \
      --linux=${kernel}/${stdenv.hostPlatform.linux-kernel.target} \
      --initrd=${initramfs}/initramfs \
      --cmdline=@"$commandLinePath" \
      --os-release=@"$osReleasePath" \
      --uname=${kernel.modDirVersion} \
      --output=$out/${name}.efi
  ''
