# Unpacks the .debs of a closure below $out/usr, and puts wrappers beside it that run its programs from there.
set -eu
export PATH=$busybox/bin
$busybox/bin/busybox mkdir -p "$NIX_BUILD_TOP/bin"
$busybox/bin/busybox --install -s "$NIX_BUILD_TOP/bin"
export PATH=$NIX_BUILD_TOP/bin
mkdir -p "$out/usr"
cd "$out"
for d in bin sbin lib lib64; do
  mkdir -p usr/$d
  ln -s usr/$d $d
done
for deb in $debs; do
  # Without permissions of others and owners: the store has neither.
  ar p "$deb" data.tar.xz | tar xJ
done
rm -f bin sbin lib lib64
rm -rf usr/share/man usr/share/doc usr/share/locale usr/share/info usr/share/lintian usr/share/bash-completion
# What maintainer scripts and alternatives would have made.
link() { [ -e "usr/bin/$2" ] || [ ! -e "usr/bin/$1" ] || ln -s "$1" "usr/bin/$2"; }
link bash sh
link gcc cc
link g++ c++
link gawk awk
link mawk awk
link bison yacc
link python3 python
eval "$postUnpack"

loader=$out/usr/lib64/ld-linux-x86-64.so.2
[ -e "$loader" ] || exit 0
libraries=$(find usr/lib -name '*.so*' ! -type d | sed 's|/[^/]*$||' | sort -u | grep -vE '/(python3|perl|gcc|gconv|qemu|rustlib|systemd/boot|engines|ossl-modules)' | sed "s|^|$out/|" | tr '\n' ':')
mkdir -p bin
for program in usr/bin/* usr/sbin/* usr/lib/systemd/ukify; do
  [ -f "$program" ] && [ -x "$program" ] || continue
  name=${program##*/}
  [ -e "bin/$name" ] && continue
  case $(head -c 4 "$program" | od -An -tx1 | tr -d ' ') in
    7f454c46) run="exec $loader --argv0 \"\$0\" --library-path ${libraries%:} $out/$program" ;;
    2321*)
      read -r interpreter argument <<LINE
$(head -n 1 "$program" | sed 's/^#! *//')
LINE
      interpreter=${interpreter##*/}
      [ "$interpreter" != env ] || { interpreter=$argument argument=; }
      case $interpreter in
        sh | dash) run="exec $busybox/bin/busybox sh $out/$program" ;;
        *) run="exec $out/bin/$interpreter $argument $out/$program" ;;
      esac ;;
    *) continue ;;
  esac
  [ "$name" = "${name#python3}" ] || run="export PYTHONHOME=$out/usr PYTHONDONTWRITEBYTECODE=1; $run"
  case $name in
    qemu-*)
      run="export QEMU_MODULE_DIR=$out/usr/lib/x86_64-linux-gnu/qemu; $run"
      [ "$name" = "${name#qemu-system-}" ] || run="$run -L $out/usr/share/qemu -L $out/usr/share/seabios" ;;
  esac
  printf '#!%s/bin/busybox sh\n%s "$@"\n' "$busybox" "$run" > "bin/$name"
  chmod +x "bin/$name"
done
