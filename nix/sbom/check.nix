# The bill of materials is what CycloneDX's own validator takes for one, and has in it what cargo links, no more and no less.
{
  runCommand,
  python3,
  python3Packages,
  image,
  init,
  hello,
}:
{
  valid =
    runCommand "sbom-valid"
      {
        nativeBuildInputs = [
          python3
          python3Packages.cyclonedx-python-lib
          python3Packages.jsonschema
        ];
      }
      ''
        python3 ${./check.py} ${image.sbom}/${image.sbom.file} ${init.crates}/crates ${hello.crates}/crates
        touch $out
      '';
}
