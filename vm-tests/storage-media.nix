# Discs that are taken out, exchanged and asked for while the machine runs.
{
  mkTest,
  probeImage,
  runCommand,
  xorriso,
}:
let
  discs = runCommand "two-discs" { nativeBuildInputs = [ xorriso ]; } ''
    mkdir -p $out one two
    echo one > one/which
    echo two > two/which
    for disc in one two; do
      xorriso -as mkisofs -quiet -o $out/$disc.iso -volid SAME -rational-rock $disc
    done
  '';
in
mkTest {
  name = "storage-media";
  constants = {
    ISO = probeImage.isoFile;
    DISCS = "${discs}";
  };
  script = ''
    import json

    machine = Guest("machine", ISO)
    machine.start()
    machine.wait("tinyboot: storage: /iso is iso9660 on /dev/sr0, read-only", BOOT)
    machine.ready()

    def iso() -> typing.Any:
        return json.loads(machine.ask("cat /run/tinyboot/status.json"))["storage"]["iso"]

    with subtest("a disc that is taken out is unmounted, and the status tells"):
        t.assertEqual(iso()["device"], "/dev/sr0")
        machine.monitor("eject -f iso")
        machine.wait("tinyboot: storage: the medium of /dev/sr0 was taken out while /iso was on it")
        t.assertEqual(machine.ask("ls /iso"), "")
        t.assertIsNone(iso())

    with subtest("the next disc gets the place, and so does the one after it, which has the same volume id"):
        for disc in ("one", "two"):
            # Without force the drive would only be asked for its medium.
            machine.monitor("eject -f iso")
            machine.monitor(f"change iso {DISCS}/{disc}.iso raw")
            machine.wait("tinyboot: storage: /iso is iso9660 on /dev/sr0, read-only")
            t.assertEqual(machine.ask("cat /iso/which"), f"{disc}\n")
            t.assertEqual(iso()["device"], "/dev/sr0")
        t.assertEqual(len(machine.said("the medium of /dev/sr0 was taken out while /iso was on it")), 2)

    with subtest("a disc that nobody uses is given back when somebody asks for it"):
        t.assertIn("locked", machine.monitor("eject iso"))
        machine.wait("tinyboot: storage: /dev/sr0 was asked for its medium and gives it back")
        machine.until("an open tray", lambda: "tray open" in machine.monitor("info block iso"))
        t.assertNotIn("locked", machine.monitor("eject iso"))
        t.assertIsNone(iso())

    machine.powered_off()
  '';
}
