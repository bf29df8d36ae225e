# nixpkgs' `lib.fileset`, as far as crane and ordinary flakes use it. A set is an attribute set of the absolute names of
# its files.
{ lib }:
let
  below =
    path:
    lib.concatLists (
      lib.mapAttrsToList (
        name: type:
        let
          entry = "${path}/${name}";
        in
        if type == "directory" then below entry else [ entry ]
      ) (builtins.readDir path)
    );
  fromNames = names: {
    _type = "fileset";
    files = lib.genAttrs names (_: null);
  };
  coerce =
    value:
    if value._type or null == "fileset" then
      value
    else if !lib.isPath value && !lib.isString value then
      throw "A file set is made of paths and file sets, but there is a ${lib.typeOf value}."
    else if !lib.pathExists value then
      throw "The file set's path ${toString value} does not exist."
    else if lib.pathIsDirectory value then
      fromNames (below (toString value))
    else
      fromNames [ (toString value) ];

  unions = sets: {
    _type = "fileset";
    files = lib.mergeAttrsList (map (set: (coerce set).files) sets);
  };
in
{
  inherit unions;
  union =
    a: b:
    unions [
      a
      b
    ];
  difference = a: b: {
    _type = "fileset";
    files = removeAttrs (coerce a).files (lib.attrNames (coerce b).files);
  };
  intersection = a: b: {
    _type = "fileset";
    files = lib.intersectAttrs (coerce a).files (coerce b).files;
  };
  maybeMissing = path: if lib.pathExists path then coerce path else fromNames [ ];
  fileFilter =
    predicate: path:
    fromNames (
      lib.filter (
        file:
        let
          name = baseNameOf file;
        in
        predicate {
          inherit name;
          type = "regular";
          hasExt = extension: lib.hasSuffix ".${extension}" name;
        }
      ) (below (toString path))
    );
  toList = set: map (file: /. + file) (lib.attrNames (coerce set).files);
  toSource =
    { root, fileset }:
    let
      inherit (coerce fileset) files;
      parents =
        file: [ file ] ++ lib.optionals (file != toString root && file != "/") (parents (dirOf file));
      wanted = lib.genAttrs (lib.concatMap parents (lib.attrNames files)) (_: null);
    in
    lib.cleanSourceWith {
      src = root;
      name = "source";
      filter = path: _: wanted ? ${toString path};
    };
}
