# stdenv.mkDerivation on Debian trees.
{
  lib,
  system,
  bootstrap,
}:
{
  trees,
  pkgs,
  cc ? null,
}:
let
  platform = {
    inherit system;
    config = "x86_64-unknown-linux-gnu";
    isLinux = true;
    isx86_64 = true;
    isx86 = true;
    is64bit = true;
    isDarwin = false;
    isWindows = false;
    isStatic = false;
    isMusl = false;
    linuxArch = "x86_64";
    efiArch = "x64";
    go.GOARCH = "amd64";
    qemuArch = "x86_64";
    linux-kernel = {
      name = "pc";
      target = "bzImage";
    };
    rust = {
      rustcTarget = "x86_64-unknown-linux-gnu";
      rustcTargetSpec = "x86_64-unknown-linux-gnu";
      cargoShortTarget = "x86_64-unknown-linux-gnu";
      cargoEnvVarTarget = "X86_64_UNKNOWN_LINUX_GNU";
    };
    parsed.cpu.name = "x86_64";
    canExecute = _: true;
    extensions = {
      executable = "";
      sharedLibrary = ".so";
    };
  };

  # Not for the builder's environment.
  notForBuilder = [
    "meta"
    "passthru"
    "pos"
    "env"
    "__structuredAttrs"
  ];

  mkDerivation =
    given:
    let
      final = if lib.isFunction given then given self else given;
      name = final.name or "${final.pname}-${final.version}";
      strip = lib.filterAttrs (_: value: value != null) (removeAttrs final notForBuilder);
      drv = derivation (
        strip
        // final.env or { }
        // {
          inherit name system;
          builder = "${bootstrap}/bin/busybox";
          args = [
            "sh"
            ./enter.sh
          ];
          busybox = bootstrap;
          setup = ./setup.sh;
          debianTrees = trees;
        }
      );
      extra = (final.passthru or { }) // {
        inherit name stdenv;
        inherit (final) meta;
        outputs = final.outputs or [ "out" ];
        overrideAttrs =
          change:
          mkDerivation (
            self':
            let
              previous = if lib.isFunction given then given self' else given;
              step = change self';
            in
            previous // (if lib.isFunction step then step previous else change previous)
          );
      };
      attributes =
        removeAttrs final [ "env" ]
        // extra
        // {
          meta = final.meta or { };
          passthru = final.passthru or { };
        };
      outputs = lib.genAttrs (final.outputs or [ "out" ]) (
        output: drv.${output} // attributes // { outputSpecified = true; }
      );
      self = drv // attributes // outputs;
    in
    self;

  stdenv = {
    inherit mkDerivation cc system;
    hostPlatform = platform;
    buildPlatform = platform;
    targetPlatform = platform;
    shell = "${lib.head trees}/bin/bash";
    isLinux = true;
    outPath = "${lib.head trees}";
    type = "derivation";
    name = "stdenv-debian";
    hasCC = cc != null;
  };
in
stdenv
