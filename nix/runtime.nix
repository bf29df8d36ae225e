# The parts of the repository's workspace that run on the machine, and what is checked of them.
{
  lib,
  craneLib,
  rust,
  runCommand,
  busybox,
  dnsmasq,
}:
let
  release = import ./release.nix;

  # Sources of one part: what another part consists of does not build this one again.
  part =
    name: directories: extra:
    rust.environment
    // {
      pname = name;
      inherit (release) version;
      src = lib.sourceByRegex ../. (
        [
          "Cargo\\.(toml|lock)"
          "rustfmt\\.toml"
        ]
        ++ lib.concatMap (directory: [
          (dirOf directory)
          "${directory}(/.*)?"
        ]) directories
      );
      # The lock file is the whole repository's: cargo drops from it what the other parts need.
      cargoExtraArgs = "--offline --workspace";
    }
    // extra;
  runtime = part "tinyboot" [
    "runtime/init"
    "runtime/tinyboot"
  ] { };
  hello = part "hello" [
    "runtime/tinyboot"
    "examples/hello"
  ] { cargoExtraArgs = "--offline --package hello"; };

  guest = rust.environment // {
    pname = "probe";
    inherit (release) version;
    src = ../vm-tests/guest;
    cargoExtraArgs = "--locked";
  };

  # Alone, since all of BusyBox would take the place of the build's own tools.
  udhcpd = runCommand "udhcpd" { } ''
    mkdir -p $out/bin
    ln -s ${busybox}/bin/udhcpd $out/bin/udhcpd
  '';

  # The fuzz targets, each run so many times; the same inputs whenever and wherever that is.
  fuzz =
    runs:
    craneLib.mkCargoDerivation {
      pname = "fuzz";
      inherit (release) version;
      src = lib.sourceByRegex ../. [
        "Cargo\\.toml"
        "runtime"
        "runtime/(init|tinyboot|fuzz)(/.*)?"
      ];
      cargoVendorDir = craneLib.vendorCargoDeps { cargoLock = ../runtime/fuzz/Cargo.lock; };
      cargoArtifacts = null;
      buildPhaseCargoCommand = "bash runtime/fuzz/run --runs ${toString runs}";
      doInstallCargoArtifacts = false;
      installPhaseCommand = "mkdir -p $out";
    };

  executable =
    common: pname: description:
    rust.buildApp (
      common
      // {
        inherit pname;
        # With the features that this program needs, not those of its neighbours.
        cargoExtraArgs = "--offline --package ${pname}";
        meta = {
          inherit description;
          license = lib.licenses.mit;
          platforms = lib.platforms.linux;
        };
      }
    );

  # One build of the dependencies serves lints, tests and documentation.
  checksOf =
    common: prefix:
    let
      debug = common // {
        CARGO_PROFILE = "dev";
      };
      shared = debug // {
        cargoArtifacts = craneLib.buildDepsOnly debug;
      };
    in
    lib.mapAttrs' (name: lib.nameValuePair "${prefix}-${name}") {
      clippy = craneLib.cargoClippy (
        shared // { cargoClippyExtraArgs = "--all-targets -- --deny warnings"; }
      );

      # The DHCP client is tested against real servers, each test in network namespaces of its own.
      test = craneLib.cargoTest (
        shared
        // {
          nativeBuildInputs = [
            dnsmasq
            udhcpd
          ];
          TINYBOOT_TESTS_REQUIRE = 1;
        }
      );

      doc = craneLib.cargoDoc (
        shared
        // {
          cargoDocExtraArgs = "--no-deps --document-private-items";
          RUSTDOCFLAGS = "--deny warnings";
        }
      );

      fmt = craneLib.cargoFmt { inherit (common) pname version src; };
    };
in
{
  inherit udhcpd;
  init = executable runtime "tinyboot-init" "PID 1 of a machine that is one program";
  hello = executable hello "hello" "A machine that says what it is";
  checks =
    checksOf runtime "runtime"
    // checksOf hello "hello"
    // {
      # The program of the VM tests has no tests of its own.
      inherit (checksOf guest "guest") guest-clippy guest-fmt;

      fuzz = fuzz 30000;
    };
  # Checks that take too long for every change.
  long.fuzz = fuzz 10000000;
}
