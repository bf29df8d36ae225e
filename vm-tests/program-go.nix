# A program that nobody wrote for tinyboot, with its closure on the medium: a web server in Go serves the image's files.
{
  mkTest,
  mkImage,
  caddy,
  writeText,
}:
let
  image = mkImage {
    name = "caddy";
    command = [
      "${caddy}/bin/caddy"
      "run"
      "--adapter"
      "caddyfile"
      "--config"
      (writeText "Caddyfile" ''
        {
          admin off
        }
        http://:8080 {
          root * /iso/www
          file_server
        }
      '')
    ];
    files."www/page.txt" = writeText "page.txt" "This lies on the medium.\n";
  };
in
mkTest {
  name = "program-go";
  constants.ISO = image.isoFile;
  script = ''
    machine = Guest("machine", ISO)
    machine.start()
    machine.wait(r"tinyboot: storage: /iso is iso9660 on /dev/sr0, read-only", BOOT)
    with subtest("Caddy serves a file of the medium"):
        machine.until("an answer", lambda: machine.fetch("/page.txt") == "This lies on the medium.\n", BOOT)
    with subtest("it stops in order"):
        machine.powered_off()
        t.assertTrue(machine.said("tinyboot: app: exited with status 0"))
        t.assertTrue(machine.said("tinyboot: shutdown: /nix/store unmounted"))
        t.assertTrue(machine.said("tinyboot: shutdown: /iso unmounted"))
  '';
}
