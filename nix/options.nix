# The page of all options, from the data that the arguments' and settings' checks use.
{
  lib,
  writeText,
}:
let
  arguments = import ./arguments.nix { inherit lib; };
  settings = (import ./settings.nix { inherit lib; }).options;
  show = lib.generators.toPretty { multiline = false; };

  section =
    {
      name,
      type,
      example,
      description,
      ...
    }@option:
    ''

      ### `${name}`

      ${description}

      - Type: ${type}
      - Default: ${if option ? default then "`${show option.default}`" else "none, it must be given"}
      - Example: `${name} = ${example};`
    '';
  settingSections = lib.concatMap (
    group:
    lib.mapAttrsToList (
      name: option:
      section (
        option
        // {
          name = "${group}.${name}";
          type = option.type.description;
          example = show option.example;
        }
      )
    ) settings.${group}
  ) (lib.attrNames settings);
in
writeText "options.md" ''
  # Options

  `mkImage` takes these arguments, and `mkFlake` hands them on. This page is made by `nix build .#options` from nix/arguments.nix
  and nix/settings.nix. A value that is wrong stops the evaluation or the build with one sentence that names it.

  ## Arguments
  ${lib.concatMapStrings section arguments.list}
  ## Settings

  Attributes of the argument `settings`: what init is told when the machine starts.
  ${lib.concatStrings settingSections}''
