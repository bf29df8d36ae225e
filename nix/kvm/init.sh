#!/bin/busybox sh
# The outer machine's init: it loads what the disk and KVM need, and leaves the rest to the scenario on the disk.
busybox mount -t proc proc /proc
busybox mount -t sysfs sysfs /sys
busybox mount -t devtmpfs devtmpfs /dev
for module in virtio_pci virtio_blk ext4 kvm-amd kvm-intel; do
  # Built-in modules, and the other vendor's KVM, fail.
  busybox modprobe "$module" 2> /dev/null
done
found=
for _ in $(busybox seq 300); do
  [ ! -b /dev/vda ] || { found=1; break; }
  busybox usleep 100000
done
[ -n "$found" ] || { echo "kvm: the disk did not appear"; busybox poweroff -f; }
busybox mount -o ro /dev/vda /disk
for directory in dev proc sys; do
  busybox mount --move /$directory /disk/$directory
done
busybox mount -t tmpfs tmpfs /disk/tmp
busybox mount -t debugfs debugfs /disk/sys/kernel/debug
exec busybox switch_root /disk /bin/busybox sh /scenario/scenario.sh
