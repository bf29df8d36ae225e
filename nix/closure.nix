# The closure of a command: everything that its words and settings refer to, and what that refers to.
{
  lib,
  runCommand,
  writeText,
  closureInfo,
  binutils,
}:
/*
  Type: mkClosure :: { name, command, provided ? [ ], settings } -> derivation with the file `store-paths`, a path a line, sorted

  name      the image's name, for messages
  command   the command line; its first word is checked: an executable file of the store, that the machine can start
  provided  paths outside of the store that the machine has
  settings  attribute set of strings: init's settings, with the command in them
*/
{
  name,
  command,
  provided ? [ ],
  settings,
}:
let
  # A file refers to the paths that it names.
  roots = writeText "${name}-roots" (builtins.toJSON settings);
  program = lib.head command;
  say = text: "echo ${lib.escapeShellArg text} >&2; exit 1";
  of = "The program of the image \"${name}\", \"${program}\",";
in
runCommand "${name}-closure" { nativeBuildInputs = [ binutils ]; } (
  lib.optionalString (lib.hasPrefix "${builtins.storeDir}/" program) ''
    program=${lib.escapeShellArg program}
    if ! [ -e "$program" ]; then ${say "${of} does not exist."}; fi
    if ! [ -f "$program" ] || ! [ -x "$program" ]; then ${say "${of} is not an executable file."}; fi
    interpreter=
    if [ "$(head --bytes=2 "$program" | tr -d '\0')" = '#!' ]; then
      read -r interpreter _ < <(head --lines=1 "$program" | sed 's/^#! *//') || true
      what="is a script for"
    else
      if ! headers=$(LC_ALL=C readelf --program-headers "$program" 2>/dev/null); then ${say "${of} is neither an ELF file nor a script that begins with \"#!\"."}; fi
      interpreter=$(sed -n 's/.*Requesting program interpreter: \(.*\)]/\1/p' <<<"$headers")
      what="needs the loader"
    fi
    case $interpreter in
      "" | ${builtins.storeDir}/*${
        lib.concatMapStrings (path: " | ${lib.escapeShellArg path}") provided
      }) ;;
      *)
        echo ${lib.escapeShellArg of}" $what \"$interpreter\""${lib.escapeShellArg ", which the machine does not have: put a program of the Nix store in front, or name it in `settings.app.links`."} >&2
        exit 1
        ;;
    esac
  ''
  + ''
    mkdir $out
    grep --invert-match --line-regexp --fixed-strings ${roots} ${
      closureInfo { rootPaths = [ roots ]; }
    }/store-paths | LC_ALL=C sort > $out/store-paths || true
  ''
)
