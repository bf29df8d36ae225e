# The test of view.sh: a script in the view of one tree, on a host whose /usr, /etc and environment would break it.
# Arguments: the directory with view.sh. The environment has busybox and base.
set -o pipefail
export view=$1 busybox inside= trees=$base path= hostPrograms="host-program no-such-program" script=$PWD/script

hostile=/usr/lib/x86_64-linux-gnu
mkdir -p $hostile/plugins /etc/keys /usr/local/machines "$PWD/bin"
echo hostile > $hostile/plugins/plugin.so
echo hostile > /etc/hostile.conf
echo key > /etc/keys/db.key
echo disk > "/usr/local/machines/a disk.img"
ln -s /etc/keys/db.key "$PWD/link"
cat > bin/host-program <<'PROGRAM'
#!/bin/sh
echo "$PWD: $(cat /etc/hostile.conf): $*"
PROGRAM
chmod +x bin/host-program

cat > script <<'SCRIPT'
set -eu
fail() { echo "view-test: $1" >&2; exit 1; }
[ ! -e /usr/lib/x86_64-linux-gnu/plugins ] || fail "The host's plugins are seen."
[ ! -e /etc/hostile.conf ] || fail "The host's /etc is seen."
[ -x /usr/bin/sed ] || fail "The tree's programs are not there."
[ -z "${LD_LIBRARY_PATH-}${GCONV_PATH-}${OPENSSL_CONF-}${BASH_ENV-}" ] || fail "The host's environment is there."
[ "$LC_ALL" = C.UTF-8 ] || fail "The host's locale is there."
[ "$(cat "$1")" = key ] || fail "The file $1, which an argument names, cannot be read."
[ "$(cat link)" = key ] || fail "The file behind a link cannot be read."
[ "$(cat "${2#file=}")" = disk ] || fail "The file in a list is not there: $2."
echo changed > "${2#file=}"
if echo lost > /etc/new 2>/dev/null; then fail "A file that would be lost can be made in /etc."; fi
if echo lost > /usr/new 2>/dev/null; then fail "A file that would be lost can be made in /usr."; fi
echo made > "$3"
[ "$(host-program two words)" = "$PWD: hostile: two words" ] || fail "The host's program does not see the host: $(host-program)"
! command -v no-such-program >/dev/null || fail "A program that the host does not have is there."
[ "$4" = "" ] && [ "$5" = "a b" ] && [ $# = 6 ] || fail "The arguments are changed: $*"
exit 7
SCRIPT

status=0
PATH=$PWD/bin:$PATH LD_LIBRARY_PATH=$hostile/plugins GCONV_PATH=/hostile OPENSSL_CONF=/etc/hostile.conf BASH_ENV=/etc/hostile.conf \
  LC_ALL=de_DE.UTF-8 TMPDIR=/no/such/directory \
  $busybox/bin/busybox sh "$view/view.sh" /etc/keys/db.key "file=/usr/local/machines/a disk.img" /usr/local/machines/new "" "a b" link || status=$?
[ $status = 7 ] || { echo "view-test: The script ended with $status instead of 7." >&2; exit 1; }
[ "$(cat "/usr/local/machines/a disk.img")$(cat /usr/local/machines/new)" = changedmade ]
# Nothing of it is left on the host.
[ -e $hostile/plugins/plugin.so ] && [ -z "$(ls "$view/host" "$view/stage" | grep -v :)" ]
