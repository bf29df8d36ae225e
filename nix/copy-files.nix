# The shell commands that fill the folder `tree` with an image's files, as the medium is to have them.
{ lib }:
/*
  Type: copyFiles :: { name, files } -> string

  name   names the image when a file is missing
  files  attribute set of path -> store path
*/
{ name, files }:
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
