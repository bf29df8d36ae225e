# The runtime's workspace: PID 1, and what is checked of it. One build of the dependencies serves them all.
{
  lib,
  craneLib,
  rust,
  busybox,
  dnsmasq,
}:
let
  release = import ./release.nix;
  common = rust.environment // {
    pname = "tinyboot";
    inherit (release) version;
    # The lock file is the repository's: what the examples need is dropped from it.
    cargoExtraArgs = "--offline --workspace";
    src = lib.sourceByRegex ../. [
      "Cargo\\.(toml|lock)"
      "runtime(/.*)?"
    ];
  };
  cargoArtifacts = craneLib.buildDepsOnly common;
  debug = common // {
    CARGO_PROFILE = "dev";
  };
  debugArtifacts = craneLib.buildDepsOnly debug;
in
{
  init = craneLib.buildPackage (
    common
    // {
      inherit cargoArtifacts;
      pname = "tinyboot-init";
      cargoExtraArgs = "--offline --package tinyboot-init";
      # The tests are a check of their own, in a profile that builds quickly.
      doCheck = false;
      meta = {
        description = "PID 1 of a machine that is one program";
        license = lib.licenses.mit;
        mainProgram = "tinyboot-init";
        platforms = lib.platforms.linux;
      };
    }
  );

  checks = {
    clippy = craneLib.cargoClippy (
      debug
      // {
        cargoArtifacts = debugArtifacts;
        cargoClippyExtraArgs = "--all-targets -- --deny warnings";
      }
    );

    # The DHCP client is tested against real servers, each test in network namespaces of its own.
    test = craneLib.cargoTest (
      debug
      // {
        cargoArtifacts = debugArtifacts;
        nativeBuildInputs = [
          busybox
          dnsmasq
        ];
        TINYBOOT_TESTS_REQUIRE = 1;
      }
    );

    doc = craneLib.cargoDoc (
      debug
      // {
        cargoArtifacts = debugArtifacts;
        cargoDocExtraArgs = "--no-deps --document-private-items";
        RUSTDOCFLAGS = "--deny warnings";
      }
    );

    fmt = craneLib.cargoFmt { inherit (common) pname version src; };
  };
}
