# nixpkgs' `lib.generators`, as far as tinyboot uses them.
{ lib }:
let
  # A name as it stands in an attribute set: quoted unless it is an identifier.
  attributeName =
    name: if lib.match "[a-zA-Z_][a-zA-Z0-9_'-]*" name != null then name else quoted name;
  quoted =
    text:
    ''"${
      lib.concatStringsSep "\\n" (
        map (lib.escape [
          "\\"
          "\""
          "\${"
        ]) (linesOf text)
      )
    }"'';
  linesOf = text: lib.filter lib.isString (builtins.split "\n" text);

  # Between '' and '', each line at the same depth; a line break at the end gives the closing '' a line of its own.
  indented =
    {
      inner,
      outer,
    }:
    text:
    let
      lines = map (lib.replaceStrings [ "\${" "''" ] [ "''\${" "'''" ]) (linesOf text);
      end = lib.last lines;
    in
    "''${inner}${lib.concatStringsSep inner (lib.init lines)}${
      if end == "" then outer else inner + end
    }''";

  toPretty =
    {
      multiline ? true,
      indent ? "",
      allowPrettyValues ? false,
    }:
    let
      show =
        depth: value:
        let
          inner = if multiline then "\n${depth}  " else " ";
          outer = if multiline then "\n${depth}" else " ";
          next = show (depth + "  ");
          between =
            open: close: items:
            "${open}${inner}${lib.concatStringsSep inner items}${outer}${close}";
          arguments = lib.functionArgs value;
        in
        if lib.isString value then
          if multiline && lib.length (linesOf value) > 1 then
            indented { inherit inner outer; } value
          else
            quoted value
        else if builtins.isPath value then
          toString value
        else if lib.isList value then
          if value == [ ] then "[ ]" else between "[" "]" (map next value)
        else if lib.isFunction value then
          if arguments == { } then
            "<function>"
          else
            "<function, args: {${
              lib.concatStringsSep ", " (
                lib.mapAttrsToList (name: optional: if optional then "${name}?" else name) arguments
              )
            }}>"
        else if lib.isAttrs value then
          if allowPrettyValues && value ? __pretty && value ? val then
            value.__pretty value.val
          else if value == { } then
            "{ }"
          else if lib.isDerivation value then
            "<derivation ${value.name or "???"}>"
          else
            between "{" "}" (lib.mapAttrsToList (name: one: "${attributeName name} = ${next one};") value)
        else
          # Numbers, truth values and null.
          builtins.toJSON value;
    in
    show indent;
in
{
  inherit toPretty;
  toKeyValue = _: set: lib.concatLines (lib.mapAttrsToList (n: v: "${n}=${toString v}") set);
  toJSON = _: builtins.toJSON;
}
