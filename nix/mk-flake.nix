# A whole flake of one image, for the common case.
{
  lib,
  systems,

  # The value of default.nix for each system.
  perSystem,
}:
/*
  Makes a flake's outputs for one image: `packages` with each form of it, `apps.vm` that boots it in QEMU, `checks` with its
  tests.

  Type: mkFlake :: (attrset | (pkgs -> attrset)) -> { packages, apps, checks }

  The attribute set is mkImage's, or a function of the package set that returns it, with one more argument:
  tests  attribute set of name -> function, or file with one, of { image, mkTest, … } that returns what mkTest makes

  Example:
    outputs = { tinyboot, ... }: tinyboot.lib.mkFlake { name = "my-machine"; src = ./.; };
*/
args:
let
  outputsOf =
    { lib, pkgs, ... }:
    let
      given = if pkgs.lib.isFunction args then args pkgs else args;
      image = lib.mkImage (removeAttrs given [ "tests" ]);
      call = pkgs.lib.callPackageWith (
        pkgs
        // {
          inherit image;
          inherit (lib) mkTest mkImage mkApp;
        }
      );
    in
    {
      packages = pkgs.lib.filterAttrs (_: pkgs.lib.isDerivation) image // {
        default = image.iso;
      };
      apps = rec {
        vm = {
          type = "app";
          program = pkgs.lib.getExe image.vm;
        };
        default = vm;
      };
      checks = {
        inherit (image) iso;
      }
      // pkgs.lib.mapAttrs (_: test: call test { }) (given.tests or { });
    };
  outputs = lib.genAttrs systems (system: outputsOf perSystem.${system});
in
lib.genAttrs [ "packages" "apps" "checks" ] (
  output: lib.genAttrs systems (system: outputs.${system}.${output})
)
