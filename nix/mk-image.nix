# One program in, one bootable image out.
{
  lib,
  mkKernel,
  rust,
  mkModules,
  mkInitramfs,
  mkUki,
  mkIso,
  mkPayload,
  mkRunner,
}:
let
  release = import ./release.nix;
  profiles = import ./hardware.nix;
  arguments = import ./arguments.nix { inherit lib profiles; };
  inherit (arguments) defaults;
  settingsOptions = import ./settings.nix { inherit lib; };
  problems = import ./asserts.nix {
    inherit lib profiles;
    inherit (arguments) types;
    settingsProblems = settingsOptions.problems;
  };
  # 32 characters of ISO 9660's d-characters.
  volumeIdOf =
    name: lib.substring 0 32 (lib.replaceStrings [ "-" "." "+" ] [ "_" "_" "_" ] (lib.toUpper name));
in
/*
  Makes a bootable image of a program.

  Type: mkImage :: { name, app | src | command, … } -> { iso, isoFile, uki, initramfs, kernel, modules, payload, vm, settings }

  The arguments are described in arguments.nix, for people in docs/options.md.

  Example:
    mkImage { name = "hello"; src = ./.; settings.app.gracePeriod = 30; }
*/
{
  name,
  app ? defaults.app,
  src ? defaults.src,
  command ? defaults.command,
  files ? defaults.files,
  hardware ? defaults.hardware,
  kernel ? defaults.kernel,
  settings ? defaults.settings,
  kernelParams ? defaults.kernelParams,
  kernelConfig ? defaults.kernelConfig,
}:
let
  wrong = problems {
    inherit
      name
      app
      src
      command
      files
      hardware
      kernel
      settings
      kernelParams
      kernelConfig
      ;
  };

  package =
    if src != null then
      rust.buildApp {
        inherit src;
        pname = (lib.importTOML (src + "/Cargo.toml")).package.name;
      }
    else
      app;
  program = if command != null then null else lib.getExe package;
  commandLine =
    if program == null then
      map toString command
    else
      [ "/app/${baseNameOf (builtins.unsafeDiscardStringContext program)}" ];

  volumeId = volumeIdOf name;
  userSettings = settingsOptions.resolve settings;
  initSettings = {
    inherit name volumeId;
    app = {
      command = commandLine ++ userSettings.app.arguments;
      inherit (userSettings.app) environment gracePeriod onExit;
    };
    inherit (userSettings) network storage;
    clock = userSettings.clock // {
      floor = release.clockFloor;
    };
  };

  profile =
    if lib.isList hardware then
      {
        kernel = "virtual";
        modules = hardware;
      }
    else
      profiles.${hardware};
  linux = mkKernel {
    kernel = if kernel != null then kernel else profile.kernel;
    extraFragments = kernelConfig;
  };
  modules = mkModules {
    inherit name;
    inherit (profile) modules;
    kernel = linux;
  };
  contents = {
    inherit name modules;
    app = program;
    closure = lib.optionals (program == null) command;
    settings = initSettings;
  };
  initramfs = mkInitramfs contents;
  uki = mkUki {
    inherit name initramfs;
    kernel = linux;
    commandLine = lib.concatStringsSep " " (
      [
        "console=tty0"
        "console=ttyS0"
        "quiet"
        "loglevel=4"
        "panic=10"
      ]
      ++ kernelParams
    );
  };
  iso = mkIso {
    inherit
      name
      uki
      volumeId
      files
      ;
  };
  payload = mkPayload { inherit name volumeId files; };
in
if wrong != [ ] then
  throw (lib.head wrong)
else
  {
    inherit
      iso
      uki
      initramfs
      modules
      payload
      ;
    kernel = linux;
    settings = initSettings;
    isoFile = "${iso}/${iso.file}";
    # For the loop of edit and run: what takes a release's time and gains only bytes is left out.
    vm = mkRunner {
      inherit name payload;
      kernel = linux;
      inherit (uki) commandLine;
      initramfs = mkInitramfs (
        contents
        // {
          app = if program == null then null else lib.getExe (package.quick or package);
          compress = false;
        }
      );
    };
  }
