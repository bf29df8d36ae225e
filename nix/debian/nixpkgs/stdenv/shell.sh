# What `nix develop` starts as bash: puts the Debian trees of the shell's inputs over this machine's /usr, in a mount
# namespace of its own, and runs bash in there. The inputs stand in the file that nix has written for bash.
set -eu
b=$busybox/bin/busybox
inputs=
for argument; do
  [ ! -f "$argument" ] || inputs=$($b sed -n "s/^debianInputs='\(.*\)'\$/\1/p" "$argument")
done
if [ -z "$inputs" ] || [ "$($b id -u)" != 0 ]; then exec "$bash" "$@"; fi
lower=
add() {
  for path; do
    case ":$lower:" in *":$path/usr:"*) continue ;; esac
    [ ! -d "$path/usr" ] || lower=$lower:$path/usr
    for list in "$path"/nix-support/propagated-*; do
      [ ! -e "$list" ] || add $($b cat "$list")
    done
  done
}
add $inputs
lower=${lower#:} directory=$PWD
# The directories of plugins in the trees: a program's plugins are from where the program is, never from both.
plugins=$(IFS=:; for usr in $lower; do
  for file in "$usr"/lib/x86_64-linux-gnu/*/*.so; do
    [ ! -e "$file" ] || { file=${file%/*}; echo "${file##*/}"; }
  done
done | $b sort -u)
export plugins
export lower directory b
exec $b unshare -m $b sh -euc '
  $b mount -t tmpfs -o mode=755 tmpfs /mnt
  cd /mnt
  $b mkdir -p .upper .work .mask/lib/x86_64-linux-gnu
  # To an overlay, such a node says that the layers below have nothing of this name.
  for name in $plugins; do $b mknod .mask/lib/x86_64-linux-gnu/$name c 0 0; done
  for entry in /*; do
    name=${entry#/}
    case $name in
      usr | bin | sbin | lib | lib64 | lib32 | libx32 | mnt) ;;
      *)
        if [ -L "$entry" ]; then $b cp -d "$entry" "$name"
        elif [ -d "$entry" ]; then $b mkdir "$name"; $b mount -o rbind "$entry" "$name"
        fi ;;
    esac
  done
  for name in bin sbin lib lib64; do $b ln -s usr/$name $name; done
  $b mkdir usr mnt
  $b mount -t overlay overlay -o "lowerdir=$lower:/mnt/.mask:/usr,upperdir=/mnt/.upper,workdir=/mnt/.work" usr
  exec $b chroot . /usr/bin/env -u lower -u plugins -u b -u directory -u busybox -u bash -C "$directory" /usr/bin/bash "$@"' sh "$@"
