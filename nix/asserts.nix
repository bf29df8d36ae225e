# Checks mkImage's arguments: gives a list of sentences, each naming the value. The first one stops the evaluation.
{
  lib,
  # The value of arguments.nix.
  arguments,
  settingsProblems,
}:
args:
let
  inherit (arguments) types defaults;
  given = {
    name = null;
  }
  // defaults
  // args;
  unknown = lib.attrNames (removeAttrs args (lib.attrNames types));
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
  image = "the image ${show given.name}";

  programs = lib.filter (name: given.${name} != null) [
    "app"
    "src"
    "command"
  ];

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
map (
  name:
  "There is no argument \"${name}\", which ${image} has; there are ${concatStringsSep ", " (lib.attrNames types)}."
) unknown
++ optional (
  !isString given.name || builtins.match "[a-zA-Z0-9][a-zA-Z0-9.+_-]{0,62}" given.name == null
) "The name of an image must be ${types.name}, but is ${show given.name}."
++
  optional (lib.length programs != 1)
    "One of `app`, `src` and `command` must be given for ${image}, but there ${
      if programs == [ ] then
        "is none"
      else
        "are ${lib.concatMapStringsSep " and " (name: "`${name}`") programs}"
    }."
++ optional (
  given.app != null && !lib.isDerivation given.app
) "The app of ${image} must be ${types.app}, but is ${show given.app}."
++ optional (
  given.src != null && !builtins.pathExists (given.src + "/Cargo.toml")
) "The source of ${image} must be ${types.src}, but ${toString given.src} has none."
++ (
  if given.command == null then
    [ ]
  else if !isList given.command || given.command == [ ] then
    [ "The command of ${image} must be ${types.command}, but is ${show given.command}." ]
  else
    let
      bad = lib.filter (word: !isWord word) given.command;
    in
    map (
      word:
      "A word of the command of ${image} must be a string, a path or a package, but is ${show word}."
    ) bad
    ++
      optional (bad == [ ] && !isOfStore (lib.head given.command))
        "The command of ${image} must begin with a program of the Nix store, such as \"\${pkgs.caddy}/bin/caddy\", but begins with ${show (lib.head given.command)}."
)
++
  optional
    (
      !builtins.elem given.closureIn [
        "iso"
        "memory"
      ]
    )
    "The place of the closure, `closureIn`, of ${image} must be ${types.closureIn}, but is ${show given.closureIn}."
++ (
  if !isAttrs given.files then
    [ "The files of ${image} must be ${types.files}, but are ${show given.files}." ]
  else
    map (
      path:
      "The file ${show path} of ${image} must be a relative path on the medium without \"..\", and not the boot image \"efi.img\"."
    ) (lib.filter badPath (lib.attrNames given.files))
    ++ map (
      path: "The file ${show path} of ${image} must be a path, but is ${show given.files.${path}}."
    ) (lib.filter (path: !isFile given.files.${path}) (lib.attrNames given.files))
)
++ optional (
  !(isList given.hardware && all isString given.hardware)
  && !(isString given.hardware && profiles ? ${given.hardware})
) "The hardware of ${image} must be ${types.hardware}, but is ${show given.hardware}."
++ optional (
  given.kernel != null && !(isString given.kernel && kernels ? ${given.kernel})
) "The kernel of ${image} must be ${types.kernel}, but is ${show given.kernel}."
++ optional (
  !lib.elem given.compression [
    "quick"
    "small"
  ]
) "The compression of ${image} must be ${types.compression}, but is ${show given.compression}."
++ settingsProblems image given.settings
++ (
  if !isList given.kernelParams then
    [
      "The kernel parameters of ${image} must be ${types.kernelParams}, but are ${show given.kernelParams}."
    ]
  else
    map (
      parameter: "The kernel parameter ${show parameter} of ${image} must be a string of one line."
    ) (lib.filter badParameter given.kernelParams)
)
++
  optional (!isList given.kernelConfig || !all isFile given.kernelConfig)
    "The kernel configuration of ${image} must be ${types.kernelConfig}, but is ${show given.kernelConfig}."
++ optional (
  given.signing != null
  && !(
    isAttrs given.signing
    &&
      lib.attrNames given.signing == [
        "certificate"
        "key"
      ]
    && all isFile (lib.attrValues given.signing)
  )
) "The signing of ${image} must be ${types.signing}, but is ${show given.signing}."
