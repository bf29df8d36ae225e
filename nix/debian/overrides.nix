# The options that replace nixpkgs, crane and tinyboot wherever a flake has them among its inputs or its inputs' inputs;
# one word a line, for the command to read.
{
  flake,
  nixpkgs,
  crane,
  tinyboot,
}:
let
  inherit (builtins)
    attrNames
    concatMap
    filter
    isString
    pathExists
    ;
  replacements = {
    nixpkgs = "path:${nixpkgs}";
    crane = "path:${crane}";
    # A repository's own reference leaves out what it does not track, such as the results of builds.
    tinyboot = if pathExists "${tinyboot}/.git" then "git+file://${tinyboot}" else "path:${tinyboot}";
  };

  # The inputs that a flake.nix names, those included that only its outputs' arguments name.
  named =
    directory:
    let
      content = import (directory + "/flake.nix");
      arguments = builtins.functionArgs content.outputs;
    in
    filter (name: name != "self") (attrNames (arguments // content.inputs or { }));

  lock =
    if pathExists (flake + "/flake.lock") then
      builtins.fromJSON (builtins.readFile (flake + "/flake.lock"))
    else
      null;

  # prefix: names of the inputs above, each with a slash; node: the lock file's for this input, or null.
  override =
    prefix: node: name:
    let
      inputs = node.inputs or { };
      # What follows another input is replaced where that one is.
      locked = filter (input: isString inputs.${input}) (attrNames inputs);
    in
    if replacements ? ${name} then
      [
        "--override-input"
        "${prefix}${name}"
        replacements.${name}
      ]
      ++ (
        if name == "tinyboot" then concatMap (override "${prefix}tinyboot/" null) (named tinyboot) else [ ]
      )
    else
      concatMap (input: override "${prefix}${name}/" lock.nodes.${inputs.${input}} input) locked;

  root = lock.nodes.${lock.root}.inputs or { };
  node = name: if isString (root.${name} or null) then lock.nodes.${root.${name}} else null;
in
builtins.concatStringsSep "\n" (concatMap (name: override "" (node name) name) (named flake))
