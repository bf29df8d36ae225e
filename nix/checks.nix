# The checks that `nix flake check` builds. The VM tests are the files of vm-tests/; nothing is listed twice.
{
  lib,
  runCommand,
  writeText,
  nixfmt,
  shellcheck-minimal,
  image,
  signImage,
  runtime,
  reproducible,
  vmTests,
  callPackage,
  stdenv,
  # Not in every package set.
  linux_6_18 ? null,

  flake,
}:
let
  # callPackage adds functions that override its result: they are no checks.
  prefix =
    name: set:
    lib.mapAttrs' (test: lib.nameValuePair "${name}-${test}") (
      lib.filterAttrs (_: lib.isDerivation) set
    );

  # Each template as a flake of its own, with this one as its input.
  templates = lib.concatMapAttrs (
    name: template:
    let
      outputs = (import "${template.path}/flake.nix").outputs {
        self = outputs;
        tinyboot = flake;
      };
    in
    lib.mapAttrs' (
      check: lib.nameValuePair "template-${name}-${check}"
    ) outputs.checks.${stdenv.hostPlatform.system}
  ) (removeAttrs flake.templates [ "default" ]);
in
templates
// prefix "sbom" (callPackage ./sbom/check.nix { })
// runtime.checks
// prefix "vm" vmTests
// prefix "bad-input" (callPackage ./bad-input.nix { })
// prefix "reproducible" reproducible
# The next kernel's configuration, without its build: the fragments survive there too.
// lib.optionalAttrs (linux_6_18 != null) (
  prefix "linux-6-18" (
    lib.mapAttrs (
      kernel: _:
      callPackage ./kernel/config.nix {
        inherit kernel;
        linux_6_12 = linux_6_18;
        # Linux 6.14 made both CRC32 options parts of its library; igc depends on the third since 6.16.
        extraFragments = [
          (writeText "linux-6-18.config" ''
            CONFIG_CRC32_SARWATE=n
            CONFIG_CRYPTO_CRC32C_INTEL=n
            CONFIG_ETHTOOL_NETLINK=y
          '')
        ];
      }
    ) (import ./kernel/kernels.nix)
  )
)
// {
  options = runCommand "options" { made = flake.packages.${stdenv.hostPlatform.system}.options; } ''
    if ! diff --unified ${../docs/options.md} $made; then
      echo "The page docs/options.md is not what nix/options.nix makes: nix build .#options, and copy the result there." >&2
      exit 1
    fi
    touch $out
  '';

  # A test of init compares this file with Rust's settings, defaults and names.
  settings-table =
    runCommand "settings-table" { made = flake.packages.${stdenv.hostPlatform.system}.settingsTable; }
      ''
        if ! diff --unified ${../runtime/init/src/settings/table.json} $made; then
          echo "The file runtime/init/src/settings/table.json is not what nix/settings.nix makes: nix build .#settingsTable, and copy the result there." >&2
          exit 1
        fi
        touch $out
      '';

  prose = callPackage ./prose { };

  # Building the programs checks their text; only users run them otherwise.
  programs = runCommand "programs" { } ''
    ${lib.getExe image.vm} --help
    ${lib.getExe signImage} --help
    touch $out
  '';

  # The scripts that are files. Those of the stand-in's builder split words and take the environment's variables on purpose.
  shell = runCommand "shell" { nativeBuildInputs = [ shellcheck-minimal ]; } ''
    # The parts of the stand-in's command share their variables.
    find ${
      lib.sourceByRegex ../. [
        "\\.ci(/.*)?"
        "nix"
        "nix/bios(/.*\\.sh)?"
        "nix/debian(/nix|/[a-z]*\\.sh)?"
        "runtime(/fuzz(/run)?)?"
      ]
    } -type f -exec shellcheck --shell=bash --severity=warning --exclude=SC2034,SC2154 {} +
    touch $out
  '';

  # nixpkgs 26.05 and 26.11 give the same image, though only the latter's kernel tells the name of its file.
  nixpkgs-26-11 = callPackage ./nixpkgs-26-11.nix { };
}
// lib.optionalAttrs (nixfmt.pname or null == "nixfmt-rs") {
  # The tree is laid out by this program. nixpkgs' nixfmt is another one; nobody has compared them over this tree yet.
  nix-fmt = runCommand "nix-fmt" { nativeBuildInputs = [ nixfmt ]; } ''
    find ${
      lib.sourceByRegex ../. [
        ".*\\.nix"
        "(nix|vm-tests|templates).*"
      ]
    } -name '*.nix' -exec nixfmt --check {} +
    touch $out
  '';
}
