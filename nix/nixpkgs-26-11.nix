# A check: what differs between nixpkgs 26.05 and 26.11 makes no difference to the flake. 26.05's platform names the kernel's
# file; since 26.11 the kernel does, and the platform has no `linux-kernel`.
{
  lib,
  pkgs,
  runCommand,
  overrideScope,
}:
let
  inherit (pkgs.stdenv) hostPlatform;
  target = hostPlatform.linux-kernel.target or "bzImage";
  with' =
    { platform, kernel }:
    overrideScope (
      _: previous: {
        stdenv = pkgs.stdenv // {
          hostPlatform = removeAttrs hostPlatform [ "linux-kernel" ] // platform;
        };
        mkKernel = args: removeAttrs (previous.mkKernel args) [ "target" ] // kernel;
      }
    );
  before = with' {
    platform.linux-kernel = { inherit target; };
    kernel = { };
  };
  after = with' {
    platform = { };
    kernel = { inherit target; };
  };

  # Each output that names the kernel's file.
  paths =
    scope:
    map (drv: builtins.unsafeDiscardStringContext drv.drvPath) (
      lib.attrVals scope.forms scope.image
      ++ [ scope.image.vm ]
      ++ lib.attrValues (lib.filterAttrs (_: lib.isDerivation) scope.vmTests)
    );
in
assert lib.assertMsg (
  paths before == paths after
) "The image depends on whether nixpkgs names the kernel's file at the platform or at the kernel.";
runCommand "nixpkgs-26-11" { } "touch $out"
