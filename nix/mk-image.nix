# One program in, one bootable image out.
{
  lib,
  mkKernel,
  rust,
  mkModules,
  mkInitramfs,
  mkUki,
  mkIso,
  mkRunner,
}:
let
  release = import ./release.nix;
  profiles = import ./hardware.nix;
  settingsOptions = import ./settings.nix { inherit lib; };
  show = lib.generators.toPretty { multiline = false; };
  # 32 characters of ISO 9660's d-characters.
  volumeIdOf =
    name: lib.substring 0 32 (lib.replaceStrings [ "-" "." "+" ] [ "_" "_" "_" ] (lib.toUpper name));
in
/*
  Makes a bootable image of a program.

  Type: mkImage :: { name, app | src | command, … } -> { iso, isoFile, uki, initramfs, kernel, modules, vm, settings }

  name          names the files, the volume and, unless DHCP or a setting says otherwise, the host
  app           a package whose main program is a static executable
  src           or a folder with Cargo.toml and Cargo.lock, to be built as one
  command       or a command line as a list: any program, whose closure comes along in memory
  files         attribute set of path -> store path, readable under /iso
  hardware      a profile of hardware.nix, or a list of module names
  settings      init's settings, see settings.nix
  kernelParams  list of further kernel parameters; the kernel is not rebuilt
  kernelConfig  list of further configuration fragments; the kernel is rebuilt

  Example:
    mkImage { name = "hello"; src = ./.; settings.app.gracePeriod = 30; }
*/
{
  name,
  app ? null,
  src ? null,
  command ? null,
  files ? { },
  hardware ? "virtio",
  settings ? { },
  kernelParams ? [ ],
  kernelConfig ? [ ],
}@args:
let
  fail = message: throw "${message}.";
  validName =
    if lib.isString name && builtins.match "[a-zA-Z0-9][a-zA-Z0-9.+_-]{0,62}" name != null then
      name
    else
      fail "The name of an image must be up to 63 letters, digits, dots, hyphens, plus signs and underscores, but is ${show name}";

  given = lib.filter (argument: args.${argument} or null != null) [
    "app"
    "src"
    "command"
  ];
  program =
    if lib.length given != 1 then
      fail "The image \"${validName}\" needs exactly one of `app`, `src` and `command`, but has ${
        if given == [ ] then "none" else lib.concatStringsSep " and " given
      }"
    else if command != null then
      if lib.isList command && command != [ ] then
        null
      else
        fail "The command of the image \"${validName}\" must be a list of at least one string, but is ${show command}"
    else if src != null then
      lib.getExe (
        rust.buildApp {
          inherit src;
          pname = (lib.importTOML (src + "/Cargo.toml")).package.name;
        }
      )
    else if lib.isDerivation app then
      lib.getExe app
    else
      fail "The app of the image \"${validName}\" must be a package, but is ${show app}";

  commandLine =
    if program == null then
      map toString command
    else
      [ "/app/${baseNameOf (builtins.unsafeDiscardStringContext program)}" ];

  moduleNames =
    if lib.isList hardware && lib.all lib.isString hardware then
      hardware
    else if lib.isString hardware && profiles ? ${hardware} then
      profiles.${hardware}
    else
      fail "The hardware of the image \"${validName}\" must be a list of module names or one of ${lib.concatStringsSep ", " (lib.attrNames profiles)}, but is ${show hardware}";

  badFiles = lib.filter (
    path:
    lib.hasPrefix "/" path
    || builtins.match "(.*/)?\\.\\.(/.*)?" path != null
    || path == ""
    || path == "efi.img"
  ) (lib.attrNames files);
  checkedFiles =
    if badFiles == [ ] then
      files
    else
      fail "The file \"${lib.head badFiles}\" of the image \"${validName}\" must be a relative path on the medium, without \"..\", and not the boot image \"efi.img\"";

  badParams = lib.filter (
    parameter: !lib.isString parameter || builtins.match "[^\n]+" parameter == null
  ) kernelParams;
  checkedParams =
    if badParams == [ ] then
      kernelParams
    else
      fail "The kernel parameter ${show (lib.head badParams)} of the image \"${validName}\" must be a string of one line";

  volumeId = volumeIdOf validName;
  userSettings = settingsOptions.resolve validName settings;
  initSettings = {
    name = validName;
    inherit volumeId;
    app = {
      command = commandLine ++ userSettings.app.arguments;
      inherit (userSettings.app) environment gracePeriod onExit;
    };
    inherit (userSettings) network storage;
    clock = userSettings.clock // {
      floor = release.clockFloor;
    };
  };

  kernel = mkKernel kernelConfig;
  modules = mkModules {
    name = validName;
    modules = moduleNames;
    inherit kernel;
  };
  initramfs = mkInitramfs {
    name = validName;
    app = program;
    closure = lib.optionals (program == null) command;
    settings = initSettings;
    inherit modules;
  };
  uki = mkUki {
    name = validName;
    inherit kernel initramfs;
    commandLine = lib.concatStringsSep " " (
      [
        "console=tty0"
        "console=ttyS0"
        "quiet"
        "loglevel=4"
        "panic=10"
      ]
      ++ checkedParams
    );
  };
  iso = mkIso {
    name = validName;
    inherit uki volumeId;
    files = checkedFiles;
  };
in
{
  inherit
    iso
    uki
    initramfs
    modules
    kernel
    ;
  settings = initSettings;
  isoFile = "${iso}/${iso.file}";
  vm = mkRunner {
    name = validName;
    inherit iso;
  };
}
