# Checks the prose of the repository: no headless clause opens a heading, a table cell, a paragraph or a comment, and no
# relative link is dead.
{
  lib,
  runCommand,
  python3,
}:
runCommand "prose" { nativeBuildInputs = [ python3 ]; } ''
  python3 ${./check.py} ${
    lib.sourceByRegex ../../. [
      "[^/]*\\.(md|nix)"
      "LICENSE"
      "(docs|examples|nix|runtime|templates|vm-tests|\\.ci)(/.*)?"
    ]
  }
  touch $out
''
