# Packages that are files, at the places where nixpkgs has them.
{
  debian,
  runCommand,
  patchelf,
}:
let
  ovmf = debian "OVMF" { };
  systemdTree = debian "systemd" {
    postUnpack = "ln -s ../lib/systemd/systemd-networkd usr/sbin/";
  };
  certificates = debian "cacert" { };
  faketime = debian "libfaketime" { };
  networkBoot = debian "ipxe" { };
  grub = debian "grub2" { };
  busyboxTree = debian "busybox" { };
in
{
  # Links of itself are made by it: it must be a program, not a script that starts one.
  busybox =
    runCommand "busybox-${busyboxTree.version}"
      {
        nativeBuildInputs = [ patchelf ];
        meta.mainProgram = "busybox";
      }
      ''
        mkdir -p $out/bin
        cp ${busyboxTree}/usr/bin/busybox $out/bin/busybox
        chmod +w $out/bin/busybox
        patchelf --set-interpreter ${busyboxTree}/usr/lib64/ld-linux-x86-64.so.2 \
          --set-rpath ${busyboxTree}/usr/lib/x86_64-linux-gnu $out/bin/busybox
        for applet in $($out/bin/busybox --list); do
          [ -e "$out/bin/$applet" ] || ln -s busybox "$out/bin/$applet"
        done
      '';
  OVMF =
    let
      variant =
        {
          secureBoot ? false,
        }:
        ovmf
        // rec {
          firmware = "${ovmf}/usr/share/OVMF/OVMF_CODE_4M${if secureBoot then ".secboot" else ""}.fd";
          variables = "${ovmf}/usr/share/OVMF/OVMF_VARS_4M.fd";
          fd = ovmf;
          override = variant;
        };
    in
    variant { };
  systemd = runCommand "systemd-${systemdTree.version}" { } ''
    mkdir -p $out/lib/systemd/boot
    cp -r ${systemdTree}/usr/lib/systemd/boot/efi $out/lib/systemd/boot/efi
    ln -s ${systemdTree}/bin/systemd-networkd $out/lib/systemd/
  '';
  ipxe = runCommand "ipxe-${networkBoot.version}" { } ''
    mkdir $out
    cp ${networkBoot}/usr/lib/ipxe/* $out/
  '';
  cacert = runCommand "cacert-${certificates.version}" { } ''
    mkdir -p $out/etc/ssl/certs
    find ${certificates}/usr/share/ca-certificates -name '*.crt' | LC_ALL=C sort | xargs cat > $out/etc/ssl/certs/ca-no-trust-rules-bundle.crt
  '';
  # nixpkgs' package of this name is GRUB for BIOS.
  grub2 = runCommand "grub-${grub.version}" { } ''
    mkdir -p $out/lib
    ln -s ${grub}/bin $out/bin
    ln -s ${grub}/usr/lib/grub $out/lib/grub
  '';
  libfaketime = runCommand "libfaketime-${faketime.version}" { } ''
    mkdir -p $out/lib
    cp ${faketime}/usr/lib/x86_64-linux-gnu/faketime/*.so.1 $out/lib/
  '';
}
