# The initramfs, which the kernel unpacks into memory: init, the app, settings, certificates and modules; nothing else.
{
  lib,
  runCommand,
  cacert,
  cpio,
  xz,
  zstd,
  binutils,
  init,
  persistent,
}:
/*
  Type: mkInitramfs :: { name, app ? null, closure ? null, settings, modules, compression ? "quick" } -> derivation with the file `initramfs`

  name      the image's name
  app       path of a static executable, which becomes /app/<its name>
  closure   output of mkClosure: store paths to bring along at their own places
  settings  attribute set: init's settings file
  modules      output of mkModules
  compression  "quick" (zstd), "small" (xz), or "none" where the build's time counts most
*/
{
  name,
  app ? null,
  closure ? null,
  settings,
  modules,
  compression ? "quick",
}:
runCommand "${name}-initramfs"
  {
    nativeBuildInputs = [
      cpio
      xz
      zstd
      binutils
    ];
    settings = builtins.toJSON settings;
    passAsFile = [ "settings" ];
  }
  (
    ''
      mkdir -p root/app root/etc/tinyboot root/etc/ssl/certs root/lib
      install -m 0755 ${lib.getExe init} root/init
      install -m 0644 "$settingsPath" root/etc/tinyboot/settings.json
      # The bundle without OpenSSL's trust rules: it has each root once, and only those trusted for servers.
      install -m 0644 ${cacert}/etc/ssl/certs/ca-no-trust-rules-bundle.crt root/etc/ssl/certs/ca-certificates.crt
      # Where OpenSSL, Go and rustls-native-certs look.
      ln -s ca-certificates.crt root/etc/ssl/certs/ca-bundle.crt
      ln -s certs/ca-certificates.crt root/etc/ssl/cert.pem
      cp -r ${modules}/lib/modules root/lib/modules
    ''
    + lib.optionalString (settings.storage.create or false) ''
      install -m 0644 ${persistent}/persistent.template root/etc/tinyboot/
    ''
    + lib.optionalString (app != null) ''
      app=${app}
      if ! [ -e "$app" ]; then
        echo "The app of the image \"${name}\" has no file \"$app\"." >&2
        exit 1
      fi
      if ! [ -f "$app" ] || ! [ -x "$app" ]; then
        echo "The app of the image \"${name}\", \"$app\", is not an executable file." >&2
        exit 1
      fi
      if ! headers=$(LC_ALL=C readelf --program-headers "$app" 2>/dev/null); then
        echo "The app of the image \"${name}\", \"$app\", is not an ELF file: give a script as \`command\`." >&2
        exit 1
      fi
      interpreter=$(sed -n 's/.*Requesting program interpreter: \(.*\)]/\1/p' <<<"$headers")
      if [ -n "$interpreter" ]; then
        echo "The app of the image \"${name}\", \"$app\", is linked dynamically and needs \"$interpreter\": give it as \`command\`, which brings its closure." >&2
        exit 1
      fi
      install -m 0755 "$app" root/app/
    ''
    + lib.optionalString (closure != null) ''
      mkdir -p root/nix/store
      while read -r path; do cp -a "$path" root/nix/store/; done < ${closure}/store-paths
    ''
    + ''
      # Neither the store's protection against writing nor the builder's umask is the machine's matter.
      chmod -R u=rwX,go=rX root
      find root -exec touch --no-dereference --date=@1 {} +
      mkdir -p $out
      # The kernel allocates the whole dictionary to unpack: enough to find what init and app have in common, not more. Of a
      # pipe zstd does not know the length, and asks for 128 MiB at this level, more than a small machine has.
      (cd root && find . -mindepth 1 -print0 | LC_ALL=C sort -z | cpio --quiet -o -H newc -R +0:+0 --reproducible --null) |
        ${
          {
            quick = "zstd --ultra -22 --zstd=wlog=23 --single-thread --quiet";
            small = "xz --check=crc32 --x86 --lzma2=preset=9e,dict=8MiB --threads=1";
            none = "cat";
          }
          .${compression}
        } > $out/initramfs
    ''
  )
