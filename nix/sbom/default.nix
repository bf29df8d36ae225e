# A software bill of materials of an image, in CycloneDX 1.5: what somebody has to look through when a fault in a component
# becomes known.
{
  lib,
  runCommand,
  python3,
  cacert,
  grub2,
  systemd,
  init,
}:
let
  release = import ../release.nix;
  licensesOf =
    package:
    map (license: license.spdxId or "LicenseRef-${license.shortName or "unknown"}") (
      lib.filter lib.isAttrs (lib.toList (package.meta.license or [ ]))
    );
  component =
    type: package: more:
    {
      inherit type;
      name = lib.getName package;
      version = lib.getVersion package;
      description = package.meta.description or "";
      licenses = licensesOf package;
      crates = package.crates or null;
    }
    // more;
in
/*
  Type: mkSbom :: { name, kernel, programs, closure } -> derivation with the file `<name>.cdx.json`

  programs  packages, with `crates` where buildApp made them
  closure   output of mkClosure, or null
*/
{
  name,
  kernel,
  programs,
  closure,
}:
runCommand "${name}-sbom"
  {
    nativeBuildInputs = [ python3 ];
    description = builtins.toJSON {
      inherit name;
      inherit (release) version;
      storePaths = if closure == null then null else "${closure}/store-paths";
      components = [
        (component "operating-system" kernel {
          name = "linux";
          description = "The kernel, without patches, with tinyboot's configuration";
          licenses = [ "GPL-2.0-only" ];
        })
        (component "application" init { })
        (component "data" cacert {
          description = "Certificates of the authorities that Mozilla trusts";
          licenses = [ "MPL-2.0" ];
        })
        (component "firmware" systemd {
          name = "systemd-stub";
          description = "The part of the UKI that UEFI starts";
          licenses = [ "LGPL-2.1-or-later" ];
        })
        (component "firmware" grub2 {
          name = "grub";
          description = "What BIOS starts";
          licenses = [ "GPL-3.0-or-later" ];
        })
      ]
      ++ map (program: component "application" program { }) programs;
    };
    passAsFile = [ "description" ];
    passthru.file = "${name}.cdx.json";
    meta.description = "Software bill of materials of ${name}";
  }
  ''
    mkdir -p $out
    python3 ${./sbom.py} "$descriptionPath" "$out/${name}.cdx.json"
  ''
