# Sourced by the command `nix`: locks the newest versions of the packages in packages.list.

# Sets up an apt of its own, for trixie, that knows nothing of this machine's packages. It keeps this machine's settings of
# apt, for a proxy may stand there; options on the command line win over them.
set_up_private_apt() {
  local keyring=/usr/share/keyrings/debian-archive-keyring.gpg
  [ -e "$keyring" ] || fail $unusable "Debian's archive keyring $keyring is missing; it is in the package debian-archive-keyring."
  mkdir -p "$work"/lists/partial "$work"/cache/archives/partial
  : > "$work/status"
  cat > "$work/sources.list" <<LIST
deb [signed-by=$keyring] $mirror trixie main
deb [signed-by=$keyring] $mirror trixie-updates main
deb [signed-by=$keyring] $security_mirror trixie-security main
LIST
  private_apt update >&2 ||
    fail $unusable "The package index of $mirror could not be read or its signature is wrong."
}

private_apt() {
  LC_ALL=C apt-get \
    -o Dir::State="$work" -o Dir::State::status="$work/status" -o Dir::State::Lists="$work/lists" -o Dir::Cache="$work/cache" \
    -o Dir::Etc::SourceList="$work/sources.list" -o Dir::Etc::SourceParts=/dev/null \
    -o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts=/dev/null \
    -o APT::Architecture=amd64 -o APT::Architectures=amd64 -o APT::Default-Release= -o APT::Sandbox::User=root \
    -o APT::Install-Recommends=false -o APT::Install-Suggests=false \
    -o Acquire::Languages=none -o Acquire::ForceHash=sha256 "$@"
}

# is_one_of NAME PATTERN…: whether a package is among those of a line.
is_one_of() {
  local name=$1 pattern
  shift
  for pattern; do
    # shellcheck disable=SC2053
    [[ $name != $pattern ]] || return 0
  done
  return 1
}

join() { printf '%s\n' "$@" | sed '$!s/$/,/'; }

update() {
  local work line attribute names alone uri file size hash archive pool
  work=$(mktemp -d)
  find_mirror
  set_up_private_apt
  local -A debs=()
  local closures=()
  while read -r line; do
    case $line in '#'* | '') continue ;; esac
    attribute=${line%%[:=]*} names=${line#*[:=] }
    alone=; [[ $line != "$attribute="* ]] || alone=1
    # Without the shell's own files for a pattern.
    local closure=() patterns plain
    read -ra patterns <<<"$names"
    mapfile -t plain < <(printf '%s\n' "${patterns[@]}" | grep -v '[*]')
    while read -r uri file size hash; do
      [ -z "$alone" ] || is_one_of "${file%%_*}" "${patterns[@]}" || continue
      uri=${uri//\'/}
      archive=main; [[ $uri != "$security_mirror"/* ]] || archive=security
      pool=pool/${uri#*/pool/}
      closure+=("\"$file\"")
      debs[$file]=$(printf '    "%s": { "archive": "%s", "path": "%s", "sha256": "%s", "size": %s }' "$file" $archive "$pool" "${hash#SHA256:}" "$size")
    done < <(private_apt install --print-uris --yes "${plain[@]}" 2>/dev/null | grep "^'" | LC_ALL=C sort -k 2)
    [ ${#closure[@]} -gt 0 ] || fail $unusable "The archive cannot satisfy \"$names\", which packages.list has for $attribute."
    # First the package that the closure is named after: its version is the attribute's.
    local first=() others=() file
    for file in "${closure[@]}"; do
      if [[ $file = "\"${names%% *}_"* ]]; then first+=("$file"); else others+=("$file"); fi
    done
    closures+=("    \"$attribute\": [$(IFS=,; echo "${first[*]}${others[*]:+,${others[*]}}")]")
  done < "$here/packages.list"

  # The hash of the first program is that of a tree, which only unpacking tells.
  (cd "$work" && private_apt download busybox-static >&2)
  bootstrap_tree "$work" "$work"/busybox-static_*.deb
  {
    printf '{\n  "bootstrap": "%s",\n  "closures": {\n' "$(nix hash path "$work/busybox")"
    join "${closures[@]}"
    printf '  },\n  "debs": {\n'
    mapfile -t lines < <(printf '%s\n' "${debs[@]}" | LC_ALL=C sort)
    join "${lines[@]}"
    printf '  }\n}\n'
  } > "$work/lock.json"

  local before after
  before=$(sed -n 's/^    "\([^"]*\.deb\)": .*/\1/p' "$here/lock.json" 2>/dev/null | sort)
  after=$(sed -n 's/^    "\([^"]*\.deb\)": .*/\1/p' "$work/lock.json" | sort)
  diff <(echo "$before") <(echo "$after") | sed -n 's/^</- /p; s/^>/+ /p' || true
  cp "$work/lock.json" "$here/lock.json"
  rm -rf "$work"
}
