# What `nix flake check` builds. The VM tests are the files of vm-tests/; nothing is listed twice.
{
  lib,
  runCommand,
  nixfmt,
  runtime,
  callPackage,
  tinyboot,
}:
let
  prefix = name: lib.mapAttrs' (test: value: lib.nameValuePair "${name}-${test}" value);
  # callPackage adds functions to override its result.
  derivations = lib.filterAttrs (_: lib.isDerivation);
in
prefix "runtime" runtime.checks
// prefix "vm" (derivations (callPackage ../vm-tests { }))
// prefix "reproducible" (derivations (callPackage ./reproducible.nix { inherit tinyboot; }))
// {
  nix-fmt = runCommand "nix-fmt" { nativeBuildInputs = [ nixfmt ]; } ''
    find ${
      lib.sourceByRegex ../. [
        ".*\\.nix"
        "(nix|vm-tests).*"
      ]
    } -name '*.nix' -exec nixfmt --check {} +
    touch $out
  '';
}
