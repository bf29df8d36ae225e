# The image's files and closure alone, as an ISO 9660 file system with the volume id of the ISO: what /iso is where there is no ISO.
{
  runCommand,
  xorriso,
  copyFiles,
}:
# Type: mkPayload :: { name, files, closure, volumeId } -> derivation with the file `<name>-files.iso`; see copyFiles
{
  name,
  files,
  closure,
  volumeId,
}:
runCommand "${name}-files"
  {
    nativeBuildInputs = [ xorriso ];
    SOURCE_DATE_EPOCH = 315532800;
    passthru.file = "${name}-files.iso";
    meta.description = "Files of the image ${name}, without what boots";
  }
  ''
    export LC_ALL=C TZ=UTC
    mkdir -p $out tree
    ${copyFiles { inherit name files closure; }}
    find tree -exec touch --no-dereference --date=@$SOURCE_DATE_EPOCH {} +
    xorriso -as mkisofs -quiet \
      -volid ${volumeId} -preparer TINYBOOT -publisher TINYBOOT -appid TINYBOOT \
      -no-pad -rational-rock -joliet -joliet-long \
      --modification-date=1980010100000000 \
      -output "$out/${name}-files.iso" tree
  ''
