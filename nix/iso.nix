# The bootable medium: an ISO 9660 file system with the image's files, and a FAT image with the UKI. UEFI and BIOS find what
# they start by El Torito on a disc, and by partition table and master boot record on a disk that the medium was written to.
# Made without root or loop devices.
{
  lib,
  runCommand,
  xorriso,
  mtools,
  dosfstools,
  mkBios,
}:
/*
  Type: mkIso :: { name, uki, files, closure ? null, volumeId } -> derivation with the file `<name>.iso`

  files     attribute set of path -> store path
  closure   output of mkClosure: store paths to have below nix/store, as they are
  volumeId  ISO 9660 volume id, at most 32 characters
*/
{
  name,
  uki,
  files,
  closure ? null,
  volumeId,
}:
let
  bios = mkBios { inherit name uki; };
in
runCommand "${name}-iso"
  {
    nativeBuildInputs = [
      xorriso
      mtools
      dosfstools
    ];
    # mtools and xorriso take every date from it; FAT has none before 1980.
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

    # FAT as small as its content and a signature of it allow: one table, a root directory of one sector.
    uki=${uki}/${uki.file}
    size=$(stat --format=%s "$uki")
    cluster=4096
    clusters=$(((size + 32768 + cluster - 1) / cluster + 2))
    if [ $clusters -lt 4000 ]; then bits=12; elif [ $clusters -lt 65000 ]; then bits=16; else bits=32; fi
    sectors=$((1 + (clusters * bits / 8 + 511) / 512 + 1 + 1 + clusters * cluster / 512))
    # FAT32 has more reserved sectors and keeps its root directory in a cluster.
    [ $bits = 32 ] && sectors=$((sectors + 64 + clusters / 64))
    truncate --size=$((sectors * 512)) tree/efi.img
    options="-F $bits -f 1 -s $((cluster / 512)) -a --invariant"
    [ $bits = 32 ] || options="$options -r 16 -R 1"
    mkfs.vfat $options tree/efi.img
    mmd -i tree/efi.img ::/EFI ::/EFI/BOOT
    mcopy -i tree/efi.img "$uki" ::/EFI/BOOT/BOOTX64.EFI

    cp ${bios}/bios.img tree/bios.img
    chmod u+w tree/bios.img

    ${lib.concatStrings (
      lib.mapAttrsToList (path: source: ''
        if ! [ -e ${source} ]; then
          echo ${lib.escapeShellArg "The file \"${path}\" of the image \"${name}\" does not exist: \"${source}\"."} >&2
          exit 1
        fi
        mkdir -p "$(dirname tree/${lib.escapeShellArg path})"
        cp -rL --no-preserve=mode,ownership ${source} tree/${lib.escapeShellArg path}
      '') files
    )}
    ${lib.optionalString (closure != null) ''
      mkdir -p tree/nix/store
      while read -r path; do cp -a "$path" tree/nix/store/; done < ${closure}/store-paths
    ''}
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
    bytes() {
      local number=$1
      for _ in 1 2 3 4; do
        printf "\\x$(printf %02x $((number & 255)))"
        number=$((number >> 8))
      done
    }
    block=$(xorriso -indev "$out/${name}.iso" -find /efi.img -exec report_lba 2>/dev/null |
      sed -n 's/^File data lba: *[0-9]* *, *\([0-9]*\) *,.*/\1/p')
    {
      printf '\x80\xfe\xff\xff\xef\xfe\xff\xff'
      bytes $((block * 4))
      bytes $sectors
    } | dd of="$out/${name}.iso" bs=1 seek=446 conv=notrunc status=none
  ''
