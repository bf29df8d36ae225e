# The image as a disk: what UEFI and BIOS start, the image's files, and /persistent, which grows with the disk.
{
  lib,
  runCommand,
  qemu-utils,
  util-linux,
  mkEsp,
  mkBios,
  persistent,
}:
/*
  Type: mkDisk :: { name, uki, payload ? null } -> derivation with the files `<name>.raw` and `<name>.qcow2`

  payload  output of mkPayload, which becomes a partition

  The last partition has the mark "grow": see docs/cloud.md.
*/
{
  name,
  uki,
  payload ? null,
}:
let
  esp = mkEsp { inherit name uki; };
  bios = mkBios {
    inherit name uki;
    medium = "disk";
  };
in
runCommand "${name}-disk"
  {
    nativeBuildInputs = [
      qemu-utils
      util-linux
    ];
    passthru = {
      raw = "${name}.raw";
      qcow2 = "${name}.qcow2";
    };
    meta.description = "Disk image of ${name}, raw and as qcow2";
  }
  ''
    export LC_ALL=C
    mkdir -p $out
    disk=$out/${name}.raw
    # The first mebibyte is BIOS's boot partition, whose number is out of the way of those that users name.
    next=2 number=1
    echo "1 bios.img" > parts
    # Adds a partition as large as a file, from one mebibyte to another.
    partition() {
      mebibytes=$((($(stat --format=%s "$1") + 1048575) / 1048576))
      echo "$number: start=''${next}MiB, size=''${mebibytes}MiB, $2" >> table
      echo "$next $1" >> parts
      next=$((next + mebibytes)) number=$((number + 1))
    }
    # The first sectors are kept free: they are for a second copy of the partition table's entries.
    cat > table <<'EOF'
    label: gpt
    label-id: 74696E79-626F-4F74-8000-000000000002
    first-lba: 2048
    128: start=1MiB, size=1MiB, type=21686148-6449-6E6F-744E-656564454649, name=bios, uuid=74696E79-626F-4F74-8000-000000000006
    EOF
    cp ${bios}/bios.img bios.img
    chmod u+w bios.img

    # GRUB's first sectors are told where the next ones are: those behind the four for El Torito.
    source ${./bios/little-endian.sh}
    little_endian $((2048 + 5)) 8 | dd of=bios.img bs=1 seek=2548 conv=notrunc status=none
    head --bytes=440 ${bios}/mbr.img > mbr.img
    little_endian $((2048 + 4)) 8 | dd of=mbr.img bs=1 seek=432 conv=notrunc status=none
    partition ${esp}/${esp.file} 'type=uefi, name=esp, uuid=74696E79-626F-4F74-8000-000000000003'
    ${lib.optionalString (payload != null) ''
      partition ${payload}/${payload.file} 'type=linux, name=files, uuid=74696E79-626F-4F74-8000-000000000004'
    ''}
    partition ${persistent}/persistent.img \
      'type=linux, name=tinyboot, attrs="GUID:59", uuid=74696E79-626F-4F74-8000-000000000005'

    truncate --size=$((next + 1))M "$disk"
    sfdisk --quiet --no-reread --no-tell-kernel "$disk" < table
    while read -r start part; do
      dd if="$part" of="$disk" bs=1M seek="$start" conv=notrunc,sparse status=none
    done < parts
    dd if=mbr.img of="$disk" conv=notrunc status=none
    sfdisk --verify "$disk"
    qemu-img convert -c -f raw -O qcow2 "$disk" $out/${name}.qcow2
    qemu-img check $out/${name}.qcow2
  ''
