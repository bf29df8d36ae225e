# crane's documented functions, as far as tinyboot uses them; see crane's API page for their meaning.
{ pkgs }:
let
  inherit (pkgs) lib;

  # The crates of a lock file, each under the name and hash that crane itself gives it.
  crates =
    cargoLock:
    lib.filter (
      package:
      if lib.hasPrefix "git+" (package.source or "") then
        throw "The crate ${package.name} comes from ${package.source}, but only the crates of a registry can be vendored here."
      else
        package ? checksum
    ) (lib.importTOML cargoLock).package;

  vendorCargoDeps =
    {
      src ? null,
      cargoLock ? src + "/Cargo.lock",
      ...
    }:
    pkgs.runCommand "vendor-cargo-deps"
      {
        crates = map (
          package:
          "${package.name}-${package.version} ${package.checksum} ${
            pkgs.fetchurl {
              name = "cargo-src-${package.name}-${package.version}";
              url = "the crates registry";
              sha256 = package.checksum;
            }
          }\n"
        ) (crates cargoLock);
        passAsFile = [ "crates" ];
      }
      ''
        mkdir -p $out
        while read -r name checksum file; do
          [ -n "$name" ] || continue
          tar xzf "$file" -C $out
          echo "{\"files\":{},\"package\":\"$checksum\"}" > "$out/$name/.cargo-checksum.json"
        done < "$cratesPath"
        printf '[source.crates-io]\nreplace-with = "vendored"\n[source.vendored]\ndirectory = "%s"\n' $out > $out/config.toml
      '';

  crateNameFromCargoToml =
    {
      src ? null,
      cargoToml ? src + "/Cargo.toml",
      ...
    }:
    let
      manifest = lib.importTOML cargoToml;
      package = manifest.package or manifest.workspace.package or { };
    in
    {
      pname = package.name or "cargo-package";
      version = if lib.isString (package.version or null) then package.version else "0.0.1";
    };

  filterCargoSources =
    path: type:
    type == "directory"
    || lib.any (suffix: lib.hasSuffix suffix path) [
      ".rs"
      ".toml"
    ]
    || baseNameOf path == "Cargo.lock";
  cleanCargoSource =
    src:
    lib.cleanSourceWith {
      inherit src;
      filter = path: type: lib.cleanSourceFilter path type && filterCargoSources path type;
    };

  # Only what decides about the dependencies, so that a change of code does not build them again.
  manifests =
    src:
    lib.cleanSourceWith {
      inherit src;
      name = "manifests";
      filter =
        path: type:
        type == "directory"
        || lib.elem (baseNameOf path) [
          "Cargo.toml"
          "Cargo.lock"
          "config.toml"
        ];
    };

  mkCargoDerivation =
    {
      buildPhaseCargoCommand,
      installPhaseCommand ? "mkdir -p $out",
      checkPhaseCargoCommand ? "",
      cargoArtifacts ? null,
      doInstallCargoArtifacts ? false,
      pnameSuffix ? "",
      ...
    }@args:
    let
      name = crateNameFromCargoToml args;
    in
    pkgs.stdenv.mkDerivation (
      removeAttrs args [
        "buildPhaseCargoCommand"
        "installPhaseCommand"
        "checkPhaseCargoCommand"
        "pnameSuffix"
        "cargoLock"
        "cargoToml"
      ]
      // {
        pname = (args.pname or name.pname) + pnameSuffix;
        version = args.version or name.version;
        cargoVendorDir = args.cargoVendorDir or (vendorCargoDeps args);
        CARGO_PROFILE = args.CARGO_PROFILE or "release";
        inherit cargoArtifacts;
        nativeBuildInputs = args.nativeBuildInputs or [ ] ++ [
          pkgs.cargo
          pkgs.jq
          pkgs.zstd
        ];
        configurePhase =
          args.configurePhase or ''
            runHook preConfigure
            export CARGO_HOME=$NIX_BUILD_TOP/.cargo-home CARGO_BUILD_JOBS=$NIX_BUILD_CORES
            export CARGO_BUILD_INCREMENTAL=''${CARGO_BUILD_INCREMENTAL-false}
            mkdir -p "$CARGO_HOME"
            cp "$cargoVendorDir/config.toml" "$CARGO_HOME/config.toml"
            if [ -n "''${cargoArtifacts:-}" ]; then
              tar --use-compress-program=zstd -xf "$cargoArtifacts/target.tar.zst"
              # The dependencies were built with empty files in the place of ours.
              find . -name '*.rs' -not -path './target/*' -exec touch {} +
            fi
            cargoWithProfile() { cargo "$1" ''${CARGO_PROFILE:+--profile "$CARGO_PROFILE"} "''${@:2}"; }
            runHook postConfigure
          '';
        buildPhase = ''
          runHook preBuild
          ${buildPhaseCargoCommand}
          runHook postBuild
        '';
        checkPhase = ''
          runHook preCheck
          ${checkPhaseCargoCommand}
          runHook postCheck
        '';
        installPhase = ''
          runHook preInstall
          ${installPhaseCommand}
          ${lib.optionalString doInstallCargoArtifacts ''
            mkdir -p $out
            tar --use-compress-program='zstd -3' -cf $out/target.tar.zst target
          ''}
          runHook postInstall
        '';
      }
    );

  extra = args: args.cargoExtraArgs or "--locked";
  without = args: names: removeAttrs args ([ "cargoExtraArgs" ] ++ names);
