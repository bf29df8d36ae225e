# A machine in which /dev/kvm works, and images under QEMU's KVM in there. Where the builder has no KVM, QEMU emulates a
# processor with AMD's virtualisation, so the group of check-long runs anywhere. Seconds mean nothing in there, exits do.
{
  lib,
  runCommand,
  closureInfo,
  makeModulesClosure,
  linux_6_12,
  kernelImage,
  pkgsStatic,
  qemu_test,
  cpio,
  e2fsprogs,
  kmod,
  xz,
  shellcheck-minimal,
  image,
}:
let
  inherit (pkgsStatic) busybox;

  # The files of the machines under test by short names, and the script that boots them.
  scenario = runCommand "kvm-scenario" { nativeBuildInputs = [ shellcheck-minimal ]; } ''
    shellcheck --shell=busybox --exclude=SC3045 ${./scenario.sh}
    mkdir -p $out
    cp ${./scenario.sh} $out/scenario.sh
    ln -s ${kernelImage image.kernel} $out/bzImage
    ln -s ${image.vmlinux}/vmlinux $out/vmlinux
    ln -s ${image.initramfs}/initramfs $out/initramfs
    ln -s ${image.isoFile} $out/image.iso
    ln -s ${qemu_test}/bin/qemu-system-x86_64 $out/qemu
    printf %s ${lib.escapeShellArg image.uki.commandLine} > $out/cmdline
  '';

  # The stock kernel's modules that the outer machine needs; built-in ones are not among them.
  modules = makeModulesClosure {
    kernel = linux_6_12.modules or linux_6_12;
    firmware = null;
    rootModules = [
      "virtio_pci"
      "virtio_blk"
      "ext4"
      "kvm-amd"
      "kvm-intel"
    ];
    allowMissing = true;
  };

  # It loads the modules and goes on from the disk.
  initramfs =
    runCommand "kvm-initramfs"
      {
        nativeBuildInputs = [
          cpio
          kmod
          xz
        ];
      }
      ''
        mkdir -p root/{bin,dev,proc,sys,disk} $out
        cp ${busybox}/bin/busybox root/bin/busybox
        cp -r ${modules}/lib root/lib
        chmod -R u+w root/lib
        find root/lib -name '*.ko.xz' -exec xz --decompress {} +
        depmod --basedir root "$(ls root/lib/modules)"
        cp ${./init.sh} root/init
        chmod +x root/init
        (cd root && find . -print0 | LC_ALL=C sort -z | cpio --quiet -o -H newc -R +0:+0 --null) > $out/initramfs
      '';

  disk = runCommand "kvm-disk" { nativeBuildInputs = [ e2fsprogs ]; } ''
    mkdir -p root/{bin,dev,proc,sys,tmp,nix/store} $out
    cp ${busybox}/bin/busybox root/bin/busybox
    ln -s busybox root/bin/sh
    ln -s ${scenario} root/scenario
    while read -r path; do
      cp -a "$path" root/nix/store/
    done < ${closureInfo { rootPaths = [ scenario ]; }}/store-paths
    size=$(du --summarize --block-size=1M root | cut -f 1)
    mke2fs -q -t ext4 -O ^has_journal -E root_owner=0:0 -d root $out/disk "$((size * 5 / 4 + 64))M"
  '';
in
(runCommand "kvm"
  {
    # As the tests that boot machines; with KVM it is only quicker.
    requiredSystemFeatures = [ "nixos-test" ];
    passthru = {
      # check-long prints the output, which is a table.
      summary = true;
      inherit initramfs disk scenario;
    };
  }
  ''
    outer() {
      timeout 3600 ${qemu_test}/bin/qemu-system-x86_64 -nodefaults -no-user-config -display none -machine q35 "$@" \
        -m 1536 -no-reboot -serial stdio -kernel ${kernelImage linux_6_12} -initrd ${initramfs}/initramfs \
        -append "console=ttyS0 quiet loglevel=3 panic=-1 clocksource=tsc tsc=reliable" \
        -drive if=none,id=disk,format=raw,file=${disk}/disk,readonly=on -device virtio-blk-pci,drive=disk \
        < /dev/null | tr -d '\r' | tee console
    }
    if [ -w /dev/kvm ] && grep -qwE 'vmx|svm' /proc/cpuinfo; then
      echo "The processor's own KVM is used."
      outer -accel kvm -cpu host || true
    fi
    # It may not let a machine have KVM too.
    if ! grep -q '^kvm: /dev/kvm works' console 2> /dev/null; then
      echo "QEMU emulates a processor with KVM."
      outer -accel tcg -cpu max,+svm,+npt
    fi
    sed -n 's/^kvm: //p' console > $out
    if ! grep -qE '^[1-9][0-9]* passed, 0 failed$' $out; then
      echo "Not every machine under KVM did what it should; the lines above tell which." >&2
      exit 1
    fi
  ''
)
