# Runs an image in QEMU as a user would: console in the terminal, a NIC, a disk that stays, a forwarded port.
{
  lib,
  writeShellApplication,
  qemu,
  OVMF,
  btrfs-progs,
  coreutils,
}:
# Type: mkRunner :: { name, iso } -> derivation with the program `run-<name>`
{ name, iso }:
writeShellApplication {
  name = "run-${name}";
  runtimeInputs = [
    qemu
    btrfs-progs
    coreutils
  ];
  text = ''
    memory=256 cpus=1 disk=${name}.img forwards=()
    usage() {
      cat <<'HELP'
    Usage: run-${name} [OPTION…] [-- QEMU ARGUMENT…]

    Boots ${name} in QEMU with UEFI firmware and the console in this terminal. Ctrl-A X ends QEMU; Ctrl-A C opens its
    monitor, where `system_powerdown` is the power button and `sendkey ctrl-alt-delete` asks for a reboot.

      --memory MIB       memory (256)
      --cpus N           processors (1)
      --disk FILE        persistent disk, made as an empty btrfs of 1 GiB if there is none (./${name}.img)
      --no-disk          no persistent disk
      --forward H:G      forward the host's TCP port H on 127.0.0.1 to the machine's port G (8080:80)
      --help             this page
    HELP
    }
    fail() { echo "run-${name}: $1" >&2; exit 2; }
    while [ $# -gt 0 ]; do
      case "$1" in
        --help) usage; exit 0 ;;
        --no-disk) disk=; shift ;;
        --memory | --cpus | --disk | --forward)
          [ $# -ge 2 ] || fail "The option $1 needs a value."
          case "$1" in
            --memory) memory=$2 ;;
            --cpus) cpus=$2 ;;
            --disk) disk=$2 ;;
            --forward) forwards+=("$2") ;;
          esac
          shift 2 ;;
        --) shift; break ;;
        *) fail "There is no option \"$1\"; --help lists them, and arguments for QEMU come after \"--\"." ;;
      esac
    done
    [[ $memory =~ ^[0-9]+$ ]] || fail "The memory must be a number of MiB, but is \"$memory\"."
    [[ $cpus =~ ^[0-9]+$ ]] || fail "The number of processors must be a number, but is \"$cpus\"."
    [ ''${#forwards[@]} -gt 0 ] || forwards=(8080:80)

    net=user,model=virtio-net-pci
    for forward in "''${forwards[@]}"; do
      [[ $forward =~ ^[0-9]+:[0-9]+$ ]] || fail "A port forward must be two port numbers as in 8080:80, but is \"$forward\"."
      net+=",hostfwd=tcp:127.0.0.1:''${forward%:*}-:''${forward#*:}"
    done

    # A device node alone does not mean that guests can use it.
    accelerator=tcg
    if [ -w /dev/kvm ] && grep -qE '\b(vmx|svm)\b' /proc/cpuinfo; then accelerator=kvm; fi

    state=$(mktemp -d)
    trap 'rm -rf "$state"' EXIT
    install -m 0600 ${OVMF.variables} "$state/variables.fd"
    arguments=()
    if [ -n "$disk" ]; then
      if ! [ -e "$disk" ]; then
        truncate --size=1G "$state/disk"
        mkfs.btrfs --quiet --label tinyboot "$state/disk"
        mv "$state/disk" "$disk"
      fi
      arguments+=(-drive "if=none,id=persistent,format=raw,file=$disk" -device "virtio-blk-pci,drive=persistent")
    fi

    qemu-system-x86_64 \
      -machine q35 -accel "$accelerator" -m "$memory" -smp "$cpus" \
      -drive if=pflash,format=raw,unit=0,readonly=on,file=${OVMF.firmware} \
      -drive if=pflash,format=raw,unit=1,file="$state/variables.fd" \
      -cdrom ${iso}/${iso.file} -boot d \
      -nic "$net" -device virtio-rng-pci -nographic "''${arguments[@]}" "$@"
  '';
  meta.description = "Boots ${name} in QEMU";
}
