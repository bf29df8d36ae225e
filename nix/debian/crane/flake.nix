{
  description = "Stands in for crane: the functions that tinyboot uses";
  outputs =
    { self }:
    {
      mkLib = pkgs: import ./lib.nix { inherit pkgs; };
    };
}
