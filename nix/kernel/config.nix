# The kernel's configuration: `tinyconfig` and the fragments, made complete. Fails when a symbol that a fragment sets
# has another value afterwards, because its dependencies are missing or it has another name in this version.
{
  lib,
  stdenv,
  linux_6_12,
  bison,
  flex,
  perl,

  # One of the names in kernels.nix.
  kernel,

  # "quick" or "small": how the kernel's image is packed.
  compression ? "quick",

  # Further fragments, as paths or store paths.
  extraFragments ? [ ],
}:
let
  of =
    directory:
    map (name: directory + "/${name}") (
      lib.sort lib.lessThan (lib.attrNames (builtins.readDir directory))
    );
  fragments = lib.concatMap of (import ./kernels.nix).${kernel} ++ [
    (./compression + "/${compression}.config")
  ];
in
stdenv.mkDerivation {
  pname = "tinyboot-kernel-config-${kernel}";
  inherit (linux_6_12) version src;

  nativeBuildInputs = [
    bison
    flex
    perl
  ];

  fragments = fragments ++ extraFragments;

  postPatch = "patchShebangs scripts";

  buildPhase = ''
    runHook preBuild
    make ARCH=${stdenv.hostPlatform.linuxArch} tinyconfig
    cat $fragments >> .config
    make ARCH=${stdenv.hostPlatform.linuxArch} olddefconfig
    runHook postBuild
  '';

  doCheck = true;
  checkPhase = ''
    runHook preCheck
    lost=0
    # The last assignment counts, as it does for kconfig: an extra fragment may overrule ours.
    cat $fragments | sed -n 's/^\(CONFIG_[A-Z0-9_a-z]*\)=\(.*\)$/\1 \2/p' |
      awk '{ value[$1] = $2 } END { for (name in value) print name, value[name] }' | sort > asked
    while read -r name value; do
      got=$(sed -n "s/^$name=//p" .config)
      if [ "''${got:-n}" != "$value" ]; then
        echo "The kernel configuration asks for $name=$value, but Linux $version makes it ''${got:-n}." >&2
        lost=1
      fi
    done < asked
    [ "$lost" = 0 ]
    runHook postCheck
  '';

  installPhase = ''
    runHook preInstall
    cp .config $out
    runHook postInstall
  '';

  dontFixup = true;
}
