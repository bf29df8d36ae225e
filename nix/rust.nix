# Rust builds: static binaries for the machine's own target, by crane, dependencies apart from the program.
{
  lib,
  stdenv,
  craneLib,
  glibc,

  # Shell code at the start of every build; `reproducible.nix` changes the circumstances of a build with it.
  circumstances ? "",
}:
let
  environment = {
    strictDeps = true;
    # With an explicit target the flags do not reach build scripts and procedural macros, which cannot be static.
    CARGO_BUILD_TARGET = stdenv.hostPlatform.rust.rustcTarget;
    buildInputs = [ glibc.static ];
    preUnpack = circumstances + ''
      buildTop=$PWD
    '';
    # Panic messages name source files: the same ones wherever the build took place.
    preBuild = ''
      export CARGO_BUILD_RUSTFLAGS="-C target-feature=+crt-static --remap-path-prefix=$buildTop=/build"
    '';
  };

  # The crates that are linked into a program: `crates`, a line for each with name, version, licence and source, and the
  # lock file with their checksums.
  cratesOf =
    common:
    craneLib.mkCargoDerivation (
      removeAttrs common [ "buildInputs" ]
      // {
        pnameSuffix = "-crates";
        cargoArtifacts = null;
        doInstallCargoArtifacts = false;
        buildPhaseCargoCommand = ''
          cargo tree --offline --package ${common.pname} --target $CARGO_BUILD_TARGET --edges normal,no-proc-macro \
            --prefix none --no-dedupe --format '{p}|{l}|{r}' | LC_ALL=C sort --unique > crates
        '';
        installPhaseCommand = ''
          mkdir -p $out
          cp crates Cargo.lock $out/
        '';
      }
    );
  # Settings that build a profile's program soon, at the price of size: cargo reads these over the manifest.
  quick =
    profile:
    let
      variable = "CARGO_PROFILE_${lib.replaceStrings [ "-" ] [ "_" ] (lib.toUpper profile)}";
    in
    {
      "${variable}_OPT_LEVEL" = "1";
      "${variable}_LTO" = "off";
      "${variable}_CODEGEN_UNITS" = "16";
    };
in
{
  inherit environment;

  /*
    Builds one program as a static executable.

    Type: buildApp :: { src, pname, profile ? "release", … } -> derivation

    src      folder with Cargo.toml and Cargo.lock, of a package or of a workspace
    pname    the package, and its executable
    profile  cargo's profile; the workspace must define it unless it is one of cargo's own
    Further arguments are those of crane's buildPackage. The result's `quick` is the same program, built sooner and larger.
  */
  buildApp =
    {
      src,
      pname,
      profile ? "release",
      ...
    }@args:
    let
      build =
        common:
        craneLib.buildPackage (
          common
          // {
            cargoArtifacts = craneLib.buildDepsOnly common;
            passthru = {
              crates = cratesOf common;
            }
            // args.passthru or { };
            meta = {
              mainProgram = pname;
            }
            // args.meta or { };
          }
        );
      common =
        environment
        // {
          cargoExtraArgs = "--locked --package ${pname}";
          CARGO_PROFILE = profile;
          # Tests are checks of their own, in a profile that builds quickly.
          doCheck = false;
        }
        // removeAttrs args [ "profile" ];
    in
    build common // { quick = build (common // quick common.CARGO_PROFILE); };
}
