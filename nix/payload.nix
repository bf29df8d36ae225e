# The files of an image alone, in the file system that its ISO has: what a machine reads under /iso when it is started
# without a medium.
{
  lib,
  runCommand,
  xorriso,
}:
/*
  Type: mkPayload :: { name, files, volumeId } -> derivation with the file `<name>-files.iso`

  files     attribute set of path -> store path
  volumeId  the ISO's, by which init knows the medium
*/
{
  name,
  files,
  volumeId,
}:
runCommand "${name}-payload"
  {
    nativeBuildInputs = [ xorriso ];
    SOURCE_DATE_EPOCH = 315532800;
    passthru.file = "${name}-files.iso";
  }
  ''
    export LC_ALL=C TZ=UTC
    mkdir -p $out tree
    ${lib.concatStrings (
      lib.mapAttrsToList (path: source: ''
        mkdir -p "$(dirname tree/${lib.escapeShellArg path})"
        cp -rL --no-preserve=mode,ownership ${source} tree/${lib.escapeShellArg path}
      '') files
    )}
    find tree -exec touch --no-dereference --date=@$SOURCE_DATE_EPOCH {} +
    xorriso -as mkisofs -quiet -volid ${volumeId} -no-pad -rational-rock -joliet -joliet-long \
      --modification-date=1980010100000000 -output "$out/${name}-files.iso" tree
  ''
