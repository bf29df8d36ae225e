# Turns a scenario into a test: the helpers in front, and no machine left running behind.
{
  lib,
  testers,
  OVMF,
  btrfs-progs,
  e2fsprogs,
  dosfstools,
  qemu_test,
  peer,
}:
/*
  Type: mkTest :: { name, script, constants ? { }, seconds ? 900 } -> derivation

  script     Python, with the names of prelude.py and of NixOS's test driver
  constants  attribute set of strings, which the script sees under these names
  seconds    bound of the whole test
*/
{
  name,
  script,
  constants ? { },
  seconds ? 900,
}:
let
  strings = {
    # By its path: the driver does not bring QEMU along.
    QEMU = "${qemu_test}/bin/qemu-system-x86_64";
    FIRMWARE = OVMF.firmware;
    VARIABLES = OVMF.variables;
    MKFS_BTRFS = "${btrfs-progs}/bin/mkfs.btrfs";
    MKFS_EXT = "${e2fsprogs.bin or e2fsprogs}/bin/mke2fs";
    MKFS_VFAT = "${dosfstools}/bin/mkfs.vfat";
    PEER_KERNEL = peer.kernel;
    PEER_INITRAMFS = peer.initramfs;
  }
  // constants;

  indent =
    text:
    lib.concatMapStrings (line: if line == "" then "\n" else "    ${line}\n") (
      lib.splitString "\n" text
    );

  test = testers.runNixOSTest {
    inherit name;
    nodes = { };
    globalTimeout = seconds;
    testScript = ''
      ${lib.concatStrings (
        lib.mapAttrsToList (constant: value: "${constant} = ${builtins.toJSON "${value}"}\n") strings
      )}
      ${builtins.readFile ./prelude.py}

      try:
      ${indent script}
      finally:
          end_machines()
    '';
  };
in
# Guests run without KVM too, only slower.
test.overrideTestDerivation (_: {
  requiredSystemFeatures = [ "nixos-test" ];
})
// {
  inherit (test) driver;
}
