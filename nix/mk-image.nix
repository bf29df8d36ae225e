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
  mkNetboot,
  mkDisk,
  mkContainerDisk,
  mkRunner,
}:
let
  release = import ./release.nix;
  profiles = import ./hardware.nix;
  settingsOptions = import ./settings.nix { inherit lib; };
  problems = import ./asserts.nix {
    inherit lib profiles;
    settingsProblems = settingsOptions.problems;
  };
  # 32 characters of ISO 9660's d-characters.
  volumeIdOf =
    name: lib.substring 0 32 (lib.replaceStrings [ "-" "." "+" ] [ "_" "_" "_" ] (lib.toUpper name));
in
/*
  Makes a bootable image of a program.

  Type: mkImage :: { name, app | src | command, … } -> { iso, isoFile, uki, initramfs, kernel, modules, vm, settings, … }

  name          names the files, the volume and, unless DHCP or a setting says otherwise, the host
  app           a package whose main program is a static executable
  src           or a folder with Cargo.toml and Cargo.lock, to be built as one
  command       or a command line as a list: any program, whose closure comes along in memory
  files         attribute set of path -> store path, readable under /iso
  hardware      a profile of hardware.nix, or a list of module names
  kernel        "virtual", the small one, or "generic", for hardware and for every hypervisor; without it, what the
                profile needs, and "virtual" for a list of modules
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
  kernel ? null,
  settings ? { },
  kernelParams ? [ ],
  kernelConfig ? [ ],
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

  program =
    if command != null then
      null
    else if src != null then
      lib.getExe (
        rust.buildApp {
          inherit src;
          pname = (lib.importTOML (src + "/Cargo.toml")).package.name;
        }
      )
    else
      lib.getExe app;
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
  initramfs = mkInitramfs {
    inherit name modules;
    app = program;
    closure = lib.optionals (program == null) command;
    settings = initSettings;
  };
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
  payload = mkPayload { inherit name files volumeId; };
  # An image without files has nothing to bring along.
  brought = if files == { } then null else payload;
  netboot = mkNetboot {
    inherit name initramfs;
    kernel = linux;
    payload = brought;
    inherit (uki) commandLine;
  };
  disk = mkDisk {
    inherit name uki;
    payload = brought;
  };
  containerDisk = mkContainerDisk { inherit name disk; };
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
      netboot
      disk
      containerDisk
      ;
    kernel = linux;
    settings = initSettings;
    isoFile = "${iso}/${iso.file}";
    vm = mkRunner {
      inherit name iso;
    };
  }
