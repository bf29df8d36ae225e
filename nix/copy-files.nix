# The shell commands that fill the folder `tree` with an image's files and closure, as the medium is to have them.
{ lib }:
/*
  Type: copyFiles :: { name, files, closure } -> string

  name     names the image when a file is missing
  files    attribute set of path -> store path
  closure  output of mkClosure, or null: store paths to have below nix/store, as they are
*/
{
  name,
  files,
  closure,
}:
lib.concatStrings (
  lib.mapAttrsToList (path: source: ''
    if ! [ -e ${source} ]; then
      echo ${lib.escapeShellArg "The file \"${path}\" of the image \"${name}\" does not exist: \"${source}\"."} >&2
      exit 1
    fi
    mkdir -p "$(dirname tree/${lib.escapeShellArg path})"
    cp -rL --no-preserve=mode,ownership ${source} tree/${lib.escapeShellArg path}
  '') files
)
+ lib.optionalString (closure != null) ''
  mkdir -p tree/nix/store
  while read -r path; do cp -a "$path" tree/nix/store/; done < ${closure}/store-paths
''
