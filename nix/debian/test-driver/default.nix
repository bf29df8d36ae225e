# testers.runNixOSTest for guests that are no NixOS: a test's script runs against machines that it makes itself with
# create_machine. What it takes, and what it means, is NixOS's: nixos/lib/testing and nixos/lib/test-driver.
{
  lib,
  pkgs,
  runCommand,
  writeShellScriptBin,
  python3,
  mypy,
  pyflakes,
}:
let
  # The driver, having passed its own tests.
  package =
    runCommand "test-driver"
      {
        nativeBuildInputs = [
          python3
          mypy
          pyflakes
        ];
      }
      ''
        cp -r ${./test_driver} test_driver
        cp -r ${./tests} tests
        chmod -R u+w .
        mypy --strict test_driver tests/*.py
        # But for the names that only stand before a script.
        find test_driver tests -name "*.py" ! -path test_driver/prelude.py -exec pyflakes3 {} +
        PYTHONPATH=. python3 tests/test_driver_test.py
        mkdir -p $out/lib
        cp -r ${./test_driver} $out/lib/test_driver
      '';

  known = [
    "globalTimeout"
    "meta"
    "name"
    "nodes"
    "passthru"
    "skipLint"
    "skipTypeCheck"
    "testScript"
  ];
in
/*
  Type: runNixOSTest :: attrset | ({ pkgs, lib, … } -> attrset) -> derivation

  name           the test's name
  testScript     Python, as a string or as a function of `{ nodes }`
  nodes          must be empty: no NixOS is here
  globalTimeout  seconds for the whole script
  skipTypeCheck  leave out mypy
  skipLint       leave out pyflakes
  meta, passthru as everywhere

  Example:
    runNixOSTest { name = "boots"; testScript = "create_machine('qemu-system-x86_64 …').start()"; }
*/
module:
let
  args = if lib.isFunction module then module { inherit pkgs lib; } else module;
  inherit (args) name;
  unknown = lib.subtractLists known (lib.attrNames args);
  nodes = args.nodes or { };
  timeout = toString (args.globalTimeout or 3600);
  testScript =
    if unknown != [ ] then
      throw "The test \"${name}\" has the attribute \"${lib.head unknown}\", which is not known here; there are: ${lib.concatStringsSep ", " known}."
    else if nodes != { } then
      throw "The test \"${name}\" has the node \"${lib.head (lib.attrNames nodes)}\", but there is no NixOS here: make its machines with create_machine."
    else if lib.isFunction args.testScript then
      args.testScript { inherit nodes; }
    else
      args.testScript;

  # Runs the test anywhere; built only when the script's types are right.
  driver =
    runCommand "test-driver-${name}"
      {
        nativeBuildInputs =
          lib.optional (!(args.skipTypeCheck or false)) mypy
          ++ lib.optional (!(args.skipLint or false)) pyflakes;
        inherit testScript;
        passAsFile = [ "testScript" ];
        program = lib.getExe (
          writeShellScriptBin "nixos-test-driver" ''
            here=$(dirname "$(dirname "$(readlink -f "$0")")")
            # QEMU is not among it: tests name theirs.
            export PATH=${lib.makeBinPath [ python3 ]}''${PATH:+:$PATH} PYTHONPATH=${package}/lib PYTHONDONTWRITEBYTECODE=1
            exec python3 -m test_driver --global-timeout ${timeout} "$@" "$here/test-script"
          ''
        );
        meta.mainProgram = "nixos-test-driver";
      }
      ''
        mkdir -p $out/bin
        cp "$testScriptPath" $out/test-script
        ${lib.optionalString (!(args.skipTypeCheck or false)) ''
          cat ${package}/lib/test_driver/prelude.py $out/test-script > typed.py
          MYPYPATH=${package}/lib mypy --no-implicit-optional --pretty --no-color-output typed.py
        ''}
        ${lib.optionalString (!(args.skipLint or false)) ''
          PYFLAKES_BUILTINS=$(sed -n 's/^\([a-z_]*\) *[:=].*/\1/p; s/.* as //p' ${package}/lib/test_driver/prelude.py | paste -sd,) \
            pyflakes3 $out/test-script
        ''}
        cp "$program" $out/bin/nixos-test-driver
      '';

  # The same by hand: in a directory of its own, which stays to be looked at.
  driverInteractive = writeShellScriptBin "nixos-test-driver" ''
    TMPDIR=$(mktemp -d)
    export TMPDIR
    cd "$TMPDIR"
    echo "The machines' state is in $TMPDIR." >&2
    exec ${driver}/bin/nixos-test-driver "$@"
  '';

  test =
    change:
    let
      attributes = {
        requiredSystemFeatures = [ "nixos-test" ];
        meta = args.meta or { };
        passthru = (args.passthru or { }) // {
          inherit driver driverInteractive;
          overrideTestDerivation = next: test (old: change old // next (old // change old));
        };
      };
    in
    runCommand "vm-test-run-${name}" (attributes // change attributes) ''
      mkdir -p $out
      ${driver}/bin/nixos-test-driver -o $out
    '';
in
test (_: { })
