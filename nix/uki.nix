# Kernel, initramfs and command line in one PE file: what UEFI starts, Secure Boot signs and a TPM measures.
# Format: the UAPI group's "Unified Kernel Image" specification.
{
  lib,
  runCommand,
  stdenv,
  kernelImage,
  systemd,
  systemdUkify,
  libfaketime,
  signImage,
}:
/*
  Type: mkUki :: { name, kernel, initramfs, commandLine, signing ? null } -> derivation with the file `<name>.efi`

  signing  null, or { key, certificate } for UEFI Secure Boot
*/
{
  name,
  kernel,
  initramfs,
  commandLine,
  signing ? null,
}:
let
  release = import ./release.nix;
in
runCommand "${name}-uki"
  {
    nativeBuildInputs = [ systemdUkify ] ++ lib.optional (signing != null) signImage;
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
      --linux=${kernelImage kernel} \
      --initrd=${initramfs}/initramfs \
      --cmdline=@"$commandLinePath" \
      --os-release=@"$osReleasePath" \
      --uname=${kernel.modDirVersion} \
      --output=$out/${name}.efi
    ${lib.optionalString (signing != null) ''
      # A signature tells its time: a fixed one, for the same bytes whenever it is made.
      install -m 0644 $out/${name}.efi signed.efi
      TZ=UTC LD_PRELOAD=${libfaketime}/lib/libfaketime.so.1 FAKETIME="2026-01-01 00:00:00" \
        sign-image --key ${signing.key} --certificate ${signing.certificate} signed.efi
      cp --force signed.efi $out/${name}.efi
    ''}
  ''
