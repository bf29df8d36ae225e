# Packages that are files, at the places where nixpkgs has them.
{ debian, runCommand }:
let
  ovmf = debian "OVMF" { };
  boot = debian "systemd" { };
  certificates = debian "cacert" { };
  faketime = debian "libfaketime" { };
in
{
  OVMF =
    ovmf
    // rec {
      firmware = "${ovmf}/usr/share/OVMF/OVMF_CODE_4M.fd";
      variables = "${ovmf}/usr/share/OVMF/OVMF_VARS_4M.fd";
      fd = ovmf;
    };
  systemd = runCommand "systemd-${boot.version}" { } ''
    mkdir -p $out/lib/systemd/boot
    cp -r ${boot}/usr/lib/systemd/boot/efi $out/lib/systemd/boot/efi
  '';
  cacert = runCommand "cacert-${certificates.version}" { } ''
    mkdir -p $out/etc/ssl/certs
    find ${certificates}/usr/share/ca-certificates -name '*.crt' | LC_ALL=C sort | xargs cat > $out/etc/ssl/certs/ca-bundle.crt
  '';
  libfaketime = runCommand "libfaketime-${faketime.version}" { } ''
    mkdir -p $out/lib
    cp ${faketime}/usr/lib/x86_64-linux-gnu/faketime/*.so.1 $out/lib/
  '';
}
