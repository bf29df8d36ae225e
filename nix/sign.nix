# Signs the program that UEFI starts, with the user's own key, in place: in a UKI, an ISO or a raw disk that is not in the
# store. So the key need not be there either. mkImage's `signing` does the same with keys that may be.
{
  writeShellApplication,
  coreutils,
  gnugrep,
  gnused,
  mtools,
  openssl,
  sbsigntool,
  util-linux,
}:
writeShellApplication {
  name = "sign-image";
  runtimeInputs = [
    coreutils
    gnugrep
    gnused
    mtools
    openssl
    sbsigntool
    util-linux
  ];
  text = ''
    program=::/EFI/BOOT/BOOTX64.EFI
    usage() {
      cat <<'HELP'
    Usage: sign-image --key KEY --certificate CERTIFICATE IMAGE…

    Signs for UEFI Secure Boot what the images start: .efi files, .iso images and raw disks, each in place. A signature
    that is there already is replaced.

      --key KEY                  private key of RSA, PEM
      --certificate CERTIFICATE  its certificate, PEM, which the firmware knows
      --help                     this page
    HELP
    }
    fail() { echo "sign-image: $1" >&2; exit 2; }

    key="" certificate="" images=()
    while [ $# -gt 0 ]; do
      case "$1" in
        --help) usage; exit 0 ;;
        --key | --certificate)
          [ $# -ge 2 ] || fail "The option $1 needs a value."
          [ "$1" = --key ] && key=$2 || certificate=$2
          shift 2 ;;
        -*) fail "There is no option \"$1\"; --help lists them." ;;
        *) images+=("$1"); shift ;;
      esac
    done
    [ -n "$key" ] || fail "The private key must be given with --key."
    [ -n "$certificate" ] || fail "The certificate must be given with --certificate."
    [ ''${#images[@]} -gt 0 ] || fail "At least one image must be given."
    of_key=$(openssl pkey -in "$key" -pubout 2>/dev/null) || fail "The private key \"$key\" cannot be read as PEM."
    of_certificate=$(openssl x509 -in "$certificate" -noout -pubkey 2>/dev/null) ||
      fail "The certificate \"$certificate\" cannot be read as PEM."
    [ "$of_key" = "$of_certificate" ] || fail "The certificate \"$certificate\" is not of the key \"$key\"."

    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT

    # Signs the PE file $1, which is named $2.
    sign() {
      if sbverify --list "$1" 2>/dev/null | grep -q '^signature '; then
        sbattach --remove "$1" >"$work/log" 2>&1 || fail "The signature of $2 cannot be removed: $(cat "$work/log")"
      fi
      sbsign --key "$key" --cert "$certificate" --output "$work/signed.efi" "$1" >"$work/log" 2>&1 ||
        fail "$2 cannot be signed: $(cat "$work/log")"
      sbverify --cert "$certificate" "$work/signed.efi" >"$work/log" 2>&1 ||
        fail "The signature of $2 does not hold: $(cat "$work/log")"
      # Into the same file, so that its rights stay.
      cat "$work/signed.efi" > "$1"
    }

    # Where the boot partition of the image $1 begins, in bytes.
    boot_partition() {
      local start
      while read -r start; do
        if mdir -i "$1@@$((start * 512))" "$program" >/dev/null 2>&1; then
          echo $((start * 512))
          return
        fi
      done < <(partx --show --noheadings --output START "$1" 2>/dev/null)
      return 1
    }

    for image in "''${images[@]}"; do
      [ -f "$image" ] || fail "There is no file \"$image\"."
      # Root may write there, and would change what others count on.
      case $(realpath "$image") in
        ${builtins.storeDir}/*) fail "The image \"$image\" is in the store; copy it out first." ;;
      esac
      [ -w "$image" ] || fail "The image \"$image\" cannot be written."
      case $(od -A n -t x1 -N 4 "$image" | tr -d ' ') in
        4d5a*)
          # A signature that fails leaves the old file in place.
          cp "$image" "$work/program.efi"
          sign "$work/program.efi" "The program \"$image\""
          cat "$work/program.efi" > "$image"
          echo "sign-image: signed \"$image\"" ;;
        514649fb)
          fail "The image \"$image\" is a qcow2; convert it to raw first: qemu-img convert -O raw." ;;
        *)
          offset=$(boot_partition "$image") || fail "The image \"$image\" has no partition with EFI/BOOT/BOOTX64.EFI."
          mcopy -n -o -i "$image@@$offset" "$program" "$work/program.efi"
          before=$(stat --format=%s "$work/program.efi")
          sign "$work/program.efi" "EFI/BOOT/BOOTX64.EFI of \"$image\""
          free=$(mdir -i "$image@@$offset" :: | sed -n 's/^ *\([0-9 ]*\) bytes free.*/\1/p' | tr -d ' ')
          [ $((before + free)) -ge "$(stat --format=%s "$work/program.efi")" ] ||
            fail "The boot partition of \"$image\" has no room for a signature."
          SOURCE_DATE_EPOCH=315532800 mcopy -o -i "$image@@$offset" "$work/program.efi" "$program"
          echo "sign-image: signed EFI/BOOT/BOOTX64.EFI in \"$image\"" ;;
      esac
    done
  '';
  meta.description = "Signs images for UEFI Secure Boot";
}
