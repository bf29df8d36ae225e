# The text of `run-NAME`, behind the assignments that default.nix puts in front.
memory=256 cpus=1 disk=$name.img iso="" firmware="" vmm=qemu tap="" forwards=()
usage() {
  cat <<HELP
Usage: run-$name [OPTION…] [-- ARGUMENT OF THE VMM…]

Boots $name in QEMU with the console in this terminal. Ctrl-A X ends QEMU; Ctrl-A C opens its monitor, where
\`system_powerdown\` is the power button and \`sendkey ctrl-alt-delete\` asks for a reboot.

  --memory MIB       memory (256)
  --cpus N           processors (1)
  --disk FILE        persistent disk, made as an empty btrfs of 1 GiB if there is none (./$name.img)
  --no-disk          no persistent disk
  --forward H:G      forward the host's TCP port H on 127.0.0.1 to the machine's port G (8080:80); may be repeated
  --tap NAME         use the host's TAP device NAME as the network, without forwards
  --iso FILE         boot this ISO by firmware, as result/$name.iso; without it, the VMM starts kernel and program
                     directly, the program built quickly rather than small
  --firmware NAME    with --iso: uefi or bios (uefi)
  --vmm NAME         qemu, microvm (QEMU's machine of that name), firecracker or cloud-hypervisor (qemu). The last two are
                     found on PATH, need KVM, and have a network only with --tap
  --help             this page
HELP
}
say() { echo "run-$name: $1" >&2; }
fail() { say "$1"; exit 2; }

while [ $# -gt 0 ]; do
  case "$1" in
    --help) usage; exit 0 ;;
    --no-disk) disk=""; shift ;;
    --memory | --cpus | --disk | --forward | --tap | --iso | --firmware | --vmm)
      [ $# -ge 2 ] || fail "The option $1 needs a value."
      case "$1" in
        --memory) memory=$2 ;;
        --cpus) cpus=$2 ;;
        --disk) disk=$2 ;;
        --forward) forwards+=("$2") ;;
        --tap) tap=$2 ;;
        --iso) iso=$2 ;;
        --firmware) firmware=$2 ;;
        --vmm) vmm=$2 ;;
      esac
      shift 2 ;;
    --) shift; break ;;
    *) fail "There is no option \"$1\"; --help lists them, and arguments for the VMM come after \"--\"." ;;
  esac
done
[[ $memory =~ ^[0-9]+$ ]] || fail "The memory must be a number of MiB, but is \"$memory\"."
[[ $cpus =~ ^[0-9]+$ ]] || fail "The number of processors must be a number, but is \"$cpus\"."
[ -z "$iso" ] || [ -f "$iso" ] || fail "There is no ISO \"$iso\"."
[ -z "$firmware" ] || [ -n "$iso" ] || fail "The firmware \"$firmware\" boots an ISO: name one with --iso."
[[ $firmware =~ ^(uefi|bios)?$ ]] || fail "The firmware must be \"uefi\" or \"bios\", but is \"$firmware\"."
[[ $vmm =~ ^(qemu|microvm|firecracker|cloud-hypervisor)$ ]] ||
  fail "The VMM must be \"qemu\", \"microvm\", \"firecracker\" or \"cloud-hypervisor\", but is \"$vmm\"."
[ "$vmm" = qemu ] || [ -z "$iso" ] || fail "The VMM \"$vmm\" starts the kernel directly and boots no ISO."
[ -z "$tap" ] || [ ${#forwards[@]} -eq 0 ] || fail "Ports are forwarded by QEMU's own network, which --tap replaces."

case $vmm in
  firecracker | cloud-hypervisor)
    [ ${#forwards[@]} -eq 0 ] || fail "The VMM \"$vmm\" forwards no ports: give it a TAP device with --tap."
    command -v "$vmm" >/dev/null || fail "The program $vmm is not on PATH; --vmm qemu needs nothing from this machine." ;;
  *)
    [ -n "$tap" ] || [ ${#forwards[@]} -gt 0 ] || forwards=(8080:80)
    net=user
    [ -z "$tap" ] || net=tap,ifname=$tap,script=no,downscript=no
    for forward in "${forwards[@]}"; do
      if ! [[ $forward =~ ^[1-9][0-9]{0,4}:[1-9][0-9]{0,4}$ ]] || [ "${forward%:*}" -gt 65535 ] || [ "${forward#*:}" -gt 65535 ]; then
        fail "A port forward must be two port numbers as in 8080:80, but is \"$forward\"."
      fi
      if (: < "/dev/tcp/127.0.0.1/${forward%:*}") 2>/dev/null; then
        fail "The port ${forward%:*} of 127.0.0.1 is in use by another program; choose another one, as in --forward $((${forward%:*} % 65535 + 1)):${forward#*:}."
      fi
      net+=",hostfwd=tcp:127.0.0.1:${forward%:*}-:${forward#*:}"
    done ;;
esac
[ -z "$tap" ] || [ -e "/sys/class/net/$tap" ] || fail "There is no network device \"$tap\"; \"ip tuntap add $tap mode tap\" makes one."

state=$(mktemp -d)
# UEFI's console and QEMU's BIOS switch the terminal's line wrapping off: on again, without clearing what stands there.
cleanup() {
  rm -rf "$state"
  [ ! -t 1 ] || printf '\033[0m\033[?7h'
}
trap cleanup EXIT

# QEMU would read a file that it opens as the first one. A job in the background that reads its terminal is stopped.
[ -e /proc/self/fd/0 ] || exec < /dev/null
if [ -t 0 ]; then
  read -r _ _ _ _ group _ _ foreground _ < /proc/self/stat
  if [ "$group" != "$foreground" ]; then
    say "The machine runs in the background, so its console takes no input."
    exec < /dev/null
  fi
fi

# A device node alone does not mean that guests can use it. First the processor's word: without it, a KVM that emulates runs
# some code and fails at other. Then a virtual machine of five bytes at the reset vector, `mov $33,%al; out %al,$0xf4; hlt`,
# with which QEMU ends with the status 2 * 33 + 1.
kvm_problem() {
  local status=0
  [ -e /dev/kvm ] || { echo "This machine has no /dev/kvm"; return; }
  [ -w /dev/kvm ] || { echo "This user may not use /dev/kvm"; return; }
  grep -qwE 'vmx|svm' /proc/cpuinfo || { echo "/dev/kvm is there, but the processor offers no virtualisation"; return; }
  truncate --size=65520 "$state/probe"
  printf '\xb0\x21\xe6\xf4\xf4' >> "$state/probe"
  truncate --size=65536 "$state/probe"
  timeout --kill-after=1 10 qemu-system-x86_64 -accel kvm -machine pc -nodefaults -no-user-config -display none -m 16 \
    -bios "$state/probe" -device isa-debug-exit,iobase=0xf4,iosize=4 < /dev/null > "$state/probe.log" 2>&1 || status=$?
  [ $status = 67 ] || echo "/dev/kvm is there but does not run a guest"
}
accelerator=kvm
problem=$(kvm_problem)
if [ -n "$problem" ]; then
  accelerator=tcg
  case $vmm in
    firecracker | cloud-hypervisor) fail "$problem, which $vmm needs; --vmm qemu works without." ;;
    *) say "$problem: QEMU emulates the processor, which is several times slower." ;;
  esac
fi

if [ -n "$disk" ] && ! [ -e "$disk" ]; then
  truncate --size=1G "$state/disk"
  mkfs.btrfs --quiet --label tinyboot "$state/disk"
  mv "$state/disk" "$disk" || fail "The disk \"$disk\" cannot be made."
fi

# A file name of QEMU's has commas twice.
arguments=()
run_qemu() {
  # With `-nographic`, QEMU's BIOS would write to the serial console too, and clear it at every reset.
  qemu-system-x86_64 -accel "$accelerator" -m "$memory" -smp "$cpus" -display none -serial mon:stdio "${arguments[@]}" "$@"
}
case $vmm in
  qemu)
    arguments+=(-machine q35 -nic "$net,model=virtio-net-pci" -device virtio-rng-pci)
    if [ -z "$iso" ]; then
      arguments+=(
        -kernel "$kernel" -initrd "$initramfs" -append "$commandLine"
        -drive "if=virtio,format=raw,readonly=on,file=$payload"
      )
    else
      arguments+=(-drive "if=ide,media=cdrom,format=raw,readonly=on,file=${iso//,/,,}" -boot d)
      if [ "$firmware" != bios ]; then
        install -m 0600 "$variables" "$state/variables.fd"
        arguments+=(
          -drive "if=pflash,format=raw,unit=0,readonly=on,file=$uefi"
          -drive "if=pflash,format=raw,unit=1,file=$state/variables.fd"
        )
      fi
    fi
    [ -z "$disk" ] || arguments+=(-drive "if=virtio,format=raw,file=${disk//,/,,}")
    run_qemu "$@" ;;
  microvm)
    # Without `rtc=on` the kernel asks a missing clock for a second and more. With ACPI only KVM tells it the frequency of
    # its clock; without ACPI there is no power button.
    machine=microvm,rtc=on
    [ "$accelerator" = kvm ] || machine=microvm,acpi=off
    arguments+=(
      -machine "$machine" -nodefaults -no-user-config -device virtio-rng-device
      -netdev "${net/#user/user,id=net}" -device "virtio-net-device,netdev=net"
      -kernel "$vmlinux" -initrd "$initramfs" -append "$commandLine"
      -drive "if=none,id=files,format=raw,readonly=on,file=$payload" -device "virtio-blk-device,drive=files"
    )
    arguments=("${arguments[@]/#tap,/tap,id=net,}")
    [ -z "$disk" ] || arguments+=(-drive "if=none,id=persistent,format=raw,file=${disk//,/,,}" -device "virtio-blk-device,drive=persistent")
    run_qemu "$@" ;;
  firecracker)
    # The image's own configuration, with what was asked for here.
    jq --arg kernel "$vmlinux" --arg initramfs "$initramfs" --arg payload "$payload" --arg disk "$disk" --arg tap "$tap" \
      --argjson memory "$memory" --argjson cpus "$cpus" '
        .["boot-source"] += { kernel_image_path: $kernel, initrd_path: $initramfs }
        | .["machine-config"] = { vcpu_count: $cpus, mem_size_mib: $memory }
        | .drives[0].path_on_host = $payload
        | if $disk == "" then . else
            .drives += [{ drive_id: "persistent", path_on_host: $disk, is_root_device: false, is_read_only: false }] end
        | if $tap == "" then . else .["network-interfaces"] = [{ iface_id: "eth0", host_dev_name: $tap }] end
      ' "$firecracker" > "$state/firecracker.json"
    firecracker --no-api --config-file "$state/firecracker.json" "$@" ;;
  cloud-hypervisor)
    disks=(--disk "path=$payload,readonly=on")
    [ -z "$disk" ] || disks+=("path=$disk")
    [ -z "$tap" ] || arguments+=(--net "tap=$tap")
    cloud-hypervisor --kernel "$vmlinux" --initramfs "$initramfs" --cmdline "$commandLine" --cpus "boot=$cpus" \
      --memory "size=${memory}M" "${disks[@]}" --rng src=/dev/urandom --serial tty --console off "${arguments[@]}" "$@" ;;
esac
