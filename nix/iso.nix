# The bootable medium: an ISO 9660 file system with the image's files, and a FAT image with the UKI. UEFI and BIOS find what
# they start by El Torito on a disc, and by partition table and master boot record on a disk that the medium was written to.
# Made without root or loop devices.
{
  runCommand,
  xorriso,
  mkEsp,
  mkBios,
  copyFiles,
}:
/*
  Type: mkIso :: { name, uki, files, volumeId } -> derivation with the file `<name>.iso`

  files     attribute set of path -> store path
  volumeId  ISO 9660 volume id, at most 32 characters
*/
{
  name,
  uki,
  files,
  volumeId,
}:
let
  esp = mkEsp { inherit name uki; };
  bios = mkBios { inherit name uki; };
in
runCommand "${name}-iso"
  {
    nativeBuildInputs = [ xorriso ];
    SOURCE_DATE_EPOCH = 315532800;
    passthru.file = "${name}.iso";
    meta.description = "Bootable ISO image of ${name}";
  }
  ''
    export LC_ALL=C TZ=UTC
    mkdir -p $out tree

    cp ${esp}/${esp.file} tree/efi.img
    cp ${bios}/bios.img tree/bios.img
    chmod u+w tree/efi.img tree/bios.img

    ${copyFiles { inherit name files; }}
    find tree -exec touch --no-dereference --date=@$SOURCE_DATE_EPOCH {} +

    xorriso -as mkisofs -quiet \
      -volid ${volumeId} -preparer TINYBOOT -publisher TINYBOOT -appid TINYBOOT \
      -no-pad -rational-rock -joliet -joliet-long \
      -b bios.img -no-emul-boot -boot-load-size 4 -boot-info-table --grub2-boot-info --grub2-mbr ${bios}/mbr.img \
      -eltorito-alt-boot -e efi.img -no-emul-boot -isohybrid-gpt-basdat \
      --modification-date=1980010100000000 --gpt_disk_guid 74696e79-626f-4f74-8000-000000000001 \
      -output "$out/${name}.iso" tree
  ''
