# The size report of an image: its parts by bytes, as text and as a picture.
{
  runCommand,
  kernelImage,
  python3,
  cpio,
  xz,
  zstd,
}:
# Type: mkSizeReport :: { name, iso, uki, kernel, initramfs, compression, files, closure } -> derivation with `report.txt` and `report.svg`
{
  name,
  iso,
  uki,
  kernel,
  initramfs,
  compression,
  files,
  closure,
}:
runCommand "${name}-size-report"
  {
    nativeBuildInputs = [
      python3
      cpio
      xz
      zstd
    ];
    description = builtins.toJSON {
      inherit name compression;
      iso = "${iso}/${iso.file}";
      uki = "${uki}/${uki.file}";
      kernel = kernelImage kernel;
      initramfs = "${initramfs}/initramfs";
      bios = "${iso.bios}/bios.img";
      files = map (file: "${file}") (builtins.attrValues files);
      storePaths = if closure == null then null else "${closure}/store-paths";
      tree = "tree";
    };
    passAsFile = [ "description" ];
    meta.description = "What takes the bytes of ${name}";
  }
  ''
    mkdir -p $out tree
    (cd tree && ${
      {
        quick = "zstd";
        small = "xz";
      }
      .${compression}
    } --decompress --stdout ${initramfs}/initramfs | cpio --quiet --extract --make-directories --no-absolute-filenames)
    python3 ${./report.py} "$descriptionPath" "$out"
    cat $out/report.txt
  ''
