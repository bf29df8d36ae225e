# Boots the machine twice with the same disk, asks for its page, and presses the power button.
{ image, mkTest }:
mkTest {
  name = "serves";
  constants.ISO = image.isoFile;
  script = ''
    port = free_port()
    machine = Guest(
        "machine", ISO, disks=[btrfs("disk", "tinyboot")], nics=[f"user,hostfwd=tcp:127.0.0.1:{port}-:80"], control=False
    )
    for boot in (1, 2):
        machine.start()
        machine.wait("listening on port 80", BOOT)
        with DIRECT.open(f"http://127.0.0.1:{port}/", timeout=SOON) as answer:
            t.assertEqual(answer.read(), f"boot number {boot}\n".encode())
        machine.powered_off()
        t.assertTrue(machine.said("app: stopped in order"))
  '';
}
