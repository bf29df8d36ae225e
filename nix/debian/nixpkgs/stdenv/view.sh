# Runs a script of writeShellApplication on a host: in a mount namespace in which the Debian trees of its inputs are /usr and
# /etc, so that no program finds the host's files by a path that was compiled into it (QEMU's modules, openssl.cnf, gconv).
# Everything else of the host stays at its place: devices, terminal, network, home directories. So do the files below /usr
# and /etc that an argument names. The caller exports busybox, view, trees, path, hostPrograms, script and an empty `inside`.
set -euf
b=$busybox/bin/busybox

if [ -z "$inside" ]; then
  flags=-m
  [ "$($b id -u)" = 0 ] || flags="-U -r -m"
  $b unshare $flags $b true 2>/dev/null || {
    echo "${script##*/}: This command needs a mount namespace, but this machine gives none: run it as root, or allow user namespaces." >&2
    exit 69
  }
  export inside=1
  exec $b unshare $flags $b sh "$0" "$@"
fi

usr= etc=
add() {
  for tree; do
    case ":$usr:" in *":$tree/usr:"*) continue ;; esac
    [ ! -d "$tree/usr" ] || usr=$usr:$tree/usr
    [ ! -d "$tree/etc" ] || etc=$etc:$tree/etc
    for list in "$tree"/nix-support/propagated-build-inputs "$tree"/nix-support/propagated-native-build-inputs; do
      [ ! -e "$list" ] || add $($b cat "$list")
    done
  done
}
add $trees

# The host as it is, for its own programs; then layers that can be written until everything has its place.
$b mount -o rbind / "$view/host"
$b mount -t tmpfs -o mode=755 tmpfs "$view/stage"
$b mkdir "$view"/stage/usr "$view"/stage/usr.work "$view"/stage/etc "$view"/stage/etc.work "$view"/stage/bin

# expose PATH: keeps a file or directory of the host, or the directory in which a file shall be made.
exposed=
expose() {
  local file=$1
  while [ -n "$file" ] && [ ! -e "$file" ]; do file=${file%/*}; done
  case $file in
    /usr/bin | /usr/sbin | /usr/lib | /usr/lib64 | /usr/share | /usr/lib/x86_64-linux-gnu) return ;;
    /usr/* | /etc/*) ;;
    *) return ;;
  esac
  $b mkdir -p "$view/stage${file%/*}"
  if [ -d "$file" ]; then $b mkdir -p "$view/stage$file"; else : > "$view/stage$file"; fi
  exposed=$exposed$file'
'
}
find_named() {
  local word
  for word in "$1" $1; do
    word=${word%%@@*} word=${word#file:}
    case $word in
      */../* | */./* | '') ;;
      /*) expose "$word" ;;
      *) expose "$PWD/$word" ;;
    esac
    word=$($b realpath "$word" 2>/dev/null) || continue
    expose "$word"
  done
}
for argument; do
  # An argument may be a list, as in file=/etc/x,format=raw.
  IFS=,=
  find_named "$argument"
  unset IFS
done

# Names and addresses are the host's; the way to look them up is not.
for name in passwd group hosts resolv.conf localtime; do
  [ ! -e "/etc/$name" ] || [ -e "$view/stage/etc/$name" ] || $b ln -s "$view/host/etc/$name" "$view/stage/etc/$name"
done
[ -e "$view/stage/etc/nsswitch.conf" ] || printf 'passwd: files\ngroup: files\nhosts: files dns\n' > "$view/stage/etc/nsswitch.conf"

# A host's program that the script may start runs with the host's /usr, /etc and PATH.
for name in $hostPrograms; do
  IFS=:
  for directory in $PATH; do
    [ -f "$directory/$name" ] && [ -x "$directory/$name" ] || continue
    $b cat > "$view/stage/bin/$name" <<PROGRAM
#!$b sh
exec $b chroot $view/host $b sh -c 'cd "\$0" && PATH=\$1 && shift && exec "\$@"' "\$PWD" '$PATH' '$directory/$name' "\$@"
PROGRAM
    $b chmod +x "$view/stage/bin/$name"
    break
  done
  unset IFS
done

$b mount -t overlay -o "lowerdir=${usr#:},upperdir=$view/stage/usr,workdir=$view/stage/usr.work" overlay /usr
$b mount -t overlay -o "lowerdir=${etc#:},upperdir=$view/stage/etc,workdir=$view/stage/etc.work" overlay /etc
# Where these are no links into /usr.
for name in bin sbin lib lib64; do
  [ -L "/$name" ] || [ ! -d "/$name" ] || $b mount -o bind "/usr/$name" "/$name"
done
IFS='
'
for file in $exposed; do $b mount -o rbind "$view/host$file" "$file"; done
unset IFS
# A file that is made where it would be lost is an error.
$b mount -o remount,bind,ro /usr
$b mount -o remount,bind,ro /etc

[ -d "${TMPDIR-/}" ] || unset TMPDIR
set -- /usr/bin/bash "$script" "$@"
for variable in TERM COLORTERM NO_COLOR TMPDIR TZ; do
  eval "[ -z \"\${$variable+set}\" ] || set -- \"$variable=\${$variable-}\" \"\$@\""
done
exec $b env -i "PATH=/usr/bin:/usr/sbin$path:$view/stage/bin" HOME=/homeless-shelter LC_ALL=C.UTF-8 "$@"
