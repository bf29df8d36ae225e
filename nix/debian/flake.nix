{
  description = "Stands in for nixpkgs: the attributes that tinyboot uses, made from Debian packages";

  outputs =
    { self }:
    let
      pkgs = import ./nixpkgs { system = "x86_64-linux"; };
    in
    {
      inherit (pkgs) lib;
      legacyPackages.x86_64-linux = pkgs;
    };
}
