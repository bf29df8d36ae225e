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
  Type: mkIso :: { name, uki, files, closure, volumeId } -> derivation with the file `<name>.iso`; see copyFiles

  volumeId  ISO 9660 volume id, at most 32 characters
*/
{
  name,
  uki,
  files,
  closure,
  volumeId,
}:
let
  esp = mkEsp { inherit name uki; };
  bios = mkBios {
    inherit name uki;
    medium = "iso";
  };
in
runCommand "${name}-iso"
  {
    nativeBuildInputs = [ xorriso ];
    SOURCE_DATE_EPOCH = 315532800;
    passthru = {
      file = "${name}.iso";
      inherit bios;
    };
    meta.description = "Bootable ISO image of ${name}";
  }
  ''
    export LC_ALL=C TZ=UTC
    mkdir -p $out tree

    cp ${esp}/${esp.file} tree/efi.img
    cp ${bios}/bios.img tree/bios.img
    chmod u+w tree/efi.img tree/bios.img

    ${copyFiles { inherit name files closure; }}
    find tree -exec touch --no-dereference --date=@$SOURCE_DATE_EPOCH {} +

    xorriso -as mkisofs -quiet \
      -volid ${volumeId} -preparer TINYBOOT -publisher TINYBOOT -appid TINYBOOT \
      -no-pad -rational-rock -joliet -joliet-long \
      -b bios.img -no-emul-boot -boot-load-size 4 -boot-info-table --grub2-boot-info --grub2-mbr ${bios}/mbr.img \
      -eltorito-alt-boot -e efi.img -no-emul-boot \
      --modification-date=1980010100000000 \
      -output "$out/${name}.iso" tree

    # The partition that UEFI looks for on a disk, type 0xEF, marked active since some BIOS start no disk without such one.
    # xorriso itself makes partitions of boot images for isolinux alone.
    source ${./bios/little-endian.sh}
    block=$(xorriso -indev "$out/${name}.iso" -find /efi.img -exec report_lba 2>/dev/null |
      sed -n 's/^File data lba: *[0-9]* *, *\([0-9]*\) *,.*/\1/p')
    {
      printf '\x80\xfe\xff\xff\xef\xfe\xff\xff'
      little_endian $((block * 4)) 4
      little_endian $(($(stat --format=%s ${esp}/${esp.file}) / 512)) 4
    } | dd of="$out/${name}.iso" bs=1 seek=446 conv=notrunc status=none
  ''
