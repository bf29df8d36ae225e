{
  description = "A machine that is one program";

  inputs.tinyboot.url = "github:tinyboot/tinyboot";

  outputs =
    { tinyboot, ... }:
    tinyboot.lib.mkFlake (pkgs: {
      name = "my-machine";
      command = [
        "${pkgs.python3}/bin/python3"
        "-m"
        "http.server"
        "80"
        "--directory"
        "/iso/site"
      ];
      files."site/index.html" = pkgs.writeText "index.html" "Hello from a machine of one program.\n";
      tests.serves = ./tests/serves.nix;
    });
}
