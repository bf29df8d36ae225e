# makeModulesClosure: the named modules and what they depend on.
{ stdenvNoCC, kmod }:
{
  kernel,
  firmware ? null,
  rootModules,
  allowMissing ? false,
  extraFirmwarePaths ? [ ],
}:
stdenvNoCC.mkDerivation {
  name = "${kernel.name}-shrunk";
  nativeBuildInputs = [ kmod ];
  inherit rootModules;
  buildCommand = ''
    release=$(ls ${kernel}/lib/modules)
    mkdir -p "$out/lib/modules/$release"
    for module in $rootModules; do
      if ! modprobe --dirname ${kernel} --set-version "$release" --show-depends "$module" > files; then
        ${if allowMissing then "continue" else ''echo "There is no module $module." >&2; exit 1''}
      fi
      sed -n 's/^insmod \([^ ]*\).*/\1/p' files | while read -r file; do
        target=$out/lib/modules/$release/''${file#*/lib/modules/$release/}
        mkdir -p "$(dirname "$target")"
        cp -n "$file" "$target" || true
      done
    done
    cp ${kernel}/lib/modules/$release/modules.{order,builtin} "$out/lib/modules/$release/"
    depmod --basedir "$out" "$release"
  '';
}
