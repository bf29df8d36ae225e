# mkShell, and the bash that `nix develop` runs its result in.
{
  lib,
  system,
  bootstrap,
  base,
  stdenv,
  runCommand,
  writeTextFile,
}:
{
  mkShell =
    {
      name ? "shell",
      packages ? [ ],
      inputsFrom ? [ ],
      shellHook ? "",
      ...
    }@args:
    let
      fromInputs =
        attribute: args.${attribute} or [ ] ++ lib.concatMap (input: input.${attribute} or [ ]) inputsFrom;
      inputs = lib.unique (
        packages
        ++ fromInputs "nativeBuildInputs"
        ++ fromInputs "buildInputs"
        ++ [
          stdenv.cc
          base
        ]
      );
    in
    # `nix develop` wants a derivation whose builder is called bash, and the setup file of its `stdenv`.
    derivation (
      removeAttrs args [
        "packages"
        "inputsFrom"
        "nativeBuildInputs"
        "buildInputs"
        "meta"
        "passthru"
      ]
      // {
        inherit name system;
        outputs = [ "out" ];
        builder = "${base}/bin/bash";
        args = [
          "-c"
          ''echo "Enter this with nix develop." > "$out"''
        ];
        stdenv = writeTextFile {
          name = "stdenv";
          destination = "/setup";
          text = ''
            PATH=/usr/bin:/usr/sbin
            for input in $debianInputs; do [ -d "$input/usr" ] || PATH=$PATH:$input/bin; done
            export PATH
          '';
        };
        debianInputs = inputs;
        shellHook = lib.concatStringsSep "\n" (
          map (input: input.shellHook or "") inputsFrom ++ [ shellHook ]
        );
      }
    );

  bashInteractive = runCommand "bash-interactive" { meta.mainProgram = "bash"; } ''
    mkdir -p $out/bin
    {
      echo '#!${bootstrap}/bin/busybox sh'
      echo 'busybox=${bootstrap} bash=${base}/bin/bash'
      cat ${./shell.sh}
    } > $out/bin/bash
    chmod +x $out/bin/bash
  '';
}
