# linuxManualConfig: builds a kernel from a complete configuration.
{
  lib,
  stdenv,
  bc,
  bison,
  flex,
  perl,
  cpio,
  elfutils,
  kmod,
  openssl,
  python3,
  zstd,
}:
lib.makeOverridable (
  {
    version,
    src,
    configfile,
    pname ? "linux",
    modDirVersion ? version,
    config ? { },
    kernelPatches ? [ ],
    extraMakeFlags ? [ ],
    extraMeta ? { },
    ...
  }:
  stdenv.mkDerivation (final: {
    inherit pname version src;
    outputs = [
      "out"
      "dev"
    ]
    ++ lib.optional (config.CONFIG_MODULES or "n" == "y") "modules";
    patches = map (p: p.patch) kernelPatches;
    nativeBuildInputs = [
      bc
      bison
      flex
      perl
      cpio
      elfutils
      kmod
      openssl
      python3
      zstd
    ];
    KBUILD_BUILD_USER = "nixbld";
    KBUILD_BUILD_HOST = "localhost";
    KBUILD_BUILD_TIMESTAMP = "Thu Jan 1 00:00:01 UTC 1970";
    KBUILD_BUILD_VERSION = "1";
    makeFlags = [ "ARCH=${stdenv.hostPlatform.linuxArch}" ] ++ extraMakeFlags;
    configurePhase = ''
      runHook preConfigure
      cp ${configfile} .config
      chmod u+w .config
      make $makeFlags oldconfig < /dev/null
      release=$(make -s $makeFlags kernelrelease)
      if [ "$release" != ${modDirVersion} ]; then
        echo "The kernel calls itself $release, but modDirVersion is ${modDirVersion}." >&2
        exit 1
      fi
      runHook postConfigure
    '';
    buildPhase = ''
      runHook preBuild
      make -j$NIX_BUILD_CORES $makeFlags bzImage ${
        lib.optionalString (config.CONFIG_MODULES or "n" == "y") "modules"
      }
      runHook postBuild
    '';
    installPhase = ''
      runHook preInstall
      mkdir -p $out $dev
      cp arch/x86/boot/bzImage System.map $out/
      cp vmlinux .config $dev/
      if [ -n "''${modules:-}" ]; then
        make $makeFlags modules_install INSTALL_MOD_PATH=$modules INSTALL_MOD_STRIP=1
        rm -f $modules/lib/modules/*/{build,source}
      fi
      runHook postInstall
    '';
    passthru = {
      inherit version modDirVersion configfile;
      config = config // {
        isYes = name: config."CONFIG_${name}" or null == "y";
        isModule = name: config."CONFIG_${name}" or null == "m";
        isEnabled = name: config ? "CONFIG_${name}";
        isSet = name: config ? "CONFIG_${name}";
      };
    };
    meta = {
      description = "Linux ${version}";
    }
    // extraMeta;
  })
)
