# A program that nobody wrote for tinyboot: Python with a script, once with the closure on the medium and once with it in
# memory. The first takes less of it.
{
  mkTest,
  mkImage,
  python3,
  busybox,
  writeText,
  writeScript,
}:
let
  script = writeScript "serve.py" ''
    #!/usr/bin/env python3
    import functools, http.server, subprocess

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self):
            if self.path == "/memory":
                body = b""
                for name in ("meminfo", "zoneinfo"):
                    with open(f"/proc/{name}", "rb") as file:
                        body += file.read()
            elif self.path == "/shell":
                body = subprocess.check_output("echo from the shell", shell=True)
            else:
                return super().do_GET()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

    handler = functools.partial(Handler, directory="/iso")
    http.server.ThreadingHTTPServer(("", 8080), handler).serve_forever()
  '';
  image =
    closureIn:
    mkImage {
      name = "python-${closureIn}";
      inherit closureIn;
      # As its author wrote it, with what it expects to find.
      command = [ script ];
      settings.app = {
        environment.PATH = "${python3}/bin";
        links = {
          "/bin/sh" = "${busybox}/bin/sh";
          "/usr/bin/env" = "${busybox}/bin/env";
        };
      };
      files."page.txt" = writeText "page.txt" "This lies on the medium.\n";
    };
in
mkTest {
  name = "program-script";
  constants = {
    ISO = (image "iso").isoFile;
    MEMORY = (image "memory").isoFile;
  };
  script = ''
    available: dict[str, int] = {}
    for name, iso in (("iso", ISO), ("memory", MEMORY)):
        # The closure in memory takes room twice while the kernel unpacks it: nixpkgs' Python has 200 MB.
        machine = Guest(name, iso, memory=1024)
        machine.start()
        with subtest(f"a script in Python serves a file of the medium, its closure in: {name}"):
            machine.until("an answer", lambda: machine.fetch("/page.txt") == "This lies on the medium.\n", BOOT)
            t.assertEqual(machine.fetch("/shell"), "from the shell\n")
        memory = machine.fetch("/memory")
        match = re.search(r"(?m)^MemAvailable: +(\d+) kB$", memory)
        assert match, memory
        # The kernel does not count free pages as available while they lie in a CPU's list: of 1024 MiB that can be 128, and what
        # of it was freed last is there by chance.
        listed = re.findall(r"(?m)^ +count: +(\d+)$", memory)
        t.assertTrue(listed, memory)
        available[name] = int(match.group(1)) + 4 * sum(map(int, listed))
        machine.powered_off()
        t.assertEqual(bool(machine.said("tinyboot: shutdown: /nix/store unmounted")), name == "iso")
    with subtest("what lies on the medium costs no memory"):
        print(f"kB available of 1024 MiB: {available}")
        t.assertGreater(available["iso"] - available["memory"], 40_000)
  '';
}
