# What `settings.app.onExit` chooses instead of a reboot: the app alone starts again, ever more slowly, or the machine
# is switched off.
{ mkTest, mkProbeImage }:
mkTest {
  name = "on-exit";
  constants = {
    RESTART =
      (mkProbeImage {
        name = "restart";
        settings.app = {
          arguments = [
            "cat /run/tinyboot/status.json"
            "end 3"
          ];
          onExit = "restart";
        };
      }).isoFile;
    POWEROFF =
      (mkProbeImage {
        name = "poweroff";
        settings.app = {
          arguments = [ "end 3" ];
          onExit = "poweroff";
        };
      }).isoFile;
  };
  script = ''
    import itertools

    restart = Guest("restart", RESTART, control=False)
    poweroff = Guest("poweroff", POWEROFF, control=False)

    with subtest("the app is started again, and never in a hot loop"):
        restart.start()
        starts = [float(restart.wait(r"\[ *([\d.]+)\] tinyboot: app: started", BOOT)[1])]
        for _ in range(5):
            restart.wait("tinyboot: app: exited with status 3")
            starts.append(float(restart.wait(r"\[ *([\d.]+)\] tinyboot: app: started")[1]))
        gaps = [later - earlier for earlier, later in itertools.pairwise(starts)]
        t.assertGreater(gaps[-1], 2 * gaps[0], f"the gaps between the starts are {gaps} s")

    with subtest("the app reads how it ended, how often it was started and how long was waited"):
        text = "".join(restart.said(r"app: probe: cat /run/tinyboot/status\.json: "))
        t.assertIn('"lastExit": null', text)
        for field in ['"lastExit": "exited with status 3"', '"starts": 3', '"backoff": 0.0', '"backoff": 0.4']:
            t.assertIn(field, text)
        restart.powered_off()

    with subtest("the machine is switched off"):
        poweroff.start()
        poweroff.wait(r"tinyboot: shutdown: the app exited with status 3: powering off", BOOT)
        t.assertEqual(poweroff.ended(), "guest-shutdown")
  '';
}
