# nixpkgs' generic builder as far as tinyboot and crane use it: phases, hooks before and after each, setup hooks of inputs.
set -e -o pipefail
umask 022
unset lower b debianTrees
export PATH=/usr/bin:/usr/sbin HOME=/homeless-shelter LC_ALL=C.UTF-8 TZ=UTC SHELL=/usr/bin/bash
export TMPDIR=$NIX_BUILD_TOP TEMPDIR=$NIX_BUILD_TOP TMP=$NIX_BUILD_TOP TEMP=$NIX_BUILD_TOP
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-315532800} TAR_OPTIONS=--no-same-owner
: "${outputs:=out}" "${NIX_BUILD_CORES:=1}"
[ "$NIX_BUILD_CORES" != 0 ] || NIX_BUILD_CORES=$(nproc)
export NIX_BUILD_CORES
prefix=$out
exitHooks() { local status=$?; [ $status = 0 ] || echo "build of $name failed in ${curPhase:-setup} with exit status $status" >&2; }
trap exitHooks EXIT

runHook() {
  local hook=$1; shift
  local -n hooks="${hook%Hook}Hooks"
  local one
  if declare -F "$hook" >/dev/null; then "$hook" "$@"; elif [ -n "${!hook:-}" ]; then eval "${!hook}"; fi
  for one in ${hooks[@]+"${hooks[@]}"}; do
    if declare -F "$one" >/dev/null; then "$one" "$@"; else eval "$one"; fi
  done
}
runOneHook() { runHook "$@"; }
addToSearchPathWithCustomDelimiter() { if [ -d "$3" ]; then export "$2=${!2:+${!2}$1}$3"; fi; }
addToSearchPath() { addToSearchPathWithCustomDelimiter : "$@"; }
addEnvHooks() { :; }
substituteInPlace() {
  local file=$1 text; shift
  text=$(cat "$file"; printf x)
  while [ $# -gt 0 ]; do
    case $1 in
      --replace | --replace-fail | --replace-warn | --replace-quiet) text=${text//"$2"/"$3"}; shift 3 ;;
      *) echo "substituteInPlace has no option $1" >&2; return 1 ;;
    esac
  done
  printf '%s' "${text%x}" > "$file"
}
patchShebangs() { :; }
nixLog() { echo "$@"; }
nixInfoLog() { :; }
nixWarnLog() { echo "$@" >&2; }
nixErrorLog() { echo "$@" >&2; }

activate() {
  local input=$1 list
  case " ${activated:-} " in *" $input "*) return ;; esac
  activated="${activated:-} $input"
  for list in "$input"/nix-support/propagated-*; do
    [ -e "$list" ] || continue
    local more
    for more in $(cat "$list"); do activate "$more"; done
  done
  [ -d "$input/usr" ] || addToSearchPath PATH "$input/bin"
  if [ -f "$input/nix-support/setup-hook" ]; then source "$input/nix-support/setup-hook"; fi
}
checkInputs=; [ -z "${doCheck:-}" ] || checkInputs=${nativeCheckInputs:-}
for input in ${depsBuildBuild:-} ${nativeBuildInputs:-} ${buildInputs:-} ${propagatedBuildInputs:-} $checkInputs; do
  hostOffset=0 targetOffset=0 activate "$input"
done

unpackPhase() {
  runHook preUnpack
  local source before=" $(echo *) " entry
  for source in ${srcs:-${src:-}}; do
    if [ -d "$source" ]; then
      local target; target=${source##*/}; target=${target#*-}
      cp -r --no-preserve=ownership --preserve=mode,timestamps "$source" "$target"
      chmod -R u+w "$target"
    else
      tar xf "$source"
    fi
  done
  if [ -z "${sourceRoot:-}" ]; then
    for entry in *; do
      if [ -d "$entry" ] && [[ $before != *" $entry "* ]]; then sourceRoot=$entry; fi
    done
  fi
  [ -n "${sourceRoot:-}" ] || { echo "unpacking gave no directory" >&2; return 1; }
  runHook postUnpack
}
patchPhase() {
  runHook prePatch
  local patch
  for patch in ${patches:-}; do patch -p1 < "$patch"; done
  runHook postPatch
}
configurePhase() {
  runHook preConfigure
  if [ -x ./configure ]; then ./configure --prefix="$prefix" ${configureFlags:-}; fi
  runHook postConfigure
}
buildPhase() {
  runHook preBuild
  if [ -e Makefile ] || [ -e makefile ] || [ -e GNUmakefile ]; then make -j"$NIX_BUILD_CORES" ${makeFlags:-} ${buildFlags:-}; fi
  runHook postBuild
}
checkPhase() { runHook preCheck; runHook postCheck; }
installPhase() {
  runHook preInstall
  make install ${makeFlags:-} ${installFlags:-}
  runHook postInstall
}
fixupPhase() {
  runHook preFixup
  local output
  for output in $outputs; do
    if [ -n "${setupHook:-}" ]; then mkdir -p "${!output}/nix-support"; cp "$setupHook" "${!output}/nix-support/setup-hook"; fi
    if [ -n "${propagatedBuildInputs:-}" ]; then
      mkdir -p "${!output}/nix-support"; echo "$propagatedBuildInputs" > "${!output}/nix-support/propagated-build-inputs"
    fi
  done
  runHook fixupOutput
  runHook postFixup
}
installCheckPhase() { runHook preInstallCheck; runHook postInstallCheck; }
distPhase() { :; }
showPhaseHeader() { :; }
showPhaseFooter() { :; }

runPhase() {
  curPhase=$1
  local skip="dont${1%Phase}"; skip="dont$(tr '[:lower:]' '[:upper:]' <<<"${1:0:1}")${1:1}"; skip=${skip%Phase}
  [ -z "${!skip:-}" ] || return 0
  case $1 in
    checkPhase) [ -n "${doCheck:-}" ] || return 0 ;;
    installCheckPhase) [ -n "${doInstallCheck:-}" ] || return 0 ;;
    distPhase) [ -n "${doDist:-}" ] || return 0 ;;
  esac
  if [ -n "${!1:-}" ]; then eval "${!1}"; else "$1"; fi
  if [ "$1" = unpackPhase ]; then cd "$sourceRoot"; fi
}
genericBuild() {
  if [ -n "${buildCommandPath:-}" ]; then
    curPhase=buildCommand; source "$buildCommandPath"; return
  fi
  if [ -n "${buildCommand:-}" ]; then curPhase=buildCommand; eval "$buildCommand"; return; fi
  local phase
  for phase in ${phases:-${prePhases:-} unpackPhase patchPhase ${preConfigurePhases:-} configurePhase ${preBuildPhases:-} buildPhase checkPhase ${preInstallPhases:-} installPhase ${preFixupPhases:-} fixupPhase installCheckPhase ${preDistPhases:-} distPhase}; do
    runPhase "$phase"
  done
}
runHook postHook
genericBuild
