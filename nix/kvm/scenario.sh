# Runs in the outer machine, as its process 1: boots the image under QEMU's KVM on one machine type after the other, and prints
# lines that begin with "kvm:". It ends with the number of machines that passed.
PATH=/bin
export PATH
busybox --install -s /tmp 2> /dev/null
PATH=/tmp:/bin
cd /tmp || exit
files=/scenario
passed=0 failed=0

finish() {
  echo "kvm: $passed passed, $failed failed"
  sync
  poweroff -f
  # Process 1 must not end before the machine does.
  while :; do sleep 60; done
}

if ! [ -c /dev/kvm ] || ! [ -d /sys/kernel/debug/kvm ]; then
  echo "kvm: there is no /dev/kvm in the machine"
  finish
fi
echo "kvm: /dev/kvm works, $(uname -r), $(cat /sys/devices/system/clocksource/clocksource0/current_clocksource)"

# wait_for SECONDS COMMAND…: until the command succeeds.
wait_for() {
  end=$(($(cut -d . -f 1 /proc/uptime) + $1))
  shift
  while ! "$@"; do
    [ "$(cut -d . -f 1 /proc/uptime)" -lt "$end" ] || return 1
    usleep 200000
  done
}
said() { grep -qE "$1" "$console"; }
running() { kill -0 "$pid" 2> /dev/null; }
ended() { ! running; }
said_or_ended() { said "$1" || ended; }
# says REGEX: the machine must say it.
says() {
  wait_for 600 said_or_ended "$1"
  said "$1" && return
  echo "kvm: $name: it did not say /$1/"
  return 1
}
monitor() { echo "$1" > monitor.in; }

exits() { cat "/sys/kernel/debug/kvm/$1"; }

# start NAME: QEMU with the arguments of the machine and those given, its console in NAME.console.
start() {
  # A comma would be QEMU's.
  console=$(echo "$1" | tr -c 'a-z0-9\n' -).console
  shift
  : > "$console"
  rm -f monitor.in monitor.out
  mkfifo monitor.in monitor.out
  # Both stay open, so that neither QEMU nor a command waits for the other side.
  exec 8<> monitor.in 9<> monitor.out
  cat <&9 > answers &
  reader=$!
  "$files/qemu" -accel kvm -cpu host -m 128 -nodefaults -no-user-config -display none -rtc base=2001-01-01T00:00:00 \
    -chardev pipe,id=monitor,path=monitor -mon chardev=monitor,mode=readline -serial "file:$console" \
    -drive if=none,id=iso,format=raw,readonly=on,file="$files/image.iso" -netdev user,id=net \
    -initrd "$files/initramfs" -append "$(cat "$files/cmdline")" "$@" > "$console.errors" 2>&1 &
  pid=$!
}

# stop: the power button, and the guest's own end.
stop() {
  monitor system_powerdown
  says "tinyboot: shutdown: power off" && wait_for 300 ended
}

reap() {
  ! running || kill -9 "$pid"
  wait "$pid" 2> /dev/null
  kill "$reader" 2> /dev/null
  wait "$reader" 2> /dev/null
}

by_kvm="tinyboot: clock: set to 2[0-9]+-[^ ]+, [0-9.]+ s ahead of what it was, by the hypervisor's clock \(ptp kvm\)"

boots() {
  says "$by_kvm" && says "app: listening on port" && says "tinyboot: net: eth0: BOUND to 10\.0\.2\.15"
}

# machine NAME ARGUMENTS…: one line of the table.
machine() {
  name=$1
  shift
  result=failed at_start=- io=- mmio=-
  began=$(cut -d . -f 1 /proc/uptime)
  start "$name" "$@"
  if boots; then
    at_start=$(exits exits) io=$(exits io_exits) mmio=$(exits mmio_exits)
    stop && result="boots, clock, power off"
  fi
  row
}

row() {
  reap
  seconds=$(($(cut -d . -f 1 /proc/uptime) - began))
  if [ "$result" = failed ]; then
    failed=$((failed + 1))
    tail -n 40 "$console" "$console.errors" | sed 's/^/  | /'
  else
    passed=$((passed + 1))
  fi
  printf 'kvm: %-22s %-28s %8s %8s %8s %5s\n' "$name" "$result" "$at_start" "$io" "$mmio" "$seconds"
}

pci="-device virtio-blk-pci,drive=iso -device virtio-net-pci,netdev=net,romfile="
mmio="-device virtio-blk-device,drive=iso -device virtio-net-device,netdev=net"
printf 'kvm: %-22s %-28s %8s %8s %8s %5s\n' machine result exits io mmio s
# shellcheck disable=SC2086
{
  machine "microvm rtc=on, PVH" -machine microvm,rtc=on -kernel $files/vmlinux $mmio
  machine "q35, bzImage" -machine q35 -kernel $files/bzImage $pci
  machine "q35, PVH" -machine q35 -kernel $files/vmlinux $pci
  machine "pc, bzImage" -machine pc -kernel $files/bzImage $pci
}
finish
