# The machine at the other end of the wires: the image's kernel, BusyBox and real servers, with a shell on the console.
{
  runCommand,
  writeText,
  closureInfo,
  cpio,
  busybox,
  dnsmasq,
  chrony,
  kernel,
  kernelImage,

  # Packages that lie in its store besides.
  extraPackages ? [ ],
}:
let
  inittab = writeText "inittab" ''
    ::sysinit:/bin/sh /etc/rc
    ttyS0::respawn:/bin/sh
  '';
  rc = writeText "rc" ''
    /bin/busybox mkdir -p /proc /sys /dev /tmp /run /var/lib/misc /var/run /root
    /bin/busybox mount -t proc proc /proc
    /bin/busybox --install -s /bin
    mount -t sysfs sysfs /sys
    mount -t devtmpfs devtmpfs /dev
    ip link set lo up
    echo "peer: up"
  '';
  passwd = writeText "passwd" "root:x:0:0:root:/root:/bin/sh\n";
  group = writeText "group" "root:x:0:\n";
in
{
  kernel = kernelImage kernel;
  initramfs = "${
    runCommand "peer-initramfs" { nativeBuildInputs = [ cpio ]; } ''
      mkdir -p root/bin root/etc root/nix/store $out
      while read -r path; do
        cp -a "$path" root/nix/store/
      done < ${
        closureInfo {
          rootPaths = [
            busybox
            dnsmasq
            chrony
          ]
          ++ extraPackages;
        }
      }/store-paths
      ln -s ${busybox}/bin/busybox root/init
      for program in ${busybox}/bin/{busybox,sh} ${dnsmasq}/bin/dnsmasq ${chrony}/bin/chronyd; do
        ln -s $program root/bin/
      done
      cp ${inittab} root/etc/inittab
      cp ${rc} root/etc/rc
      cp ${passwd} root/etc/passwd
      cp ${group} root/etc/group
      (cd root && find . -print0 | sort -z | cpio --quiet -o -H newc -R +0:+0 --null) > $out/initramfs
    ''
  }/initramfs";
}
