# One program in, one bootable image out.
{
  lib,
  mkKernel,
  rust,
  mkModules,
  mkClosure,
  mkInitramfs,
  mkUki,
  mkFirecracker,
  mkVmlinux,
  mkIso,
  mkPayload,
  mkNetboot,
  mkDisk,
  mkContainerDisk,
  mkRunner,
  mkSbom,
  mkSizeReport,
}:
let
  release = import ./release.nix;
  profiles = import ./hardware.nix;
  arguments = import ./arguments.nix { inherit lib; };
  settingsOptions = import ./settings.nix { inherit lib; };
  problems = import ./asserts.nix {
    inherit lib arguments;
    settingsProblems = settingsOptions.problems;
  };
  # 32 characters of ISO 9660's d-characters.
  volumeIdOf =
    name: lib.substring 0 32 (lib.replaceStrings [ "-" "." "+" ] [ "_" "_" "_" ] (lib.toUpper name));

  # All arguments are there: the defaults are filled in.
  make =
    {
      name,
      app,
      src,
      command,
      closureIn,
      files,
      hardware,
      kernel,
      compression,
      settings,
      kernelParams,
      kernelConfig,
      signing,
    }:
    let
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
      userSettings = settingsOptions.forInit settings;
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
      # A word of its own, since the closure has the settings in it.
      isOnMedium = hasClosure && closureIn == "iso";
      onMedium = if isOnMedium then closure else null;
      # The user's settings whole, and those that only the builder knows.
      initSettings = lib.recursiveUpdate userSettings {
        inherit name volumeId;
        app.command = commandLine;
        storage = lib.optionalAttrs isOnMedium {
          closure = if isInStore (lib.head words) then lib.head words else builtins.storeDir;
        };
        clock.floor = release.clockFloor;
      };

      profile =
        if lib.isList hardware then
          {
            kernel = "virtual";
            modules = hardware;
          }
        else
          profiles.${hardware};
      kernelName = if kernel != null then kernel else profile.kernel;
      linux = mkKernel {
        kernel = kernelName;
        inherit compression;
        extraFragments = kernelConfig;
      };
      modules = mkModules {
        inherit name;
        # The optical drives and disks of the usual hypervisors: modules, for the kernel to start init without waiting for them.
        modules = [
          "ahci"
          "ata_piix"
        ]
        ++ profile.modules;
        kernel = linux;
      };
      contents = {
        inherit name modules;
        app = program;
        closure = if hasClosure && closureIn == "memory" then closure else null;
        settings = initSettings;
        inherit compression;
      };
      initramfs = mkInitramfs contents;
      uki = mkUki {
        inherit name initramfs signing;
        kernel = linux;
        commandLine = lib.concatStringsSep " " (
          [ "console=tty0" ]
          # Without a speed it would be 9600 baud. The kernel takes the first of two for the same port, so that an image's own stands alone.
          ++ lib.optional (
            !lib.any (parameter: builtins.match "console=ttyS0(,.*)?" parameter != null) kernelParams
          ) "console=ttyS0,115200"
          ++ [
            "quiet"
            "loglevel=4"
            "panic=10"
          ]
          # Of the keyboard controller only the keyboard is wanted: each probe of the others is a wait.
          ++ [
            "i8042.noaux"
            "i8042.nomux"
          ]
          # A hypervisor's buses are all in its tables: the search of the other 255 is 16,000 port accesses on q35.
          # Its timer interrupts work: the kernel's test of them takes a starved machine without KVM for a broken one, and panics.
          ++ lib.optionals (kernelName == "virtual") [
            "pci=lastbus=0"
            "no_timer_check"
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
        closure = onMedium;
      };
      payload = mkPayload {
        inherit name files volumeId;
        closure = onMedium;
      };
      # An image without files has nothing to bring along.
      brought = if files == { } && !isOnMedium then null else payload;
      netboot = mkNetboot {
        inherit name initramfs;
        kernel = linux;
        payload = brought;
        inherit (uki) commandLine;
      };
      vmlinux = mkVmlinux linux;
      firecracker = mkFirecracker {
        inherit
          name
          vmlinux
          initramfs
          payload
          ;
        inherit (uki) commandLine;
      };
      disk = mkDisk {
        inherit name uki;
        payload = brought;
      };
      containerDisk = mkContainerDisk { inherit name disk; };
    in
    {
      inherit
        iso
        uki
        initramfs
        modules
        payload
        netboot
        vmlinux
        firecracker
        disk
        containerDisk
        ;
      kernel = linux;
      settings = initSettings;
      isoFile = "${iso}/${iso.file}";
      # For the loop of edit and run: what takes a release's time and gains only bytes is left out.
      vm = mkRunner {
        inherit
          name
          vmlinux
          payload
          ;
        firecracker = firecracker.configuration;
        kernel = linux;
        inherit (uki) commandLine;
        initramfs = mkInitramfs (
          contents
          // {
            app = if program == null then null else lib.getExe (package.quick or package);
            compression = "none";
          }
        );
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
          compression
          files
          ;
        kernel = linux;
        closure = onMedium;
      };
    };
in
/*
  Makes a bootable image of a program.

  Type: mkImage :: { name, app | src | command, … } -> {
    iso, isoFile, uki, initramfs, kernel, vmlinux, modules, payload, netboot, firecracker, disk, containerDisk, vm, sbom, sizeReport,
    settings
  }

  The arguments are described in arguments.nix, for people in docs/options.md.

  Example:
    mkImage { name = "hello"; src = ./.; settings.app.gracePeriod = 30; }
*/
args:
let
  wrong = problems args;
in
if wrong != [ ] then throw (lib.head wrong) else make (arguments.defaults // args)
