# Sourced by the command `nix`: what makes the locked packages and the crates valid paths of the store.

# Sets `mirror` and `security_mirror` to what apt uses.
find_mirror() {
  local uri
  mirror=${TINYBOOT_DEBIAN_MIRROR:-} security_mirror=
  if [ -z "$mirror" ]; then
    while read -r uri; do
      case $uri in
        *-security | *-security/ | */debian-security*) security_mirror=${uri%/} ;;
        *) [ -n "$mirror" ] || mirror=$uri ;;
      esac
    done < <(apt-get indextargets --format '$(ORIGIN) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null | sed -n 's/^Debian //p' | sort -u)
  fi
  if [ -z "$mirror" ]; then
    # apt knows the origin of a source only after its first update.
    mirror=$(sed -n -E 's/^URIs: *([^ ]*).*/\1/p; s/^deb +(\[[^]]*\] +)?([^ ]+) .*/\2/p' /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null |
      grep -E '/debian/?$' | head -n 1) || true
  fi
  mirror=${mirror%/}
  [ -n "$mirror" ] ||
    fail $unusable "No Debian mirror stands in this machine's apt sources; name one in TINYBOOT_DEBIAN_MIRROR."
  : "${security_mirror:=$mirror-security}"
}

# Downloads with apt's own transport into the cache; lines of url, file and hash in. A file is there afterwards if and
# only if its hash is right.
download() {
  (cd "$cache/debs" && LC_ALL=C xargs --no-run-if-empty --max-args=90 /usr/lib/apt/apt-helper -o APT::Sandbox::User=root download-file) 2>&1 |
    tee -a "$cache/download.log" >&2 || true
}

# need_space DIRECTORY BYTES
need_space() {
  local directory=$1 free
  while [ ! -e "$directory" ]; do directory=$(dirname "$directory"); done
  free=$(df --output=avail --block-size=1 "$directory" | tail -n 1)
  [ "$free" -ge "$2" ] ||
    fail $unusable "There must be $(($2 / 1000000)) MB free in $1, but there are only $((free / 1000000)) MB."
}

