# mkImage's arguments in the order of the page docs/options.md: type, default unless one must be given, example as a user
# writes it, and description. asserts.nix takes the types from here, mkImage the defaults.
{ lib }:
let
  profiles = import ./hardware.nix;
  kernels = import ./kernel/kernels.nix;
  list = [
    {
      name = "name";
      type = "at most 63 letters, digits, dots, hyphens, plus signs and underscores";
      example = ''"my-machine"'';
      description = "Names the files, the volume and, unless DHCP or a setting says otherwise, the host.";
    }
    {
      name = "app";
      type = "a package";
      default = null;
      example = "tinyboot.lib.x86_64-linux.mkApp { src = ./.; pname = \"my-machine\"; }";
      description = "A package whose main program is a static executable. One of `app`, `src` and `command` must be given.";
    }
    {
      name = "src";
      type = "a folder with a Cargo.toml";
      default = null;
      example = "./.";
      description = "A Rust program's folder with Cargo.toml and Cargo.lock, to be built as a static executable.";
    }
    {
      name = "command";
      type = "a list of at least one word";
      default = null;
      example = "[ \"\${pkgs.caddy}/bin/caddy\" \"file-server\" ]";
      description = "A command line: any program of the store and its arguments, strings, paths or packages, whose closures come along; see any-program.md.";
    }
    {
      name = "closureIn";
      type = ''"iso" or "memory"'';
      default = "iso";
      example = ''"memory"'';
      description = "Where the closures lie: on the medium, where they are read in place, or in the initramfs.";
    }
    {
      name = "files";
      type = "an attribute set of path and store path";
      default = { };
      example = "{ \"site/index.html\" = ./index.html; }";
      description = "Files on the medium, readable under `/iso`. They cost no memory.";
    }
    {
      name = "hardware";
      type = "a list of module names or one of the profiles ${lib.concatStringsSep ", " (lib.attrNames profiles)}";
      default = "virtio";
      example = ''[ "nvme" "igb" ]'';
      description = "Kernel modules beyond virtio, AHCI and IDE, which every image has: `virtio` has none, `vm` those for any hypervisor, `pc` common Ethernet and storage too, `server` also 100 Gbit/s Ethernet and RAID controllers. No choice of modules rebuilds the kernel.";
    }
    {
      name = "kernel";
      type = "one of ${lib.concatStringsSep ", " (lib.attrNames kernels)}";
      default = null;
      example = ''"generic"'';
      description = "The small kernel for virtual machines, the one for Xen, Hyper-V and real hardware, or that one with the large drivers of servers. Without it, the kernel that the profile in `hardware` needs, and \"virtual\" for a list of modules.";
    }
    {
      name = "compression";
      type = ''"quick" or "small"'';
      default = "quick";
      example = ''"small"'';
      description = "The compression of kernel and initramfs. `quick` uses zstd: 1.6 s less of guest time in an emulated boot. `small` uses xz: about 650 KB less, and a kernel of its own to build.";
    }
    {
      name = "settings";
      type = "an attribute set";
      default = { };
      example = "{ app.gracePeriod = 30; }";
      description = "Init's settings, as below.";
    }
    {
      name = "kernelParams";
      type = "a list";
      default = [ ];
      example = ''[ "mitigations=off" ]'';
      description = "Further kernel parameters, each a string of one line. The kernel is not rebuilt.";
    }
    {
      name = "kernelConfig";
      type = "a list of files";
      default = [ ];
      example = "[ ./sound.config ]";
      description = "Further fragments of the kernel's configuration. The kernel is rebuilt, and the build fails if a symbol does not survive.";
    }
    {
      name = "signing";
      type = "null or an attribute set of the files `key` and `certificate`";
      default = null;
      example = "{ key = ./db.key; certificate = ./db.pem; }";
      description = "For UEFI Secure Boot: PEM files that may be in the store; see secure-boot.md for others.";
    }
  ];
in
{
  inherit list;
  types = lib.listToAttrs (map (argument: lib.nameValuePair argument.name argument.type) list);
  defaults = lib.listToAttrs (
    map (argument: lib.nameValuePair argument.name argument.default) (
      lib.filter (argument: argument ? default) list
    )
  );
}
