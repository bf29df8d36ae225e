# What a program has to say in time where settings ask for it: READY=1 and WATCHDOG=1. One that does not has failed.
{ mkTest, mkProbeImage }:
mkTest {
  name = "notify";
  constants = {
    WATCHED =
      (mkProbeImage {
        name = "watched";
        settings.app = {
          # Long enough for a slow machine.
          readyTimeout = 120;
          watchdog = 5;
          gracePeriod = 4;
          onExit = "restart";
        };
      }).isoFile;
    LATE =
      (mkProbeImage {
        name = "late";
        settings.app = {
          arguments = [ "on-term ignore" ];
          readyTimeout = 3;
          gracePeriod = 4;
          onExit = "poweroff";
        };
      }).isoFile;
  };
  script = ''
    import json

    agent = os.path.abspath(f"agent-{free_port()}")
    port = [
        "-device virtio-serial-pci,id=agent",
        f"-chardev socket,id=agent,path={agent},server=on,wait=off",
        "-device virtserialport,bus=agent.0,chardev=agent,name=org.qemu.guest_agent.0",
    ]
    machine = Guest("watched", WATCHED, disks=[btrfs("disk", "tinyboot")], arguments=port)
    late = Guest("late", LATE, control=False)


    def app() -> typing.Any:
        return json.loads(machine.ask("cat /run/tinyboot/status.json"))["app"]


    def uptime() -> float:
        return float(machine.ask("cat /proc/uptime").split()[0])


    machine.start()
    machine.ready()

    with subtest("the program knows that it is watched"):
        variables = machine.ask("cat /proc/self/environ").split("\0")
        t.assertIn("WATCHDOG_USEC=5000000", variables)
        t.assertIn(f"WATCHDOG_PID={app()['pid']}", variables)

    with subtest("before READY=1 the watchdog waits, then it wants to be fed"):
        t.assertFalse(app()["ready"])
        machine.ask("feed")
        machine.ask("notify READY=1")
        machine.until("ready", lambda: app()["ready"])
        machine.ask("notify STATUS=working")
        machine.until("its words", lambda: app()["status"] == "working")
        end = uptime() + 12
        machine.until("two intervals and more", lambda: uptime() > end)
        t.assertEqual(app()["starts"], 1)

    with subtest("a host that freezes the disk for a snapshot does not have the program killed"):
        with socket.socket(socket.AF_UNIX) as host, host.makefile("rb") as answers:
            host.settimeout(SOON)
            host.connect(agent)

            def ask(command: str) -> typing.Any:
                host.sendall(json.dumps({"execute": command}).encode())
                return json.loads(answers.readline())["return"]

            t.assertEqual(ask("guest-fsfreeze-freeze"), 1)
            # As one that sleeps in a write.
            machine.ask("starve")
            end = uptime() + 12
            machine.until("two intervals and more", lambda: uptime() > end)
            t.assertEqual(ask("guest-fsfreeze-status"), "frozen")
            machine.ask("feed")
            t.assertEqual(ask("guest-fsfreeze-thaw"), 1)
        end = uptime() + 12
        machine.until("two intervals and more", lambda: uptime() > end)
        t.assertFalse(machine.said(r"tinyboot: app: it did not say"))
        t.assertEqual(app()["starts"], 1)

    with subtest("a program that says nothing more is aborted and started again"):
        machine.ask("starve")
        machine.wait(r"tinyboot: app: it did not say WATCHDOG=1 within 5 s, and gets SIGABRT")
        machine.wait(r"tinyboot: app: killed by SIGABRT")
        machine.ready()
        t.assertEqual(app()["lastExit"], "killed by SIGABRT: it did not say WATCHDOG=1 within 5 s")
        t.assertEqual(app()["starts"], 2)

    with subtest("it may call the watchdog itself"):
        machine.ask("notify WATCHDOG=trigger")
        machine.wait(r"tinyboot: app: it said WATCHDOG=trigger, and gets SIGABRT")
        machine.ready()
    machine.powered_off()

    with subtest("one that is not ready in time is asked to stop, then killed"):
        late.start()
        late.wait(r"tinyboot: app: it did not say READY=1 within 3 s, and gets SIGTERM", BOOT)
        late.wait(r"app: probe: asked to stop")
        late.wait(r"tinyboot: app: it did not end within 4 s, and is killed")
        late.wait(r"tinyboot: shutdown: the app was killed by SIGKILL: it did not say READY=1 within 3 s: powering off")
        t.assertEqual(late.ended(), "guest-shutdown")
  '';
}
