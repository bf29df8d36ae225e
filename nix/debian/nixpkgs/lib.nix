# The functions of nixpkgs' `lib` that tinyboot and crane use, with nixpkgs' names and meaning.
let
  inherit (builtins)
    all
    any
    attrNames
    attrValues
    concatLists
    concatMap
    concatStringsSep
    elem
    elemAt
    filter
    foldl'
    genList
    getAttr
    hasAttr
    head
    intersectAttrs
    isAttrs
    isBool
    isInt
    isList
    isString
    length
    listToAttrs
    map
    match
    removeAttrs
    replaceStrings
    sort
    split
    stringLength
    substring
    tail
    toJSON
    toString
    typeOf
    ;
  lib = rec {
    inherit (builtins)
      add
      all
      any
      attrNames
      attrValues
      compareVersions
      concatLists
      concatMap
      concatStringsSep
      deepSeq
      elem
      elemAt
      filter
      fromJSON
      genList
      getAttr
      hasAttr
      hashString
      head
      intersectAttrs
      isAttrs
      isBool
      isFloat
      isInt
      isList
      isPath
      isString
      length
      lessThan
      listToAttrs
      map
      match
      mapAttrs
      pathExists
      readDir
      readFile
      removeAttrs
      replaceStrings
      seq
      sort
      splitVersion
      stringLength
      substring
      tail
      toJSON
      toString
      trace
      typeOf
      unsafeDiscardStringContext
      groupBy
      ;
    inherit (builtins) baseNameOf dirOf;
    foldl' = builtins.foldl';
    version = "26.05.debian";
    trivial = {
      inherit version;
      release = "26.05";
      inherit
        importJSON
        importTOML
        functionArgs
        isFunction
        ;
    };

    # functions
    id = x: x;
    const = x: _: x;
    flip =
      f: a: b:
      f b a;
    pipe = foldl' (x: f: f x);
    fix =
      f:
      let
        x = f x;
      in
      x;
    extends =
      overlay: f: final:
      let
        prev = f final;
      in
      prev // overlay final prev;
    composeExtensions =
      f: g: final: prev:
      let
        a = f final prev;
      in
      a // g final (prev // a);
    isFunction = f: builtins.isFunction f || (f ? __functor && isFunction (f.__functor f));
    functionArgs =
      f:
      if f ? __functor then
        f.__functionArgs or (functionArgs (f.__functor f))
      else
        builtins.functionArgs f;
    setFunctionArgs = f: args: {
      __functor = _: f;
      __functionArgs = args;
    };
    mirrorFunctionArgs =
      f:
      let
        args = functionArgs f;
      in
      g: if builtins.isFunction f then setFunctionArgs g args else g;
    toFunction = v: if isFunction v then v else _: v;
    importJSON = path: builtins.fromJSON (builtins.readFile path);
    importTOML = path: builtins.fromTOML (builtins.readFile path);
    warn = message: value: builtins.trace "warning: ${message}" value;
    warnIf = condition: message: if condition then warn message else id;
    warnIfNot = condition: warnIf (!condition);
    throwIf = condition: message: if condition then throw message else id;
    throwIfNot = condition: throwIf (!condition);
    assertMsg = condition: message: condition || throw message;
    boolToString = b: if b then "true" else "false";
    max = a: b: if a > b then a else b;
    min = a: b: if a < b then a else b;

    # lists
    foldl = foldl';
    foldr =
      op: nul: list:
      let
        n = length list;
        go = i: if i == n then nul else op (elemAt list i) (go (i + 1));
      in
      go 0;
    optional = c: x: if c then [ x ] else [ ];
    optionals = c: x: if c then x else [ ];
    singleton = x: [ x ];
    toList = x: if isList x then x else [ x ];
    flatten = x: if isList x then concatMap flatten x else [ x ];
    range = a: b: if a > b then [ ] else genList (n: a + n) (b - a + 1);
    imap0 = f: list: genList (n: f n (elemAt list n)) (length list);
    imap = imap1;
    imap1 = f: list: genList (n: f (n + 1) (elemAt list n)) (length list);
    unique = foldl' (acc: x: if elem x acc then acc else acc ++ [ x ]) [ ];
    last = list: elemAt list (length list - 1);
    init = list: take (length list - 1) list;
    take = n: sublist 0 n;
    drop = n: list: sublist n (length list) list;
    sublist =
      start: count: list:
      let
        len = length list;
      in
      genList (n: elemAt list (n + start)) (max 0 (min count (len - start)));
    reverseList =
      list:
      let
        n = length list;
      in
      genList (i: elemAt list (n - i - 1)) n;
    partition = builtins.partition;
    remove = x: filter (y: y != x);
    subtractLists = a: filter (x: !elem x a);
    intersectLists = a: filter (x: elem x a);
    findFirst =
      pred: default: list:
      let
        found = filter pred list;
      in
      if found == [ ] then default else head found;
    zipListsWith =
      f: a: b:
      genList (n: f (elemAt a n) (elemAt b n)) (min (length a) (length b));
    naturalSort = sort builtins.lessThan;
    sortOn = key: sort (a: b: key a < key b);
    count = pred: list: length (filter pred list);

    # attribute sets
    nameValuePair = name: value: { inherit name value; };
    genAttrs = names: f: listToAttrs (map (n: nameValuePair n (f n)) names);
    mapAttrsToList = f: set: map (n: f n set.${n}) (attrNames set);
    mapAttrs' = f: set: listToAttrs (mapAttrsToList f set);
    attrsToList = mapAttrsToList nameValuePair;
    filterAttrs = pred: set: removeAttrs set (filter (n: !pred n set.${n}) (attrNames set));
    concatMapAttrs = f: set: foldl' (a: b: a // b) { } (mapAttrsToList f set);
    filterAttrsRecursive =
      pred: set:
      mapAttrs (_: v: if isAttrs v then filterAttrsRecursive pred v else v) (filterAttrs pred set);
    optionalAttrs = c: set: if c then set else { };
    attrByPath =
      path: default: set:
      if path == [ ] then
        set
      else if isAttrs set && set ? ${head path} then
        attrByPath (tail path) default set.${head path}
      else
        default;
    hasAttrByPath =
      path: set: path == [ ] || (set ? ${head path} && hasAttrByPath (tail path) set.${head path});
    getAttrFromPath =
      path: set: attrByPath path (throw "There is no attribute ${concatStringsSep "." path}.") set;
    setAttrByPath =
      path: value: if path == [ ] then value else { ${head path} = setAttrByPath (tail path) value; };
    getAttrs = names: set: genAttrs names (n: set.${n});
    catAttrs = builtins.catAttrs;
    attrVals = names: set: map (n: set.${n}) names;
    zipAttrsWith =
      f: sets:
      genAttrs (unique (concatMap attrNames sets)) (n: f n (map (s: s.${n}) (filter (s: s ? ${n}) sets)));
    zipAttrs = zipAttrsWith (_: v: v);
    foldAttrs =
      op: nul: sets:
      mapAttrs (_: foldr op nul) (zipAttrs sets);
    mergeAttrsList = foldl' (a: b: a // b) { };
    recursiveUpdate =
      a: b:
      a
      // builtins.mapAttrs (
        n: v: if a ? ${n} && isAttrs a.${n} && isAttrs v then recursiveUpdate a.${n} v else v
      ) b;
    isDerivation = x: x.type or null == "derivation";
    recurseIntoAttrs = set: set // { recurseForDerivations = true; };
    dontRecurseIntoAttrs = set: set // { recurseForDerivations = false; };
    getOutput =
      output: pkg: if pkg.outputSpecified or false then pkg else pkg.${output} or pkg.out or pkg;
    getBin = getOutput "bin";
    getLib = getOutput "lib";
    getDev = getOutput "dev";
    getExe' = pkg: name: "${getBin pkg}/bin/${name}";
    getExe = pkg: getExe' pkg (pkg.meta.mainProgram or (getName pkg));
    getName =
      x:
      if isString x then
        (builtins.parseDrvName x).name
      else
        x.pname or (builtins.parseDrvName x.name).name;
    getVersion =
      x:
      if isString x then
        (builtins.parseDrvName x).version
      else
        x.version or (builtins.parseDrvName x.name).version;
    mapCartesianProduct = f: sets: map f (cartesianProduct sets);
    cartesianProduct =
      sets:
      foldl' (acc: n: concatMap (x: map (v: x // { ${n} = v; }) sets.${n}) acc) [ { } ] (attrNames sets);

    # strings
    optionalString = c: s: if c then s else "";
    concatStrings = concatStringsSep "";
    concatMapStrings = f: list: concatStrings (map f list);
    concatMapStringsSep =
      sep: f: list:
      concatStringsSep sep (map f list);
    concatImapStringsSep =
      sep: f: list:
      concatStringsSep sep (imap1 f list);
    concatMapAttrsStringSep =
      sep: f: set:
      concatStringsSep sep (mapAttrsToList f set);
    concatLines = concatMapStrings (line: line + "\n");
    hasPrefix = prefix: s: substring 0 (stringLength prefix) s == prefix;
    hasSuffix =
      suffix: s:
      let
        n = stringLength s;
        m = stringLength suffix;
      in
      n >= m && substring (n - m) n s == suffix;
    hasInfix = infix: s: length (splitString infix s) > 1;
    removePrefix = prefix: s: if hasPrefix prefix s then substring (stringLength prefix) (-1) s else s;
    removeSuffix =
      suffix: s: if hasSuffix suffix s then substring 0 (stringLength s - stringLength suffix) s else s;
    escapeRegex = escape (stringToCharacters "\\[{()^$?*+|.");
    escape = list: replaceStrings list (map (c: "\\${c}") list);
    stringToCharacters = s: genList (n: substring n 1 s) (stringLength s);
    splitString = sep: s: filter isString (split (escapeRegex (toString sep)) (toString s));
    escapeShellArg =
      arg:
      let
        s = toString arg;
      in
      if match "[[:alnum:],._+:@%/-]+" s == null then "'${replaceStrings [ "'" ] [ "'\\''" ] s}'" else s;
    escapeShellArgs = concatMapStringsSep " " escapeShellArg;
    isStringLike = x: isString x || builtins.isPath x || x ? outPath || x ? __toString;
    isConvertibleWithToString = x: isStringLike x || isInt x || isBool x || x == null;
    lowerChars = stringToCharacters "abcdefghijklmnopqrstuvwxyz";
    upperChars = stringToCharacters "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
    toLower = replaceStrings upperChars lowerChars;
    toUpper = replaceStrings lowerChars upperChars;
    trim =
      s:
      let
        m = match "[[:space:]]*(.*[^[:space:]])?[[:space:]]*" s;
      in
      if m == null || head m == null then "" else head m;
    toShellVar = name: value: "${name}=${escapeShellArg value}";
    makeBinPath = makeSearchPath "bin";
    makeSearchPath = sub: pkgs: concatMapStringsSep ":" (p: "${p}/${sub}") (filter (p: p != null) pkgs);
    makeLibraryPath = makeSearchPath "lib";
    toInt = s: builtins.fromJSON s;
    fixedWidthString =
      width: filler: s:
      if stringLength s >= width then s else fixedWidthString width filler (filler + s);
    versionOlder = a: b: builtins.compareVersions b a == 1;
    versionAtLeast = a: b: !versionOlder a b;
    versions = {
      major = v: elemAt (builtins.splitVersion v) 0;
      minor = v: elemAt (builtins.splitVersion v) 1;
      majorMinor = v: concatStringsSep "." (take 2 (builtins.splitVersion v));
      pad = n: v: concatStringsSep "." (take n (builtins.splitVersion v ++ genList (_: "0") n));
    };
    strings = lib // { };
    lists = lib // { };
    attrsets = lib // { };
    asserts = lib // { };
    debug = {
      traceVal = x: builtins.trace x x;
    };

    # sources
    sources = import ./sources.nix { inherit lib; };
    inherit (sources)
      cleanSource
      cleanSourceFilter
      cleanSourceWith
      sourceByRegex
      sourceFilesBySuffices
      ;
    fileset = import ./fileset.nix { inherit lib; };
    pathIsDirectory = path: builtins.pathExists "${toString path}/.";
    filesystem = { inherit pathIsDirectory; };

    # package sets
    makeOverridable =
      f:
      mirrorFunctionArgs f (
        args:
        let
          result = f args;
          again = g: makeOverridable (mirrorFunctionArgs f (a: g (f a))) args;
        in
        if isAttrs result then
          result
          // {
            override = new: makeOverridable f (args // (if isFunction new then new args else new));
            overrideDerivation = _: throw "overrideDerivation is not implemented.";
          }
          // optionalAttrs (result ? overrideAttrs) { overrideAttrs = g: again (x: x.overrideAttrs g); }
        else
          result
      );
    callPackageWith =
      scope: file: overrides:
      let
        f = if isFunction file then file else import file;
        wanted = functionArgs f;
        args = intersectAttrs wanted scope // overrides;
        missing = filter (n: !wanted.${n} && !(args ? ${n})) (attrNames wanted);
      in
      if missing != [ ] then
        throw "The package set has no \"${head missing}\", which ${
          if isFunction file then "a function" else toString file
        } needs."
      else
        makeOverridable f args;
    callPackagesWith = callPackageWith;
    makeScope =
      newScope: f:
      let
        self = f self // {
          newScope = scope: newScope (self // scope);
          callPackage = self.newScope { };
          overrideScope = g: makeScope newScope (extends g f);
          packages = f;
        };
      in
      self;
    makeScopeWithSplicing' =
      {
        splicePackages ? null,
        newScope,
      }:
      {
        otherSplices ? null,
        keep ? _: { },
        extra ? _: { },
        f,
      }:
      let
        self = f self // {
          newScope = scope: newScope (self // scope);
          callPackage = self.newScope { };
          overrideScope =
            g:
            (makeScopeWithSplicing' { inherit splicePackages newScope; }) {
              inherit otherSplices keep extra;
              f = extends g f;
            };
          packages = f;
        };
      in
      self;
    hydraJob = id;
    licenses = mapAttrs (_: spdxId: { inherit spdxId; }) {
      mit = "MIT";
      asl20 = "Apache-2.0";
      gpl2Only = "GPL-2.0-only";
      gpl3Plus = "GPL-3.0-or-later";
      bsd2 = "BSD-2-Clause";
      bsd3 = "BSD-3-Clause";
    };
    platforms = {
      linux = [ "x86_64-linux" ];
      all = [ "x86_64-linux" ];
      unix = [ "x86_64-linux" ];
    };
    maintainers = { };
    systems.elaborate = _: throw "systems.elaborate is not implemented.";
    generators = import ./generators.nix { inherit lib; };
  };
in
lib
