# One program in, one bootable image out.
{
  lib,
  mkKernel,
  rust,
  mkModules,
  mkClosure,
  mkInitramfs,
  mkUki,
  mkVmlinux,
  mkIso,
  mkRunner,
  mkSbom,
  mkSizeReport,
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

  Type: mkImage :: { name, app | src | command, … } -> { iso, isoFile, uki, initramfs, kernel, vmlinux, modules, vm, sbom, sizeReport, settings }

  name          names the files, the volume and, unless DHCP or a setting says otherwise, the host
  app           a package whose main program is a static executable
  src           or a folder with Cargo.toml and Cargo.lock, to be built as one
  command       or a command line as a list: any program of the store and its arguments, whose closures come along
  closureIn     "iso": the closures lie on the medium and are read there; "memory": in the initramfs
  files         attribute set of path -> store path, readable under /iso
  hardware      a profile of hardware.nix, or a list of module names
  kernel        "virtual", the small one, or "generic", for hardware and for every hypervisor; without it, what the
                profile needs, and "virtual" for a list of modules
  settings      init's settings, see settings.nix
  kernelParams  list of further kernel parameters; the kernel is not rebuilt
  kernelConfig  list of further configuration fragments; the kernel is rebuilt
  signing       { key, certificate } for UEFI Secure Boot, PEM files that may be in the store; see docs/secure-boot.md

  Example:
    mkImage { name = "hello"; src = ./.; settings.app.gracePeriod = 30; }
*/
{
  name,
  app ? null,
  src ? null,
  command ? null,
  closureIn ? "iso",
  files ? { },
  hardware ? "virtio",
  kernel ? null,
  settings ? { },
  kernelParams ? [ ],
  kernelConfig ? [ ],
  signing ? null,
}:
let
  wrong = problems {
    inherit
      name
      app
      src
      command
      closureIn
      files
      hardware
      kernel
      settings
      kernelParams
      kernelConfig
      signing
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
      # A package stands for its main program.
      [
        (
          if (lib.head command) ? meta.mainProgram then
            lib.getExe (lib.head command)
          else
            "${lib.head command}"
        )
      ]
      ++ map (word: "${word}") (lib.tail command)
    else
      [ "/app/${baseNameOf (builtins.unsafeDiscardStringContext program)}" ];

  volumeId = volumeIdOf name;
  userSettings = settingsOptions.resolve settings;
  words = commandLine ++ userSettings.app.arguments;
  isInStore = lib.hasPrefix "${builtins.storeDir}/";
  hasClosure = builtins.hasContext (
    builtins.toJSON [
      words
      userSettings.app.environment
      userSettings.app.links
    ]
  );
  closure = mkClosure {
    inherit name;
    command = words;
    provided = lib.attrNames userSettings.app.links;
    settings = initSettings;
  };
  initSettings = {
    inherit name volumeId;
    app = {
      command = words;
      inherit (userSettings.app)
        environment
        links
        gracePeriod
        onExit
        ;
    };
    inherit (userSettings) network;
    storage =
      userSettings.storage
      // lib.optionalAttrs (hasClosure && closureIn == "iso") {
        closure = if isInStore (lib.head words) then lib.head words else builtins.storeDir;
      };
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
    closure = if hasClosure && closureIn == "memory" then closure else null;
    settings = initSettings;
  };
  uki = mkUki {
    inherit name initramfs signing;
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
    closure = if hasClosure && closureIn == "iso" then closure else null;
  };
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
      ;
    kernel = linux;
    settings = initSettings;
    vmlinux = mkVmlinux linux;
    isoFile = "${iso}/${iso.file}";
    vm = mkRunner {
      inherit name iso;
    };
    sbom = mkSbom {
      inherit name;
      kernel = linux;
      programs = lib.optional (package != null) package;
      closure = if hasClosure then closure else null;
    };
    sizeReport = mkSizeReport {
      inherit
        name
        iso
        uki
        initramfs
        files
        ;
      kernel = linux;
      closure = if hasClosure && closureIn == "iso" then closure else null;
    };
  }
