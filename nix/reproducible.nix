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
    export NIX_BUILD_CORES=1 LC_ALL=C.UTF-8 TZ=Asia/Kathmandu
    mkdir -p "$NIX_BUILD_TOP/another/way"
    cd "$NIX_BUILD_TOP/another/way"
    export LD_PRELOAD=${libfaketime}/lib/libfaketime.so.1
    export FAKETIME="@2031-02-03 04:05:06" NO_FAKE_STAT=1 FAKETIME_DONT_FAKE_MONOTONIC=1
  '';
  underCircumstances =
    runCommand: name: environment: script:
    runCommand name environment (circumstances + script);
  again = tinyboot.overrideScope (
    _: _: {
      inherit circumstances;
      runCommand = underCircumstances pkgs.runCommand;
      runCommandCC = underCircumstances pkgs.runCommandCC;
    }
  );

  compare =
    name: pairs:
    pkgs.runCommand "reproducible-${name}" { } (
      lib.concatMapStrings (
        {
          part,
          first,
          second,
        }:
        ''
          echo "comparing ${part}"
          [ ${first} != ${second} ] || { echo "The second build of ${part} is the first one." >&2; exit 1; }
          if ! differences=$(diff --recursive --brief ${first} ${second}); then
            echo "Two builds of ${part} differ: $(head -n 1 <<<"$differences")." >&2
            echo "To see in what: nix develop --command diffoscope ${first} ${second}" >&2
            exit 1
          fi
        ''
      ) pairs
      + "touch $out"
    );
  # Anything that stdenv builds, again.
  rebuild =
    drv:
    drv.overrideAttrs (_: {
      preUnpack = circumstances;
    });

  formsOf = scope: scope.image // { inherit (scope) init hello; };
  # Parts come before the outputs made of them, so that the first difference is the cause and no consequence.
  parts = lib.unique (
    [
      "hello"
      "init"
      "modules"
      "initramfs"
      "uki"
      "payload"
      "disk"
    ]
    ++ tinyboot.forms
  );
in
{
  # The parts and every form that is made of them.
  image = compare "image" (
    map (part: {
      inherit part;
      first = (formsOf tinyboot).${part};
      second = (formsOf again).${part};
    }) parts
  );

  long.kernel =
    let
      again = rebuild tinyboot.kernel;
    in
    compare "kernel" [
      {
        part = "configuration";
        first = tinyboot.kernel.configfile;
        second = rebuild tinyboot.kernel.configfile;
      }
      {
        part = "kernel";
        first = tinyboot.kernel;
        second = again;
      }
      {
        part = "modules";
        first = tinyboot.kernel.modules;
        second = again.modules;
      }
    ];
}
