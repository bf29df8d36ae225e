# What is wrong with the arguments of mkImage: a list of sentences, each naming the value. The first one stops the
# evaluation.
{
  lib,
  types,
  settingsProblems,
}:
{
  name,
  app,
  src,
  command,
  closureIn,
  files,
  hardware,
  kernel,
  compression,
  settings,
  kernelParams,
  kernelConfig,
  signing,
}:
let
  profiles = import ./hardware.nix;
  kernels = import ./kernel/kernels.nix;
  inherit (lib)
    all
    concatStringsSep
    isAttrs
    isList
    isString
    optional
    ;
  show = lib.generators.toPretty { multiline = false; };
  image = "the image ${show name}";

  given =
    optional (app != null) "`app`"
    ++ optional (src != null) "`src`"
    ++ optional (command != null) "`command`";

  badPath =
    path:
    path == ""
    || lib.hasPrefix "/" path
    || builtins.match "(.*/)?\\.\\.(/.*)?" path != null
    || path == "efi.img";
  badParameter = parameter: !isString parameter || builtins.match "[^\n]+" parameter == null;
  isWord = word: isString word || builtins.isPath word || lib.isDerivation word;
  isOfStore =
    word: !isString word || (builtins.hasContext word && lib.hasPrefix "${builtins.storeDir}/" word);
  isFile = value: builtins.isPath value || isString value || lib.isDerivation value;
in
optional (
  !isString name || builtins.match "[a-zA-Z0-9][a-zA-Z0-9.+_-]{0,62}" name == null
) "The name of an image must be ${types.name}, but is ${show name}."
++
  optional (lib.length given != 1)
    "One of `app`, `src` and `command` must be given for ${image}, but there ${
      if given == [ ] then "is none" else "are ${concatStringsSep " and " given}"
    }."
++ optional (
  app != null && !lib.isDerivation app
) "The app of ${image} must be ${types.app}, but is ${show app}."
++ optional (
  src != null && !builtins.pathExists (src + "/Cargo.toml")
) "The source of ${image} must be ${types.src}, but ${toString src} has none."
++ (
  if command == null then
    [ ]
  else if !isList command || command == [ ] then
    [ "The command of ${image} must be ${types.command}, but is ${show command}." ]
  else
    let
      bad = lib.filter (word: !isWord word) command;
    in
    map (
      word:
      "A word of the command of ${image} must be a string, a path or a package, but is ${show word}."
    ) bad
    ++
      optional (bad == [ ] && !isOfStore (lib.head command))
        "The command of ${image} must begin with a program of the Nix store, such as \"\${pkgs.caddy}/bin/caddy\", but begins with ${show (lib.head command)}."
)
++
  optional
    (
      !builtins.elem closureIn [
        "iso"
        "memory"
      ]
    )
    "The place of the closure, `closureIn`, of ${image} must be ${types.closureIn}, but is ${show closureIn}."
++ (
  if !isAttrs files then
    [ "The files of ${image} must be ${types.files}, but are ${show files}." ]
  else
    map (
      path:
      "The file ${show path} of ${image} must be a relative path on the medium without \"..\", and not the boot image \"efi.img\"."
    ) (lib.filter badPath (lib.attrNames files))
    ++ map (path: "The file ${show path} of ${image} must be a path, but is ${show files.${path}}.") (
      lib.filter (path: !isFile files.${path}) (lib.attrNames files)
    )
)
++ optional (
  !(isList hardware && all isString hardware) && !(isString hardware && profiles ? ${hardware})
) "The hardware of ${image} must be ${types.hardware}, but is ${show hardware}."
++ optional (
  kernel != null && !(isString kernel && kernels ? ${kernel})
) "The kernel of ${image} must be ${types.kernel}, but is ${show kernel}."
++ optional (
  !lib.elem compression [
    "quick"
    "small"
  ]
) "The compression of ${image} must be ${types.compression}, but is ${show compression}."
++ settingsProblems image settings
++ (
  if !isList kernelParams then
    [ "The kernel parameters of ${image} must be ${types.kernelParams}, but are ${show kernelParams}." ]
  else
    map (
      parameter: "The kernel parameter ${show parameter} of ${image} must be a string of one line."
    ) (lib.filter badParameter kernelParams)
)
++ optional (
  !isList kernelConfig || !all isFile kernelConfig
) "The kernel configuration of ${image} must be ${types.kernelConfig}, but is ${show kernelConfig}."
++ optional (
  signing != null
  && !(
    isAttrs signing
    &&
      lib.attrNames signing == [
        "certificate"
        "key"
      ]
    && all isFile (lib.attrValues signing)
  )
) "The signing of ${image} must be ${types.signing}, but is ${show signing}."
