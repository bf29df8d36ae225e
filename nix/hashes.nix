# The hashes of every file of the example image, in sha256sum's format: what two people compare who built it apart.
{
  lib,
  runCommand,
  image,
  forms,
}:
runCommand "hashes" { meta.description = "Hashes of the example image's files"; } (
  "mkdir $out\n"
  + lib.concatMapStrings (form: ''
    (cd ${image.${form}} && find . -type f -printf '%P\0' | sort --zero-terminated | xargs --null sha256sum) |
      sed 's,  ,  ${form}/,' >> $out/SHA256SUMS
  '') forms
)
