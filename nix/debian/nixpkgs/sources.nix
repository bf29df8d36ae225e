# nixpkgs' `lib.sources`: which files of a directory become a source.
{ lib }:
rec {
  # Version control, editors' files, objects and Nix's result links.
  cleanSourceFilter =
    path: type:
    let
      name = baseNameOf path;
    in
    !(
      name == ".git"
      ||
        type == "directory"
        && lib.elem name [
          ".svn"
          "CVS"
          ".hg"
        ]
      || lib.hasSuffix "~" name
      || lib.match "\\..*\\.?sw[a-z]" name != null
      || lib.hasSuffix ".o" name
      || lib.hasSuffix ".so" name
      || type == "symlink" && lib.hasPrefix "result" name
      || type == "unknown"
    );
  cleanSourceWith =
    {
      src,
      filter ? _: _: true,
      name ? null,
    }:
    let
      nested = src ? _isLibCleanSourceWith;
      origSrc = if nested then src.origSrc else src;
      filter' = if nested then path: type: filter path type && src.filter path type else filter;
      name' =
        if name != null then
          name
        else if nested then
          src.name
        else
          "source";
    in
    {
      inherit origSrc;
      filter = filter';
      name = name';
      outPath = builtins.path {
        filter = filter';
        path = origSrc;
        name = name';
      };
      _isLibCleanSourceWith = true;
    };
  cleanSource =
    src:
    cleanSourceWith {
      inherit src;
      filter = cleanSourceFilter;
    };
  sourceByRegex =
    src: regexes:
    let
      nested = src ? _isLibCleanSourceWith;
      root = toString (if nested then src.origSrc else src);
    in
    cleanSourceWith {
      inherit src;
      filter = path: _: lib.any (re: lib.match re (lib.removePrefix (root + "/") path) != null) regexes;
    };
  sourceFilesBySuffices =
    src: suffixes:
    cleanSourceWith {
      inherit src;
      filter = path: type: type == "directory" || lib.any (s: lib.hasSuffix s path) suffixes;
    };
}
