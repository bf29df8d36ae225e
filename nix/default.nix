# Everything of one system: the package set `pkgs`, crane and the flake itself in, the flake's outputs for that system out.
{
  pkgs,
  crane,
  flake,
}:
let
  inherit (pkgs) lib;

  tinyboot = lib.makeScope pkgs.newScope (self: {
    craneLib = crane.mkLib pkgs;
    rust = self.callPackage ./rust.nix { };
    runtime = self.callPackage ./runtime.nix { };
    inherit (self.runtime) init hello;

    # One of the kernels, with further configuration fragments; the same arguments give the same kernel.
    mkKernel =
      args:
      self.callPackage ./kernel {
        kernelConfig = self.callPackage ./kernel/config.nix args;
      };
    kernel = self.mkKernel { kernel = "virtual"; };

    kernelImage = self.callPackage ./kernel-image.nix { };
    mkModules = self.callPackage ./modules.nix { };
    mkClosure = self.callPackage ./closure.nix { };
    mkInitramfs = self.callPackage ./initramfs.nix { };
    mkUki = self.callPackage ./uki.nix { };
    signImage = self.callPackage ./sign.nix { };
    mkBios = self.callPackage ./bios { };
    mkVmlinux = self.callPackage ./vmlinux.nix { };
    copyFiles = self.callPackage ./copy-files.nix { };
    mkEsp = self.callPackage ./esp.nix { };
    mkIso = self.callPackage ./iso.nix { };
    mkPayload = self.callPackage ./payload.nix { };
    mkNetboot = self.callPackage ./netboot.nix { };
    persistent = self.callPackage ./persistent.nix { };
    mkDisk = self.callPackage ./disk.nix { };
    mkContainerDisk = self.callPackage ./container-disk.nix { };
    mkFirecracker = self.callPackage ./firecracker.nix { };
    mkRunner = self.callPackage ./vm { };
    mkSbom = self.callPackage ./sbom { };
    mkSizeReport = self.callPackage ./size-report { };
    mkImage = self.callPackage ./mk-image.nix { };

    mkTest = self.callPackage ../vm-tests/lib/mk-test.nix { };
    # The machine at the other end of a test's wires.
    peer = self.callPackage ../vm-tests/lib/peer.nix { };

    reproducible = self.callPackage ./reproducible.nix { tinyboot = self; };
    vmTests = self.callPackage ../vm-tests { };
    kvm = self.callPackage ./kvm { };

    # The names of the example image's forms, but for what is no file of it.
    forms = lib.attrNames (
      removeAttrs (lib.filterAttrs (_: lib.isDerivation) self.image) [
        "kernel"
        "vm"
      ]
    );
    image = self.mkImage {
      name = "hello";
      app = self.hello;
      # Common devices besides virtio.
      hardware = [
        "e1000e"
        "nvme"
        "usb_storage"
        "xhci_pci"
      ];
      files."about.txt" = pkgs.writeText "about.txt" ''
        This medium is read in place: what lies on it costs no memory.
      '';
    };
  });

  inherit (tinyboot) image;

  # Checks that take too long for every change.
  long =
    tinyboot.reproducible.long
    // tinyboot.runtime.long
    // {
      # The example image under KVM, which is emulated where there is none.
      inherit (tinyboot) kvm;
      # The server kernel's large drivers, and the names of its profile.
      server =
        (tinyboot.mkImage {
          name = "server";
          app = tinyboot.hello;
          hardware = "server";
        }).initramfs;
    }
    // lib.concatMapAttrs (
      name: test: lib.optionalAttrs (test ? long) { "vm-${name}" = test.long; }
    ) tinyboot.vmTests;
in
{
  inherit pkgs;

  lib = {
    inherit (tinyboot) mkImage mkTest;
    mkApp = tinyboot.rust.buildApp;
  };

  packages = {
    default = image.iso;
    app = tinyboot.hello;
    inherit (tinyboot) init kernel;
    inherit (image)
      iso
      uki
      initramfs
      modules
      sbom
      sizeReport
      vmlinux
      payload
      netboot
      firecracker
      disk
      containerDisk
      ;
    options = tinyboot.callPackage ./options.nix { };
    settingsTable = pkgs.writeText "table.json" (import ./settings.nix { inherit lib; }).table;
    hashes = tinyboot.callPackage ./hashes.nix { };
  };

  apps = {
    vm = {
      type = "app";
      program = lib.getExe image.vm;
    };
    sign = {
      type = "app";
      program = lib.getExe tinyboot.signImage;
    };
    # To start it is to have it built.
    check-long = {
      type = "app";
      program = lib.getExe (
        pkgs.writeShellApplication {
          name = "check-long";
          text = lib.concatStrings (
            lib.mapAttrsToList (
              name: check:
              "echo ${name}: passed, ${check}\n" + lib.optionalString (check.summary or false) "cat ${check}\n"
            ) long
          );
        }
      );
    };
  };

  # One of check-long alone: nix build .#long.NAME
  legacyPackages = { inherit long; };

  checks = lib.filterAttrs (_: lib.isDerivation) (
    tinyboot.callPackage ./checks.nix { inherit flake; }
  );

  devShells.default = pkgs.mkShell {
    inputsFrom = [ tinyboot.init ];
    packages =
      with pkgs;
      [
        cargo
        clippy
        rustc
        rustfmt
        nixfmt
        diffoscopeMinimal
        dnsmasq
      ]
      ++ [ tinyboot.runtime.udhcpd ];
  };

  # It formats the whole tree when it gets no path, as newer `nix fmt` calls it.
  formatter = pkgs.nixfmt-tree;
}
