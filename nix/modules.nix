# The modules of an image: the closure of the names that it asks for, with the tables that init loads them by.
{
  lib,
  runCommand,
  makeModulesClosure,
  kmod,
  stdenv,
}:
/*
  Type: mkModules :: { name, modules, kernel } -> derivation

  name     the image's name, for messages
  modules  module names; underscore and hyphen are the same
  kernel   the kernel that they belong to
*/
{
  name,
  modules,
  kernel,
}:
let
  # Apart from the closure, which may fail in words of its own for names that the kernel does not have.
  names = runCommand "${name}-module-names" { } ''
    release=${kernel.modDirVersion}
    for module in ${lib.escapeShellArgs modules}; do
      pattern=$(echo "$module" | sed 's/[-_]/[-_]/g')
      if ! grep -qE "/$pattern\.ko" ${kernel.modules}/lib/modules/$release/modules.order; then
        if grep -qE "/$pattern\.ko" ${kernel.modules}/lib/modules/$release/modules.builtin; then
          echo "The hardware of the image \"${name}\" names the module \"$module\", which is built into Linux $release: leave it out." >&2
        else
          echo "The hardware of the image \"${name}\" names the module \"$module\", which its kernel, Linux $release, does not have; the kernels \"generic\" and \"server\" have more than \"virtual\"." >&2
        fi
        exit 1
      fi
    done
    touch $out
  '';
  closure = makeModulesClosure {
    kernel = kernel.modules;
    firmware = null;
    # The names refer to their check, so that it comes first.
    rootModules = map (module: builtins.substring 0 0 "${names}" + module) modules;
    # The check tells of a missing module.
    allowMissing = true;
  };
in
runCommand "${name}-modules"
  {
    nativeBuildInputs = [
      kmod
      stdenv.cc.bintools
    ];
    passthru = { inherit names; };
  }
  (
    ''
      release=${kernel.modDirVersion}
      mkdir -p "$out/lib/modules/$release"
    ''
    + lib.optionalString (modules != [ ]) ''
      cd ${closure}/lib/modules/$release
      find . -name '*.ko*' | LC_ALL=C sort | while read -r file; do
        target="$out/lib/modules/$release/''${file%.xz}"
        mkdir -p "$(dirname "$target")"
        case "$file" in
          *.xz) xz --decompress --stdout "$file" > "$target" ;;
          *) cp "$file" "$target" ;;
        esac
        chmod u+w "$target"
        strip --strip-debug --enable-deterministic-archives "$target"
      done
      cp ${kernel.modules}/lib/modules/$release/modules.{order,builtin} "$out/lib/modules/$release/"
      depmod --basedir "$out" "$release"
      # Files that init does not read stay out of the image.
      find "$out/lib/modules/$release" -maxdepth 1 -type f \
        ! -name modules.dep ! -name modules.alias ! -name modules.softdep -delete
    ''
  )
