# What `nix flake check` builds. The VM tests are the files of vm-tests/; nothing is listed twice.
{
  lib,
  runCommand,
  nixfmt,
  runtime,
  reproducible,
  vmTests,
  callPackage,
  stdenv,

  flake,
}:
let
  # callPackage adds functions that override its result: they are no checks.
  prefix =
    name: set:
    lib.mapAttrs' (test: lib.nameValuePair "${name}-${test}") (
      lib.filterAttrs (_: lib.isDerivation) set
    );

  # Each template as a flake of its own, with this one as its input.
  templates = lib.concatMapAttrs (
    name: template:
    let
      outputs = (import "${template.path}/flake.nix").outputs {
        self = outputs;
        tinyboot = flake;
      };
    in
    lib.mapAttrs' (
      check: lib.nameValuePair "template-${name}-${check}"
    ) outputs.checks.${stdenv.hostPlatform.system}
  ) (removeAttrs flake.templates [ "default" ]);
in
templates
// prefix "sbom" (callPackage ./sbom/check.nix { })
// runtime.checks
// prefix "vm" vmTests
// prefix "bad-input" (callPackage ./bad-input.nix { })
// prefix "reproducible" reproducible
// {
  nix-fmt = runCommand "nix-fmt" { nativeBuildInputs = [ nixfmt ]; } ''
    find ${
      lib.sourceByRegex ../. [
        ".*\\.nix"
        "(nix|vm-tests|templates).*"
      ]
    } -name '*.nix' -exec nixfmt --check {} +
    touch $out
  '';
}
