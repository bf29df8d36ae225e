rec {
  default = rust;
  rust = {
    path = ./rust;
    description = "A Rust program as a machine, with a test that boots it";
    welcomeText = ''
      # A machine of one Rust program

      `git add .`, then

      - `nix run` boots it in QEMU: `curl http://127.0.0.1:8080/`
      - `nix build` leaves the image in `result/my-machine.iso`
      - `nix flake check` boots it in a test
      - `cargo run` runs the program on this machine
    '';
  };
  command = {
    path = ./command;
    description = "Any program of nixpkgs as a machine, with a test that boots it";
    welcomeText = ''
      # A machine of one program

      `git add .`, then

      - `nix run` boots it in QEMU: `curl http://127.0.0.1:8080/`
      - `nix build` leaves the image in `result/my-machine.iso`
      - `nix flake check` boots it in a test
    '';
  };
}
