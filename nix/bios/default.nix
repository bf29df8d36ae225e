# What BIOS starts: GRUB, without menus or a configuration of its own, which reads kernel and initramfs out of the UKI in
# the medium's FAT image. So there is one copy of both, whatever the firmware.
{
  runCommand,
  binutils,
  grub2,
}:
# Type: mkBios :: { name, uki } -> derivation with `bios.img`, which El Torito names, and `mbr.img` for disks
{ name, uki }:
runCommand "${name}-bios"
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
    cat > grub.cfg <<EOF
    loopback fat (\$root)/efi.img
    loopback uki (fat)/EFI/BOOT/BOOTX64.EFI
    linux (uki)$linux ${uki.commandLine}
    initrd (uki)$initrd
    boot
    EOF
    grub-mkimage --directory=modules --format=i386-pc-eltorito --prefix=/ --config=grub.cfg --output=$out/bios.img \
      biosdisk iso9660 loopback fat linux
    cp modules/boot_hybrid.img $out/mbr.img
  ''
