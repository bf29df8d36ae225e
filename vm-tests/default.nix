# The tests that boot machines: each file of this directory is one scenario, and each becomes the attribute of its name.
{
  lib,
  newScope,
  writeText,
  rust,
  mkImage,
}:
let
  scope = lib.makeScope newScope (self: {
    # The program of every machine under test, and the image that most scenarios boot.
    probe = rust.buildApp {
      pname = "probe";
      src = ./guest;
    };
    mkProbeImage =
      args:
      mkImage (
        {
          app = self.probe;
        }
        // args
      );
    probeImage = self.mkProbeImage {
      name = "probe";
      # Short, since tests wait it out.
      settings.app.gracePeriod = 4;
    };
    # With files, for the forms that are no ISO.
    formsImage = self.mkProbeImage {
      name = "forms";
      files = {
        "about.txt" = writeText "about.txt" "This came with the image.\n";
        "deep/er/A-Longer-Name.txt" = writeText "deep.txt" "found\n";
      };
    };
  });

  isScenario = name: type: type == "regular" && lib.hasSuffix ".nix" name && name != "default.nix";
in
lib.mapAttrs' (
  file: _: lib.nameValuePair (lib.removeSuffix ".nix" file) (scope.callPackage (./. + "/${file}") { })
) (lib.filterAttrs isScenario (builtins.readDir ./.))
