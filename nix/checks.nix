# What `nix flake check` builds. The VM tests are the files of vm-tests/; nothing is listed twice.
{
  lib,
  runCommand,
  nixfmt,
  runtime,
  hello,
  image,
  callPackage,
}:
let
  prefix = name: lib.mapAttrs' (test: value: lib.nameValuePair "${name}-${test}" value);
in
prefix "runtime" runtime.checks
// prefix "vm" (callPackage ../vm-tests { })
// {
  nix-fmt = runCommand "nix-fmt" { nativeBuildInputs = [ nixfmt ]; } ''
    find ${
      lib.fileset.toSource {
        root = ../.;
        fileset = lib.fileset.fileFilter (file: file.hasExt "nix") ../.;
      }
    } -name '*.nix' -exec nixfmt --check {} +
    touch $out
  '';
}
