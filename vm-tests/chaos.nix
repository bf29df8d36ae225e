# Two features or faults at once, round after round (lib/chaos.py); docs/seams.md says what must hold. Only in the long run.
{
  mkTest,
  mkProbeImage,
  writeText,
  kernelImage,
}:
let
  image = mkProbeImage {
    name = "chaos";
    settings = {
      app.gracePeriod = 4;
      storage.create = true;
    };
    # For /iso, which is ejected.
    files."about.txt" = writeText "about.txt" "This came with the image.\n";
  };

  /*
    seed    gives the order of the pairs, and how each of them goes
    only    pairs such as "freeze+watchdog" to draw from; all if there are none
    rounds  how many at most
    seconds after which no round is begun
  */
  test =
    name:
    {
      seed,
      only ? [ ],
      rounds,
      seconds,
    }:
    mkTest {
      inherit name;
      seconds = seconds + 900;
      constants = {
        ISO = image.isoFile;
        KERNEL = kernelImage image.kernel;
        INITRAMFS = "${image.initramfs}/initramfs";
        COMMAND_LINE = image.uki.commandLine;
        SEAMS = ../docs/seams.md;
        SEED = seed;
        ONLY = builtins.toJSON only;
        ROUNDS = toString rounds;
        SECONDS = toString seconds;
      };
      script = builtins.readFile ./lib/chaos.py;
    };
in
{
  # Each pair twice.
  long = test "chaos-long" {
    seed = "2026";
    rounds = 400;
    seconds = 14400;
  };
}
