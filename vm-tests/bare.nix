# A machine with neither a NIC nor a disk, whose RTC stands in 2001: the app runs, waits for no network, cannot write
# where it would be lost, and lives after the image's floor.
{ mkTest, mkProbeImage }:
let
  image = mkProbeImage {
    name = "bare";
    settings = {
      app.arguments = [
        "time"
        "addresses"
        "write /persistent/x 1"
        "write /run/x 1"
        "write /tmp/x 1"
        "ls /iso"
      ];
      # Nothing is to be waited for: with a wait, the app would not start in time.
      network.deadline = 86400;
    };
  };
in
mkTest {
  name = "bare";
  constants = {
    ISO = image.isoFile;
    FLOOR = toString image.settings.clock.floor;
  };
  script = ''
    # With KVM the host would tell the time.
    machine = Guest("machine", ISO, control=False, accel="tcg", arguments=["-rtc base=2001-01-01T00:00:00"])
    machine.start()
    machine.ready()
    t.assertTrue(machine.said(r"tinyboot: clock: the RTC says 2001-01-01T\S+, before the image's floor; set to 20"))
    (line,) = machine.said(r"app: probe: time: \d+$")
    now = int(line.rsplit(" ", 1)[1])
    t.assertGreaterEqual(now, int(FLOOR))
    t.assertLess(now, int(FLOOR) + 600)
    t.assertTrue(machine.said(r"app: probe: addresses: lo 127\.0\.0\.1/8$"))
    t.assertTrue(machine.said(r"app: probe: write /persistent/x 1: error: Read-only file system"))
    t.assertFalse(machine.said(r"app: probe: (write /run|write /tmp|ls).*error"))
    machine.powered_off()
  '';
}