# Sets `invalid` to those of the paths that the store does not have.
find_invalid() {
  local path
  invalid=()
  for path in $(printf '%s\n' "$@" | xargs --no-run-if-empty nix-store --check-validity --print-invalid); do
    invalid[${path//[!0-9a-z]/}]=1
  done
}
is_invalid() { [ -n "${invalid[${1//[!0-9a-z]/}]:-}" ]; }

# Why a file could not be had: one sentence.
explain_missing() {
  local file=$1
  if grep -q "Hash Sum mismatch" "$cache/download.log"; then
    fail $outdated "What the mirror $mirror sent for ${file%_*} has another hash than the locked one; if it has replaced the file, \`$0 update\` locks the new one."
  elif /usr/lib/apt/apt-helper -o APT::Sandbox::User=root download-file "$mirror/dists/trixie/InRelease" "$cache/InRelease" >/dev/null 2>&1; then
    fail $outdated "The mirror $mirror does not have ${file%_*} any more; \`$0 update\` locks what it has now."
  else
    fail $unusable "The mirror $mirror could not be reached, or it is none of Debian trixie."
  fi
}

# Every locked .deb: into the cache by its hash, from there into the store.
fetch_debs() {
  local -A invalid
  local path file archive pool hash size line total=0 lines missing=() wanted=()
  evaluate_lines paths.nix '{ kind = "debs"; }'
  find_invalid "${lines[@]%% *}"
  for line in "${lines[@]}"; do
    is_invalid "${line%% *}" && missing+=("$line")
  done
  [ ${#missing[@]} -gt 0 ] || return 0

  mkdir -p "$cache/debs"
  exec 9> "$cache/lock"
  flock 9
  for line in "${missing[@]}"; do
    read -r path file archive pool hash size <<<"$line"
    [ "$(sha256sum "$cache/debs/$file" 2>/dev/null | cut -d ' ' -f 1)" != "$hash" ] || continue
    rm -f "$cache/debs/$file"
    wanted+=("$line")
    total=$((total + size))
  done
  if [ ${#wanted[@]} -gt 0 ]; then
    find_mirror
    need_space "$cache" $((total * 11 / 10))
    # Packed in the store, and unpacked.
    need_space /nix/store $((total * 8))
    say "downloading ${#wanted[@]} Debian packages, $((total / 1000000)) MB, from $mirror"
    rm -f "$cache/download.log"
    for line in "${wanted[@]}"; do
      read -r path file archive pool hash size <<<"$line"
      if [ "$archive" = security ]; then echo "$security_mirror/$pool $file SHA256:$hash"; else echo "$mirror/$pool $file SHA256:$hash"; fi
    done | download
    # A version may have moved between the archive proper and the security archive.
    for line in "${wanted[@]}"; do
      read -r path file archive pool hash size <<<"$line"
      [ -e "$cache/debs/$file" ] && continue
      if [ "$archive" = security ]; then
        echo "$mirror/${pool/#pool\/updates\//pool/} $file SHA256:$hash"
      else
        echo "$security_mirror/${pool/#pool\//pool/updates/} $file SHA256:$hash"
      fi
    done | download
    for line in "${wanted[@]}"; do
      read -r path file archive pool hash size <<<"$line"
      [ -e "$cache/debs/$file" ] || explain_missing "$file"
    done
  fi
  say "adding ${#missing[@]} Debian packages to the Nix store; the builds unpack them"
  for line in "${missing[@]}"; do
    read -r path file _ <<<"$line"
    echo "$cache/debs/$file"
  done | xargs nix-store --add-fixed sha256 >/dev/null ||
    fail $unusable "The Debian packages could not be added to the Nix store."
  flock --unlock 9
}

# The static BusyBox that every build starts with.
add_bootstrap() {
  local path work
  path=$(evaluate paths.nix '{ kind = "bootstrap"; }')
  ! nix-store --check-validity "$path" 2>/dev/null || return 0
  work=$(mktemp -d)
  bootstrap_tree "$work" "$(evaluate paths.nix '{ kind = "busybox-deb"; }')"
  nix-store --add-fixed --recursive sha256 "$work/busybox" >/dev/null
  rm -rf "$work"
}

# bootstrap_tree WORK DEB: the tree whose hash is locked, in WORK/busybox.
bootstrap_tree() {
  mkdir -p "$1/busybox/bin"
  dpkg-deb --fsys-tarfile "$2" | TAR_OPTIONS="" tar x -C "$1" --wildcards '*/bin/busybox'
  install -m 0555 "$1/usr/bin/busybox" "$1/busybox/bin/busybox"
}

# fetch_crates DIRECTORY…: the crates of every lock file below these.
fetch_crates() {
  local lock cargo="" path file work lines line
  while read -r lock; do
    local -A invalid=()
    local missing=()
    evaluate_lines paths.nix "{ kind = \"crates\"; lock = \"$lock\"; }"
    find_invalid "${lines[@]%% *}"
    for line in "${lines[@]}"; do
      is_invalid "${line%% *}" && missing+=("${line#* }")
    done
    [ ${#missing[@]} -gt 0 ] || continue
    say "fetching ${#missing[@]} crates of $lock"
    if [ -z "$cargo" ]; then
      nix build --out-link "$cache/cargo" "path:$here#cargo"
      cargo=$(realpath "$cache/cargo")/bin
    fi
    # Debian's Cargo, not the libraries and OpenSSL settings that this machine's environment names.
    PATH=$cargo:$PATH RUSTUP_TOOLCHAIN='' env --unset=LD_LIBRARY_PATH --unset=LD_PRELOAD --unset=OPENSSL_CONF --unset=OPENSSL_MODULES \
      "$cargo/cargo" fetch --locked --manifest-path "$(dirname "$lock")/Cargo.toml" >&2 ||
      fail $unusable "Cargo could not fetch the crates of $lock from the registry that it is set up with."
    work=$(mktemp -d)
    for file in "${missing[@]}"; do
      path=$(find "${CARGO_HOME:-$HOME/.cargo}/registry/cache" -name "$file.crate" | head -n 1)
      [ -n "$path" ] || fail $unusable "Cargo fetched the crates of $lock, but $file is not among them."
      cp "$path" "$work/cargo-src-$file"
    done
    nix-store --add-fixed sha256 "$work"/* >/dev/null
    rm -rf "$work"
  done < <(find "$@" \( -name target -o -name .git -o -name 'result*' \) -prune -o -name Cargo.lock -print | sort -u)
}
