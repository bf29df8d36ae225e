# Where the store has, or will have, what the command adds to it: lines for the command to read.
{
  kind,
  lock ? null,
}:
let
  inputs = import ./nixpkgs/inputs.nix { system = "x86_64-linux"; };
  plain = builtins.unsafeDiscardStringContext;
  lines = builtins.concatStringsSep "";
in
{
  debs = lines (
    map (
      name:
      let
        deb = inputs.lock.debs.${name};
      in
      "${plain (inputs.deb name)} ${inputs.storeName name} ${deb.archive} ${deb.path} ${deb.sha256} ${toString deb.size}\n"
    ) (builtins.attrNames inputs.lock.debs)
  );
  bootstrap = plain inputs.bootstrap;
  busybox-deb = plain (inputs.deb (builtins.elemAt inputs.lock.closures.busybox-static 0));
  crates = lines (
    map (
      package:
      if package ? checksum then
        "${
          plain (
            inputs.given {
              name = "cargo-src-${package.name}-${package.version}";
              outputHashMode = "flat";
              outputHash = package.checksum;
            }
          )
        } ${package.name}-${package.version}\n"
      else
        ""
    ) (builtins.fromTOML (builtins.readFile lock)).package
  );
}
.${kind}
