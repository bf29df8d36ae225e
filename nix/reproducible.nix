# Builds everything of the example image a second time, under other circumstances and without an output of the first
# time, and compares the bytes. The kernel takes minutes to build: that it is the same again is for the long run.
{
  lib,
  pkgs,
  libfaketime,
  tinyboot,
}:
let
  circumstances = ''
    umask 077
    export NIX_BUILD_CORES=1
    mkdir -p "$NIX_BUILD_TOP/another/way"
    cd "$NIX_BUILD_TOP/another/way"
    export LD_PRELOAD=${libfaketime}/lib/libfaketime.so.1
    export FAKETIME="@2031-02-03 04:05:06" NO_FAKE_STAT=1 FAKETIME_DONT_FAKE_MONOTONIC=1
  '';
  again = tinyboot.overrideScope (
    _: _: {
      inherit circumstances;
      runCommand =
        name: environment: script:
        pkgs.runCommand name environment (circumstances + script);
    }
  );

  compare =
    name: pairs:
    pkgs.runCommand "reproducible-${name}" { } (
      lib.concatStrings (
        lib.mapAttrsToList (part: pair: ''
          echo "comparing ${part}"
          [ ${pair.first} != ${pair.second} ] || { echo "The second build of ${part} is the first one." >&2; exit 1; }
          diff -r ${pair.first} ${pair.second} ||
            { echo "The ${part} of two builds differ: ${pair.first} and ${pair.second}." >&2; exit 1; }
        '') pairs
      )
      + "touch $out"
    );
  pair = path: {
    first = lib.getAttrFromPath path tinyboot;
    second = lib.getAttrFromPath path again;
  };
  # Anything that stdenv builds, again.
  rebuild =
    drv:
    drv.overrideAttrs (_: {
      preUnpack = circumstances;
    });
in
{
  image = compare "image" {
    init = pair [ "init" ];
    app = pair [ "hello" ];
    modules = pair [
      "image"
      "modules"
    ];
    initramfs = pair [
      "image"
      "initramfs"
    ];
    uki = pair [
      "image"
      "uki"
    ];
    iso = pair [
      "image"
      "iso"
    ];
  };

  long.kernel =
    let
      again = rebuild tinyboot.kernel;
    in
    compare "kernel" {
      configuration = {
        first = tinyboot.kernel.configfile;
        second = rebuild tinyboot.kernel.configfile;
      };
      kernel = {
        first = tinyboot.kernel;
        second = again;
      };
      modules = {
        first = tinyboot.kernel.modules;
        second = again.modules;
      };
    };
}
