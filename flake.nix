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
      # A further system is a further entry.
      systems = [ "x86_64-linux" ];
      perSystem = nixpkgs.lib.genAttrs systems (
        system:
        import ./nix {
          pkgs = nixpkgs.legacyPackages.${system};
          inherit crane;
        }
      );
      each = attr: nixpkgs.lib.genAttrs systems (system: perSystem.${system}.${attr});
    in
    {
      lib = each "lib";
      packages = each "packages";
      apps = each "apps";
      checks = each "checks";
      devShells = each "devShells";
      formatter = each "formatter";
    };
}
