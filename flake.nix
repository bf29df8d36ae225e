{
  description = "tinyboot: one program becomes a tiny, reproducible, bootable machine";

  inputs = {
    nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";
    crane.url = "github:ipetkov/crane";
  };

  outputs =
    {
      self,
      nixpkgs,
      crane,
    }:
    let
      inherit (nixpkgs) lib;
      # A further system is a further entry.
      systems = [ "x86_64-linux" ];
      of =
        pkgs:
        import ./nix {
          inherit pkgs crane;
          flake = self;
        };
      perSystem = lib.genAttrs systems (system: of nixpkgs.legacyPackages.${system});
      each = attr: lib.genAttrs systems (system: perSystem.${system}.${attr});
    in
    {
      lib = each "lib" // {
        mkFlake = import ./nix/mk-flake.nix { inherit lib systems perSystem; };
      };
      overlays.default = final: _: { tinyboot = (of final).lib; };
      templates = import ./templates;
      packages = each "packages";
      legacyPackages = each "legacyPackages";
      apps = each "apps";
      checks = each "checks";
      devShells = each "devShells";
      formatter = each "formatter";
    };
}
