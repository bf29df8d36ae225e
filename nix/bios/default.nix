# The boot loader for BIOS: GRUB, without menus or a configuration of its own, which reads kernel and initramfs out of the UKI in
# the FAT file system that is UEFI's. So there is one copy of both, whatever the firmware.
{
  lib,
  runCommand,
  binutils,
  grub2,
}:
/*
  Type: mkBios :: { name, uki, medium } -> derivation with `bios.img`, which El Torito names, and `mbr.img` for disks

  medium  where the FAT file system is: "iso", the file /efi.img of an ISO 9660, or "disk", the first partition of a GPT
*/
{
  name,
  uki,
  medium,
}:
let
  # GRUB's modules for it, and how to name it there.
  fat =
    {
      iso = {
        modules = "iso9660";
        open = "loopback fat ($root)/efi.img";
        device = "fat";
      };
      disk = {
        modules = "part_gpt";
        open = "";
        device = "$root,gpt1";
      };
    }
    .${medium};
in
runCommand "${name}-bios-${medium}"
  {
    nativeBuildInputs = [
      binutils
      grub2
    ];
    meta.description = "BIOS boot loader of ${name}";
  }
  ''
    mkdir -p $out modules
    cp ${grub2}/lib/grub/i386-pc/*.{mod,img,lst} modules/
    chmod -R u+w modules
    as --32 ${./normal.s} -o modules/normal.mod
    sed -i 's/^normal:.*/normal:/' modules/moddep.lst

    # A section of a PE file begins at a multiple of 512 bytes, so that GRUB's block lists can name it.
    blocks() {
      objdump --section-headers ${uki}/${uki.file} | while read -r _ section size _ _ offset _; do
        [ "$section" = "$1" ] || continue
        if [ $((0x$offset % 512)) != 0 ]; then
          echo "The section $1 of the UKI of ${name} begins at 0x$offset, which is no multiple of 512." >&2
          exit 1
        fi
        echo $((0x$offset / 512))+$(((0x$size + 511) / 512))
      done
    }
    linux=$(blocks .linux) initrd=$(blocks .initrd)
    [ -n "$linux" ] && [ -n "$initrd" ]
    {
      echo ${lib.escapeShellArg fat.open}
      echo ${lib.escapeShellArg "loopback uki (${fat.device})/EFI/BOOT/BOOTX64.EFI"}
      echo "linux (uki)$linux" ${lib.escapeShellArg uki.commandLine}
      echo "initrd (uki)$initrd"
      echo boot
    } > grub.cfg
    grub-mkimage --directory=modules --format=i386-pc-eltorito --prefix=/ --config=grub.cfg --output=$out/bios.img \
      biosdisk ${fat.modules} loopback fat linux
    cp modules/boot_hybrid.img $out/mbr.img
  ''