in
rec {
  fileset =
    let
      named = predicate: lib.fileset.fileFilter predicate;
    in
    {
      rust = named (file: file.hasExt "rs");
      toml = named (file: file.hasExt "toml");
      configToml = named (file: file.name == "config.toml");
      cargoTomlAndLock = named (file: file.name == "Cargo.toml" || file.name == "Cargo.lock");
      commonCargoSources = named (
        file: file.hasExt "rs" || file.hasExt "toml" || file.name == "Cargo.lock"
      );
    };

  inherit
    vendorCargoDeps
    crateNameFromCargoToml
    filterCargoSources
    cleanCargoSource
    mkCargoDerivation
    ;

  buildDepsOnly =
    args:
    mkCargoDerivation (
      without args [ "cargoTestExtraArgs" ]
      // {
        pnameSuffix = "-deps";
        src = manifests args.src;
        cargoVendorDir = args.cargoVendorDir or (vendorCargoDeps args);
        cargoArtifacts = null;
        doInstallCargoArtifacts = true;
        doCheck = false;
        postPatch = ''
          find . -name Cargo.toml -not -path './target/*' | while read -r manifest; do
            grep -q '^\[package\]' "$manifest" || continue
            directory=$(dirname "$manifest")
            mkdir -p "$directory/src"
            : > "$directory/src/lib.rs"
            echo 'fn main() {}' > "$directory/src/main.rs"
            # Further targets are named with their path.
            sed -n 's/^path *= *"\(.*\.rs\)"/\1/p' "$manifest" | while read -r file; do
              mkdir -p "$directory/$(dirname "$file")"
              [ -e "$directory/$file" ] || echo 'fn main() {}' > "$directory/$file"
            done
          done
        '';
        buildPhaseCargoCommand = ''
          cargoWithProfile build ${extra args}
        ''
        + lib.optionalString (args.doCheck or true) ''
          cargoWithProfile check ${extra args} --all-targets
          cargoWithProfile test ${extra args} --no-run
        '';
      }
    );

  buildPackage =
    args:
    mkCargoDerivation (
      without args [ ]
      // {
        cargoArtifacts = args.cargoArtifacts or (buildDepsOnly args);
        buildPhaseCargoCommand = ''
          cargoWithProfile build ${extra args} --message-format json-render-diagnostics > "$NIX_BUILD_TOP/build.log"
        '';
        checkPhaseCargoCommand = "cargoWithProfile test ${extra args}";
        doCheck = args.doCheck or true;
        installPhaseCommand = ''
          mkdir -p $out/bin
          jq -r 'select(.reason == "compiler-artifact" and .executable and (.target.kind == ["bin"])) | .executable' "$NIX_BUILD_TOP/build.log" |
            while read -r file; do
              # The places of the crates' sources stay as text without being references.
              sed "s|/nix/store/[0-9a-z]\{32\}-|/nix/store/eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee-|g" "$file" > "$out/bin/''${file##*/}"
              chmod +x "$out/bin/''${file##*/}"
            done
        '';
      }
    );

  cargoBuild =
    args:
    mkCargoDerivation (
      without args [ ]
      // {
        pnameSuffix = "-build";
        doCheck = false;
        doInstallCargoArtifacts = true;
        buildPhaseCargoCommand = "cargoWithProfile build ${extra args}";
      }
    );

  cargoClippy =
    args:
    mkCargoDerivation (
      without args [ "cargoClippyExtraArgs" ]
      // {
        pnameSuffix = "-clippy";
        buildPhaseCargoCommand = "cargoWithProfile clippy ${extra args} ${
          args.cargoClippyExtraArgs or "--all-targets"
        }";
      }
    );

  cargoTest =
    args:
    mkCargoDerivation (
      without args [ "cargoTestExtraArgs" ]
      // {
        pnameSuffix = "-test";
        buildPhaseCargoCommand = "";
        doCheck = true;
        checkPhaseCargoCommand = "cargoWithProfile test ${extra args} ${args.cargoTestExtraArgs or ""}";
      }
    );

  cargoDoc =
    args:
    mkCargoDerivation (
      without args [ "cargoDocExtraArgs" ]
      // {
        pnameSuffix = "-doc";
        buildPhaseCargoCommand = "cargoWithProfile doc ${extra args} ${
          args.cargoDocExtraArgs or "--no-deps"
        }";
      }
    );

  cargoFmt =
    args:
    mkCargoDerivation (
      without args [ "rustFmtExtraArgs" ]
      // {
        pnameSuffix = "-fmt";
        cargoArtifacts = null;
        cargoVendorDir = null;
        configurePhase = "true";
        buildPhaseCargoCommand = "cargo fmt ${args.cargoExtraArgs or ""} -- --check ${args.rustFmtExtraArgs or ""}";
      }
    );
}
