# /persistent when it is new: as a file system in a file, and as a template from which init makes it on a blank disk.
{
  runCommand,
  runCommandCC,
  btrfs-progs,
  python3,
}:
let
  # Only a file system of fixed bytes makes a disk of fixed bytes.
  noChance = runCommandCC "no-chance" { } ''
    mkdir -p $out/lib
    gcc -O2 -Wall -shared -fPIC -o $out/lib/no-chance.so ${./no-chance.c}
  '';
in
runCommand "persistent"
  {
    nativeBuildInputs = [
      btrfs-progs
      python3
    ];
  }
  ''
    mkdir -p $out
    # Not much less than btrfs's least; most of it is not written.
    truncate --size=128M $out/persistent.img
    LD_PRELOAD=${noChance}/lib/no-chance.so mkfs.btrfs --quiet --label tinyboot \
      --uuid 74696e79-626f-4f74-8000-000000000010 $out/persistent.img

    # Its id stands in the superblock alone from now on, so that each machine can have another one.
    cp $out/persistent.img template.img
    chmod u+w template.img
    LD_PRELOAD=${noChance}/lib/no-chance.so btrfstune -M 74696e79-626f-4f74-8000-000000000011 template.img
    python3 ${./persistent.py} template.img $out/persistent.template
  ''
