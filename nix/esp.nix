# The EFI system partition: a FAT file system with the UKI where UEFI looks on a medium that it does not know.
{
  runCommand,
  mtools,
  dosfstools,
}:
# Type: mkEsp :: { name, uki } -> derivation with the file `esp.img`
{ name, uki }:
runCommand "${name}-esp"
  {
    nativeBuildInputs = [
      mtools
      dosfstools
    ];
    # mtools takes every date from it; FAT has none before 1980.
    SOURCE_DATE_EPOCH = 315532800;
    passthru.file = "esp.img";
    meta.description = "EFI system partition of ${name}";
  }
  ''
    export LC_ALL=C TZ=UTC
    mkdir -p $out

    # FAT as small as its content and a signature of it allow: one table, a root directory of one sector.
    uki=${uki}/${uki.file}
    size=$(stat --format=%s "$uki")
    cluster=4096
    clusters=$(((size + 32768 + cluster - 1) / cluster + 2))
    if [ $clusters -lt 4000 ]; then bits=12; elif [ $clusters -lt 65000 ]; then bits=16; else bits=32; fi
    sectors=$((1 + (clusters * bits / 8 + 511) / 512 + 1 + 1 + clusters * cluster / 512))
    # FAT32 has more reserved sectors and keeps its root directory in a cluster.
    [ $bits = 32 ] && sectors=$((sectors + 64 + clusters / 64))
    truncate --size=$((sectors * 512)) $out/esp.img
    options="-F $bits -f 1 -s $((cluster / 512)) -a --invariant"
    [ $bits = 32 ] || options="$options -r 16 -R 1"
    mkfs.vfat $options $out/esp.img
    mmd -i $out/esp.img ::/EFI ::/EFI/BOOT
    mcopy -i $out/esp.img "$uki" ::/EFI/BOOT/BOOTX64.EFI
  ''
