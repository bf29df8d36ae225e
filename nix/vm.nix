# Runs an image in QEMU as a user would: console in the terminal, a NIC, a disk that stays, a forwarded port.
{
  lib,
  writeShellApplication,
  qemu,
  OVMF,
  btrfs-progs,
  coreutils,
  gnugrep,
  kernelImage,
}:
/*
  Type: mkRunner :: { name, kernel, initramfs, commandLine, payload } -> derivation with the program `run-<name>`

  kernel, initramfs  what is started without firmware's help, for a change of the program to run soonest
  commandLine        the kernel's
  payload            output of mkPayload
*/
{
  name,
  kernel,
  initramfs,
  commandLine,
  payload,
}:
writeShellApplication {
  name = "run-${name}";
  runtimeInputs = [
    qemu
    btrfs-progs
    coreutils
    gnugrep
  ];
  text = ''
    memory=256 cpus=1 disk=${name}.img iso="" firmware="" forwards=()
    usage() {
      cat <<'HELP'
    Usage: run-${name} [OPTION…] [-- QEMU ARGUMENT…]

    Boots ${name} in QEMU with the console in this terminal. Ctrl-A X ends QEMU; Ctrl-A C opens its monitor, where
    `system_powerdown` is the power button and `sendkey ctrl-alt-delete` asks for a reboot.

      --memory MIB       memory (256)
      --cpus N           processors (1)
      --disk FILE        persistent disk, made as an empty btrfs of 1 GiB if there is none (./${name}.img)
      --no-disk          no persistent disk
      --forward H:G      forward the host's TCP port H on 127.0.0.1 to the machine's port G (8080:80); may be repeated
      --iso FILE         boot this ISO by firmware, as result/${name}.iso; without it, QEMU starts kernel and program
                         directly, the program built quickly rather than small
      --firmware NAME    with --iso: uefi or bios (uefi)
      --help             this page
    HELP
    }
    fail() { echo "run-${name}: $1" >&2; exit 2; }
    while [ $# -gt 0 ]; do
      case "$1" in
        --help) usage; exit 0 ;;
        --no-disk) disk=""; shift ;;
        --memory | --cpus | --disk | --forward | --iso | --firmware)
          [ $# -ge 2 ] || fail "The option $1 needs a value."
          case "$1" in
            --memory) memory=$2 ;;
            --cpus) cpus=$2 ;;
            --disk) disk=$2 ;;
            --forward) forwards+=("$2") ;;
            --iso) iso=$2 ;;
            --firmware) firmware=$2 ;;
          esac
          shift 2 ;;
        --) shift; break ;;
        *) fail "There is no option \"$1\"; --help lists them, and arguments for QEMU come after \"--\"." ;;
      esac
    done
    [[ $memory =~ ^[0-9]+$ ]] || fail "The memory must be a number of MiB, but is \"$memory\"."
    [[ $cpus =~ ^[0-9]+$ ]] || fail "The number of processors must be a number, but is \"$cpus\"."
    [ -z "$iso" ] || [ -f "$iso" ] || fail "There is no ISO \"$iso\"."
    [ -z "$firmware" ] || [ -n "$iso" ] || fail "The firmware \"$firmware\" boots an ISO: name one with --iso."
    [[ $firmware =~ ^(uefi|bios)?$ ]] || fail "The firmware must be \"uefi\" or \"bios\", but is \"$firmware\"."
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
    # UEFI's console and QEMU's BIOS switch the terminal's line wrapping off: on again, without clearing what stands there.
    cleanup() {
      rm -rf "$state"
      [ ! -t 1 ] || printf '\033[0m\033[?7h'
    }
    trap cleanup EXIT
    arguments=()
    if [ -z "$iso" ]; then
      arguments+=(
        -kernel ${kernelImage kernel} -initrd ${initramfs}/initramfs
        -append ${lib.escapeShellArg commandLine}
        -drive "if=virtio,format=raw,readonly=on,file=${payload}/${payload.file}"
      )
    else
      # A file name of QEMU's has commas twice.
      arguments+=(-drive "if=ide,media=cdrom,format=raw,readonly=on,file=''${iso//,/,,}" -boot d)
      if [ "$firmware" != bios ]; then
        install -m 0600 ${OVMF.variables} "$state/variables.fd"
        arguments+=(
          -drive "if=pflash,format=raw,unit=0,readonly=on,file=${OVMF.firmware}"
          -drive "if=pflash,format=raw,unit=1,file=$state/variables.fd"
        )
      fi
    fi
    if [ -n "$disk" ]; then
      if ! [ -e "$disk" ]; then
        truncate --size=1G "$state/disk"
        mkfs.btrfs --quiet --label tinyboot "$state/disk"
        mv "$state/disk" "$disk"
      fi
      arguments+=(-drive "if=none,id=persistent,format=raw,file=''${disk//,/,,}" -device "virtio-blk-pci,drive=persistent")
    fi

    # With `-nographic`, QEMU's BIOS would write to the serial console too, and clear it at every reset.
    qemu-system-x86_64 \
      -machine q35 -accel "$accelerator" -m "$memory" -smp "$cpus" -nic "$net" -device virtio-rng-pci \
      -display none -serial mon:stdio "''${arguments[@]}" "$@"
  '';
  meta.description = "Boots ${name} in QEMU";
}
