# What the command has put into the store before an evaluation: a fixed-output derivation that is valid already never
# runs its builder.
{ system }:
rec {
  lock = builtins.fromJSON (builtins.readFile ../lock.json);

  given =
    args:
    derivation (
      {
        inherit system;
        builder = "/nix/debian/nix adds this path to the store";
        outputHashAlgo = "sha256";
        preferLocalBuild = true;
      }
      // args
    );

  storeName = builtins.replaceStrings [ "%" "~" ] [ "_" "_" ];

  # The .deb of a file name in the archive.
  deb =
    name:
    given {
      name = storeName name;
      outputHashMode = "flat";
      outputHash = lock.debs.${name}.sha256;
    };

  # A static BusyBox, to have something that runs before there is anything else.
  bootstrap = given {
    name = "busybox";
    outputHashMode = "recursive";
    outputHash = lock.bootstrap;
  };
}
