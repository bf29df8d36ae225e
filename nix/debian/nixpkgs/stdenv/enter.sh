# The builder of every derivation: makes a root file system of the Debian trees among the inputs, by an overlay in a user
# namespace of its own, and runs setup.sh in it. The sandbox around it still decides what exists.
set -eu
b=$busybox/bin/busybox
lower= count=0
add() {
  for path; do
    case ":$lower:" in *":$path/usr:"*) continue ;; esac
    [ ! -d "$path/usr" ] || lower=$lower:$path/usr
    for list in "$path"/nix-support/propagated-*; do
      [ ! -e "$list" ] || add $($b cat "$list")
    done
  done
}
add ${depsBuildBuild:-} ${nativeBuildInputs:-} ${buildInputs:-} ${propagatedBuildInputs:-} ${nativeCheckInputs:-} $debianTrees
export lower=${lower#:} b
exec $b unshare -U -r -m $b sh -euc '
  $b mount -t tmpfs -o mode=755 tmpfs /tmp
  cd /tmp
  $b mkdir -p usr nix proc dev sys build tmp etc run root var/tmp .upper .work
  $b chmod 1777 tmp var/tmp
  $b mount -t overlay overlay -o "lowerdir=$lower,upperdir=/tmp/.upper,workdir=/tmp/.work" usr
  for d in bin sbin lib lib64; do $b ln -s usr/$d $d; done
  for m in nix proc dev; do $b mount -o rbind /$m $m; done
  $b mkdir -p "./$NIX_BUILD_TOP"
  $b mount -o bind "$NIX_BUILD_TOP" "./$NIX_BUILD_TOP"
  echo "root:x:0:0:root:/root:/bin/sh" > etc/passwd
  echo "root:x:0:" > etc/group
  echo "127.0.0.1 localhost" > etc/hosts
  exec $b chroot . /usr/bin/env -C "$NIX_BUILD_TOP" /usr/bin/bash "$setup"'
