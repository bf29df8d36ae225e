{
  description = "A machine that is one Rust program";

  inputs.tinyboot.url = "github:tinyboot/tinyboot";

  outputs =
    { tinyboot, ... }:
    tinyboot.lib.mkFlake {
      name = "my-machine";
      src = ./.;
      tests.serves = ./tests/serves.nix;
    };
}
