# The files of a boot over the network: kernel, initramfs and a script for iPXE. A direct boot takes the same two files.
{
  runCommand,
  kernelImage,
  cpio,
}:
/*
  Type: mkNetboot :: { name, kernel, initramfs, payload ? null, commandLine } -> derivation with the files `bzImage`,
    `initramfs`, `cmdline` and `boot.ipxe`

  payload  output of mkPayload; there is no medium, so the initramfs brings it, as the file /image.iso
*/
{
  name,
  kernel,
  initramfs,
  payload ? null,
  commandLine,
}:
runCommand "${name}-netboot"
  {
    nativeBuildInputs = [ cpio ];
    inherit commandLine;
    passAsFile = [ "commandLine" ];
    meta.description = "Kernel, initramfs and iPXE script of ${name}";
  }
  ''
    mkdir -p $out member
    cp ${kernelImage kernel} $out/bzImage
    cp ${initramfs}/initramfs $out/initramfs
    cp "$commandLinePath" $out/cmdline
    chmod -R u+w $out
    ${
      if payload == null then
        ""
      else
        ''
          # The kernel unpacks one archive after the other; an uncompressed one begins at a multiple of four bytes.
          size=$(stat --format=%s $out/initramfs)
          truncate --size=$(((size + 3) / 4 * 4)) $out/initramfs
          cp ${payload}/${payload.file} member/image.iso
          chmod 0444 member/image.iso
          touch --date=@1 member/image.iso
          (cd member && echo image.iso | cpio --quiet -o -H newc -R +0:+0 --reproducible) >> $out/initramfs
        ''
    }
    # UEFI's iPXE hands the initramfs over by its name, BIOS's as the kernel's boot protocol says.
    cat > $out/boot.ipxe <<EOF
    #!ipxe
    kernel bzImage initrd=initramfs $(cat $out/cmdline)
    initrd initramfs
    boot
    EOF
    chmod 0444 $out/*
  ''
