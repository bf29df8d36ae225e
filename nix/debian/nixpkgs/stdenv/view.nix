# Scripts that run on the host, which is no Debian trixie: see view.sh.
{
  lib,
  bootstrap,
  base,
  runCommand,
  runtimeShell,
  shellcheck,
  writeTextFile,
}:
let
  # The directory that view.sh mounts things in, and view.sh itself, having passed its test.
  view = runCommand "view" { } ''
    mkdir -p $out/host $out/stage
    cp ${./view.sh} $out/view.sh
    busybox=${bootstrap} base=${base} bash -eu ${./view-test.sh} $out
  '';
in
{
  # derivationArgs.hostPrograms  the programs, separated by spaces, that the script starts from the user's PATH
  # Without `...`: an argument that is not known here would be one that changes nothing.
  writeShellApplication =
    {
      name,
      text,
      runtimeInputs ? [ ],
      excludeShellChecks ? [ ],
      derivationArgs ? { },
      meta ? { },
    }:
    writeTextFile {
      inherit name;
      executable = true;
      destination = "/lib/${name}";
      meta = {
        mainProgram = name;
      }
      // meta;
      text = ''
        #!${runtimeShell}
        set -o errexit
        set -o nounset
        set -o pipefail

        ${text}
      '';
      derivationArgs = derivationArgs // {
        nativeBuildInputs = [ shellcheck ];
      };
      checkPhase = ''
        bash -n "$target"
        shellcheck ${
          lib.optionalString (
            excludeShellChecks != [ ]
          ) "--exclude=${lib.concatStringsSep "," excludeShellChecks}"
        } "$target"
        mkdir $out/bin
        cat > $out/bin/${name} <<PROGRAM
        #!${bootstrap}/bin/busybox sh
        export busybox=${bootstrap} view=${view} inside= script=$target
        export trees='${lib.concatStringsSep " " (lib.unique (runtimeInputs ++ [ base ]))}'
        export path='${lib.concatMapStrings (input: ":${input}/bin") runtimeInputs}'
        export hostPrograms='${derivationArgs.hostPrograms or ""}'
        exec ${bootstrap}/bin/busybox sh ${view}/view.sh "\$@"
        PROGRAM
        chmod +x $out/bin/${name}
      '';
    };
}
