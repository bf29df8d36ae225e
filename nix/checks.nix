# What `nix flake check` builds. The VM tests are the files of vm-tests/; nothing is listed twice.
{
  lib,
  runCommand,
  nixfmt,
  runtime,
  reproducible,
  vmTests,
  callPackage,
}:
let
  # callPackage adds functions that override its result: they are no checks.
  prefix =
    name: set:
    lib.mapAttrs' (test: lib.nameValuePair "${name}-${test}") (
      lib.filterAttrs (_: lib.isDerivation) set
    );
in
runtime.checks
// prefix "vm" vmTests
// prefix "bad-input" (callPackage ./bad-input.nix { })
// prefix "reproducible" reproducible
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
