# A program that tries every way out of its sandbox, and to take the machine down with it.
{ mkTest, mkProbeImage }:
let
  image =
    name: app:
    (mkProbeImage {
      inherit name;
      settings.app = app;
    }).isoFile;
in
mkTest {
  name = "attack";
  constants = {
    USER = image "user" { user = 1000; };
    ROOT = image "root" { capabilities = [ ]; };
    LOCKED = image "locked" {
      user = 1000;
      privateTmp = true;
      readOnlyRoot = true;
      systemCalls = [ "@system-service" ];
    };
    GREEDY = image "greedy" {
      user = 1000;
      onExit = "restart";
    };
  };
  script = ''
    # The files and processes of root are those of user id 0, whatever it lacks (docs/threat-model.md).
    ROOTS_OWN = {
        "/", "/sbin", "/etc", "init: signal", "init: files", "init: own files", "/dev: kmsg", "/dev: disk", "/dev: console"
    }


    def doors(machine: Guest) -> tuple[set[str], set[str]]:
        """Those that are open, and those that are shut."""
        lines = machine.ask("attack").splitlines()
        opened = {line.removesuffix(": open") for line in lines if line.endswith(": open")}
        shut = {line.partition(": shut: ")[0] for line in lines if ": shut: " in line}
        t.assertEqual(len(opened) + len(shut), len(lines), lines)
        return opened, shut


    for name, iso, allowed in [("user", USER, set[str]()), ("locked", LOCKED, set[str]()), ("root", ROOT, ROOTS_OWN)]:
        with subtest(f"{name}: every door is shut"):
            machine = Guest(name, iso, disks=[ext(4, f"{name}-disk", "tinyboot")])
            machine.start()
            machine.ready()
            opened, shut = doors(machine)
            t.assertEqual(opened - allowed, set())
            # The list has not become short.
            t.assertGreater(len(shut), 55)
            machine.ask("reopen")
            machine.powered_off()

    with subtest("who uses up the memory is killed, and finds all of it at the next start"):
        machine = Guest("greedy", GREEDY, disks=[ext(4, "greedy-disk", "tinyboot")])
        machine.start()
        machine.ready()
        for way in ["files", "segments", "messages", "memory", "files"]:
            machine.tell(f"exhaust {way}")
            machine.wait(r"tinyboot: app: killed by SIGKILL: out of memory, of which the app can have \d+ MiB", BOOT)
            machine.ready()
            t.assertEqual(machine.ask("ls /tmp") + machine.ask("ls /dev/shm") + machine.ask("ls /run/app"), "")
        machine.power_button()
        machine.wait(r"tinyboot: shutdown: /persistent unmounted")
        t.assertEqual(machine.ended(), "guest-shutdown")
        t.assertFalse(machine.said("Kernel panic"))
  '';
}
