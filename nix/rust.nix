# How Rust is built here: static binaries for the machine's own target, by crane, dependencies apart from the program.
{
  lib,
  stdenv,
  craneLib,
  glibc,
}:
let
  environment = {
    strictDeps = true;
    # With an explicit target the flags below do not reach build scripts and procedural macros, which cannot be static.
    CARGO_BUILD_TARGET = stdenv.hostPlatform.rust.rustcTarget;
    CARGO_BUILD_RUSTFLAGS = "-C target-feature=+crt-static";
    buildInputs = [ glibc.static ];
  };
in
{
  inherit environment;

  /*
    Builds one program as a static executable.

    Type: buildApp :: { src, pname, directory ? ".", profile ? "release", … } -> derivation

    src        folder with Cargo.toml and Cargo.lock
    directory  where in `src` they are, for a package that depends on its neighbours by path
    profile    cargo's profile; the package must define it
    Further arguments are crane's (`buildPackage`).
  */
  buildApp =
    {
      src,
      pname,
      directory ? ".",
      profile ? "release",
      ...
    }@args:
    let
      common =
        environment
        // {
          version = "0.1.0";
          cargoToml = src + "/${directory}/Cargo.toml";
          cargoLock = src + "/${directory}/Cargo.lock";
          postUnpack = ''
            cd "$sourceRoot/${directory}"
            sourceRoot=.
          '';
          CARGO_PROFILE = profile;
          doCheck = false;
        }
        // removeAttrs args [
          "directory"
          "profile"
        ];
    in
    craneLib.buildPackage (
      common
      // {
        cargoArtifacts = craneLib.buildDepsOnly common;
        meta = {
          mainProgram = pname;
        }
        // args.meta or { };
      }
    );
}
