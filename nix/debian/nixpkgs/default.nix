# The package set: nixpkgs' attributes, made from Debian packages.
{ system }:
let
  lib = import ./lib.nix;
  inherit (import ./inputs.nix { inherit system; })
    lock
    given
    storeName
    deb
    bootstrap
    ;

  # A closure unpacked, as a package.
  debian =
    attribute:
    {
      postUnpack ? "",
      pname ? attribute,
      ...
    }@args:
    let
      closure = lock.closures.${attribute};
      drv = derivation {
        name = "${pname}-${version}";
        inherit system postUnpack;
        builder = "${bootstrap}/bin/busybox";
        args = [
          "sh"
          ./stdenv/tree.sh
        ];
        busybox = bootstrap;
        debs = map deb closure;
        preferLocalBuild = true;
      };
      # Without the epoch: the first of a closure is the package that it is named after.
      version = storeName (
        lib.last (lib.splitString "%3a" (lib.elemAt (lib.splitString "_" (lib.head closure)) 1))
      );
    in
    extend drv (
      {
        inherit pname version;
        outputs = [ "out" ];
        meta = {
          mainProgram = pname;
        };
      }
      // removeAttrs args [ "postUnpack" ]
    );
  # Adds attributes to a derivation and to each of its outputs.
  extend = drv: attrs: drv // attrs // { out = drv.out // attrs; };

  inherit (pkgs) callPackage runCommand;
  packages = lib.genAttrs (lib.filter (
    name:
    !(lib.elem name [
      "base"
      "toolchain"
      "rust"
      "linux"
      "linux-image"
      "systemd"
      "OVMF"
      "cacert"
      "grub2"
      "busybox"
      "qemu"
    ])
  ) (lib.attrNames lock.closures)) (attribute: debian attribute { });

  base = debian "base" { };
  toolchain = debian "toolchain" { };
  rust = debian "rust" { };
  linuxSource = debian "linux" { };
  # Debian's own kernel, of its flavour for clouds, in the layout of nixpkgs' kernels.
  linuxImage =
    let
      unpacked = debian "linux-image" {
        postUnpack = "mkdir -p usr/boot; mv boot/vmlinuz-* usr/boot/bzImage";
      };
    in
    runCommand "linux-image-${unpacked.version}" { nativeBuildInputs = [ packages.kmod ]; } ''
      mkdir -p $out/lib/modules
      cp ${unpacked}/usr/boot/bzImage $out/
      cp -r ${unpacked}/usr/lib/modules/* $out/lib/modules/
      chmod -R u+w $out
      # The package's own tables are made by its maintainer script.
      depmod --basedir $out "$(ls $out/lib/modules)"
    '';
  mkStdenv = import ./stdenv {
    inherit lib system bootstrap;
  };

  standInCrane = import ../crane/lib.nix { inherit pkgs; };

  pkgs = packages // rec {
    inherit lib system;
    inherit (pkgs.stdenv) hostPlatform buildPlatform targetPlatform;
    config = { };
    overlays = [ ];
    newScope = extra: lib.callPackageWith (pkgs // extra);
    callPackage = newScope { };
    inherit pkgs;

    stdenvNoCC = mkStdenv {
      trees = [ base ];
      inherit pkgs;
    };
    stdenv = mkStdenv {
      trees = [
        base
        toolchain
      ];
      cc = toolchain // {
        bintools = toolchain;
        targetPrefix = "";
        cc = toolchain;
      };
      inherit pkgs;
    };

    # one tree, several names
    # Builds see the toolchain in /usr; crane looks for the place in the store.
    rustc =
      extend
        (runCommand "rustc-${rust.version}" { } ''
          mkdir -p $out/nix-support
          ln -s ${rust}/bin $out/bin
          echo ${rust} > $out/nix-support/propagated-build-inputs
          cat > $out/nix-support/setup-hook <<'HOOK'
          rustc() { if [ "$*" = "--print sysroot" ]; then echo ${rust}; else command rustc "$@"; fi; }
          HOOK
        '')
        {
          pname = "rustc";
          meta.mainProgram = "rustc";
        };
    rustc-unwrapped = rustc;
    cargo = extend rust {
      pname = "cargo";
      meta.mainProgram = "cargo";
    };
    clippy = extend rust {
      pname = "clippy";
      meta.mainProgram = "cargo-clippy";
    };
    rustfmt = extend rust {
      pname = "rustfmt";
      meta.mainProgram = "rustfmt";
    };
    binutils = toolchain;
    gcc = stdenv.cc;
    bash = base;
    bashNonInteractive = base;
    runtimeShell = "${base}/bin/bash";
    coreutils = base;
    findutils = base;
    gnugrep = base;
    gnused = base;
    gawk = base;
    gnutar = base;
    gzip = base;
    diffutils = base;
    file = base;
    # Debian's libc6-dev has the static library beside the shared one.
    glibc = toolchain // {
      static = toolchain;
      dev = toolchain;
    };
    pkgsStatic = pkgs // {
      busybox = debian "busybox-static" {
        pname = "busybox";
        # A static program gets no wrapper.
        postUnpack = "mkdir bin; ln -s ../usr/bin/busybox bin/busybox";
        meta.mainProgram = "busybox";
      };
    };
    python3Packages = {
      inherit (packages) cyclonedx-python-lib;
      # It comes with the former's closure.
      jsonschema = packages.cyclonedx-python-lib;
    };
    qemu = debian "qemu" { meta.mainProgram = "qemu-system-x86_64"; };
    qemu_kvm = qemu;
    qemu_test = qemu;
    inherit
      (import ./files.nix {
        inherit debian runCommand;
        inherit (packages) patchelf;
      })
      OVMF
      systemd
      cacert
      grub2
      ipxe
      libfaketime
      busybox
      ;

    # trivial builders
    runCommandWith =
      {
        name,
        stdenv ? pkgs.stdenvNoCC,
        derivationArgs ? { },
        ...
      }:
      buildCommand:
      stdenv.mkDerivation (
        {
          inherit name buildCommand;
          passAsFile = [ "buildCommand" ] ++ derivationArgs.passAsFile or [ ];
        }
        // removeAttrs derivationArgs [ "passAsFile" ]
      );
    runCommand =
      name: env:
      runCommandWith {
        inherit name;
        derivationArgs = env;
      };
    runCommandLocal = runCommand;
    runCommandCC =
      name: env:
      runCommandWith {
        inherit name;
        inherit (pkgs) stdenv;
        derivationArgs = env;
      };
    writeTextFile =
      {
        name,
        text,
        executable ? false,
        destination ? "",
        checkPhase ? "",
        meta ? { },
        derivationArgs ? { },
      }:
      runCommand name
        (
          {
            inherit text meta;
            passAsFile = [ "text" ];
          }
          // derivationArgs
        )
        ''
          target=$out${lib.escapeShellArg destination}
          mkdir -p "$(dirname "$target")"
          cp "$textPath" "$target"
          ${lib.optionalString executable ''chmod +x "$target"''}
          ${checkPhase}
        '';
    writeText = name: text: writeTextFile { inherit name text; };
    writeScript =
      name: text:
      writeTextFile {
        inherit name text;
        executable = true;
      };
    writeScriptBin =
      name: text:
      writeTextFile {
        inherit name text;
        executable = true;
        destination = "/bin/${name}";
        meta.mainProgram = name;
      };
    writeShellScript = name: text: writeScript name "#!${runtimeShell}\n${text}";
    writeShellScriptBin = name: text: writeScriptBin name "#!${runtimeShell}\n${text}";
    inherit
      (import ./stdenv/view.nix {
        inherit
          lib
          bootstrap
          base
          runCommand
          runtimeShell
          writeTextFile
          ;
        inherit (packages) shellcheck;
      })
      writeShellApplication
      ;
    shellcheck-minimal = packages.shellcheck;
    linkFarm =
      name: entries:
      runCommand name { } (
        "mkdir -p $out\n"
        +
          lib.concatMapStrings
            (e: ''
              mkdir -p "$out/$(dirname ${lib.escapeShellArg e.name})"
              ln -s ${lib.escapeShellArg e.path} $out/${lib.escapeShellArg e.name}
            '')
            (
              if lib.isAttrs entries then
                lib.mapAttrsToList (name: path: { inherit name path; }) entries
              else
                entries
            )
      );
    symlinkJoin =
      {
        name,
        paths,
        postBuild ? "",
        ...
      }@args:
      runCommand name
        {
          inherit paths;
          meta = args.meta or { };
        }
        ''
          mkdir -p $out
          for path in $paths; do cp -rs --no-preserve=mode "$path"/. $out/; done
          ${postBuild}
        '';
    makeSetupHook =
      {
        name ? "hook",
        propagatedBuildInputs ? [ ],
        substitutions ? { },
        meta ? { },
        passthru ? { },
        ...
      }:
      script:
      runCommand name
        {
          inherit meta passthru;
          propagated = propagatedBuildInputs;
        }
        ''
          mkdir -p $out/nix-support
          cp ${script} $out/nix-support/setup-hook
          chmod u+w $out/nix-support/setup-hook
          echo "$propagated" > $out/nix-support/propagated-build-inputs
          ${lib.concatStrings (
            lib.mapAttrsToList (
              n: v:
              "substituteInPlace $out/nix-support/setup-hook --replace-quiet @${n}@ ${lib.escapeShellArg (toString v)}\n"
            ) substitutions
          )}
        '';
    closureInfo =
      { rootPaths }:
      runCommand "closure-info"
        {
          exportReferencesGraph = lib.concatLists (
            lib.imap0 (n: path: [
              "graph-${toString n}"
              path
            ]) rootPaths
          );
        }
        ''
          mkdir $out
          cat $NIX_BUILD_TOP/graph-* | grep '^/nix/store/' | LC_ALL=C sort -u > $out/store-paths
        '';
    fetchurl =
      {
        url ? null,
        urls ? [ ],
        name ? baseNameOf (if url != null then url else lib.head urls),
        sha256 ? null,
        hash ? null,
        ...
      }:
      given (
        {
          name = storeName name;
          outputHashMode = "flat";
        }
        // (
          if hash != null then
            {
              outputHash = hash;
              outputHashAlgo = null;
            }
          else
            { outputHash = sha256; }
        )
      );
    inherit
      (import ./stdenv/shell.nix {
        inherit
          lib
          system
          bootstrap
          base
          stdenv
          runCommand
          writeTextFile
          ;
      })
      mkShell
      bashInteractive
      ;
    formats.json = _: { generate = name: value: writeText name (builtins.toJSON value); };

    # Rust
    rustPlatform.buildRustPackage =
      {
        cargoLock ? { },
        ...
      }@args:
      standInCrane.buildPackage (
        removeAttrs args [ "cargoLock" ]
        // lib.optionalAttrs (cargoLock ? lockFile) { cargoLock = cargoLock.lockFile; }
      );
    # Another program than nixpkgs' package of this name, hence the other name of the package.
    nixfmt = standInCrane.buildPackage {
      pname = "nixfmt-rs";
      src = standInCrane.cleanCargoSource ../nixfmt;
      CARGO_BUILD_TARGET = stdenv.hostPlatform.rust.rustcTarget;
      # Static, since it is run on the host too.
      CARGO_BUILD_RUSTFLAGS = "-C target-feature=+crt-static";
      doCheck = false;
      meta.mainProgram = "nixfmt";
    };
    nixfmt-rfc-style = nixfmt;
    # With nixpkgs it is treefmt: all below the given paths, or below this directory.
    nixfmt-tree = writeShellApplication {
      name = "treefmt";
      runtimeInputs = [
        nixfmt
        findutils
      ];
      text = ''
        find "''${@:-.}" -name '*.nix' -not -path '*/target/*' -exec nixfmt {} +
      '';
    };
    writableTmpDirAsHomeHook = makeSetupHook { name = "writable-home"; } (
      writeScript "writable-home.sh" "export HOME=$(mktemp -d)"
    );

    # kernel
    linux_6_12 =
      let
        version = lib.head (lib.match "linux-source-6.12_([0-9.]+)-.*" (lib.head lock.closures.linux));
      in
      # As a derivation it is a kernel that somebody else has built and tested; the rest is for one of our own.
      extend linuxImage {
        modules = linuxImage;
        inherit version;
        modDirVersion = version;
        src =
          runCommand "linux-${version}.tar.xz" { }
            "cp ${linuxSource}/usr/src/linux-source-6.12.tar.xz $out";
      };
    linuxManualConfig = callPackage ./kernel.nix { };
    makeModulesClosure = callPackage ./modules-closure.nix { };

    python3Packages = {
      inherit (packages) virt-firmware;
    };

    testers.runNixOSTest = callPackage ../test-driver { };

    # what real crane asks of nixpkgs besides
    pkgsBuildBuild = pkgs;
    pkgsBuildHost = pkgs;
    pkgsBuildTarget = pkgs;
    pkgsHostHost = pkgs;
    pkgsHostTarget = pkgs;
    pkgsTargetTarget = pkgs;
    buildPackages = pkgs;
    splicePackages = splices: splices.pkgsHostTarget or splices.pkgsBuildHost;
    makeScopeWithSplicing' = lib.makeScopeWithSplicing' { inherit splicePackages newScope; };
  };
in
pkgs
