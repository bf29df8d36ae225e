# Much of what happens seldom, in one boot: leases that are renewed and an app that starts again and again, both at the same
# time, and orphans that are reaped while the app waits for children of its own. It costs init nothing that stays.
{ mkTest, mkProbeImage }:
let
  restart =
    (mkProbeImage {
      name = "restart";
      settings.app = {
        arguments = [
          "count /run/starts"
          "figures"
          "end 0"
        ];
        onExit = "restart";
        longestPause = 1;
      };
    }).isoFile;
  orphans = (mkProbeImage { name = "orphans"; }).isoFile;

  /*
    renewals  of the lease, and as many starts of the app
    warm      starts after which memory and descriptors are as they stay
    children  how many the app has, each of which leaves an orphan
  */
  test =
    name:
    {
      renewals,
      warm,
      children,
      seconds,
    }:
    mkTest {
      inherit name seconds;
      constants = {
        RESTART = restart;
        ORPHANS = orphans;
        RENEWALS = toString renewals;
        WARM = toString warm;
        CHILDREN = toString children;
      };
      script = ''
        renewals, warm, children = int(RENEWALS), int(WARM), int(CHILDREN)
        # What the kernel's count of a process' memory is exact to: 32 pages for each CPU and each kind.
        EXACT = 256

        peer = Peer()
        lines = [
            "interface eth0",
            "start 10.0.0.50",
            "end 10.0.0.60",
            "lease_file /tmp/leases",
            "pidfile /run/udhcpd",
            "min_lease 2",
            "option lease 2",
            "option subnet 255.255.255.0",
            "option router 10.0.0.1",
        ]
        for line in lines:
            peer.run(f"echo {line} >> /etc/udhcpd.conf")
        peer.run("touch /tmp/leases; udhcpd /etc/udhcpd.conf")

        def watched(machine: Guest) -> list[dict[str, int]]:
            """Init's figures at each start of the app."""
            all_figures = []
            for line in machine.said(r"app: probe: figures: rss"):
                words = line.split("figures: ")[1].split()
                all_figures.append({name: int(value) for name, value in zip(words[::2], words[1::2])})
            return all_figures

        def constant(early: list[dict[str, int]], late: list[dict[str, int]]) -> None:
            """What a moment needs comes and goes; what stays is in the least figure of many."""

            def least(figures: list[dict[str, int]], name: str) -> int:
                return min(one[name] for one in figures)

            for name in ("fds", "threads", "rss", "anon"):
                highest = max(one[name] for one in early + late)
                machine.machine.log(f"{name}: {least(early, name)} at first, {least(late, name)} at last, {highest} at most")
            for name in ("fds", "threads"):
                t.assertEqual(least(early, name), least(late, name), f"{name} of init grow")
            for name in ("rss", "anon"):
                t.assertLessEqual(least(late, name) - least(early, name), EXACT, f"{name} of init grows, in KiB")

        machine = Guest("machine", RESTART, nics=[peer.wire()], control=False)
        machine.start()
        with subtest(f"{renewals} renewals and {renewals} starts of the app cost nothing that stays"):
            machine.wait("tinyboot: net: eth0: BOUND to 10.0.0.[0-9]+/24 from 10.0.0.1 for 2 s", BOOT)
            # Neither is faster than once a second.
            machine.wait(f"app: probe: count /run/starts: {renewals}\\b", BOOT + 5 * renewals)

            def renewed() -> bool:
                return len(machine.said("tinyboot: net: eth0: renewed 10.0.0.[0-9]+/24")) >= renewals

            machine.until(f"{renewals} renewals", renewed, BOOT + 3 * renewals)
            figures = watched(machine)
            t.assertGreaterEqual(len(figures), renewals)
            t.assertEqual(len(machine.said("tinyboot: app: exited with status 0")), len(machine.said("tinyboot: app: starts again in")))
            expired = len(machine.said("tinyboot: net: eth0: lease of .* expired"))
            machine.machine.log(f"{len(figures)} starts; {expired} leases expired, on a machine that is too slow for 2 s")
            constant(figures[warm : 2 * warm], figures[-warm:])
            t.assertEqual(machine.said("tinyboot: .*(cannot|failed|panic|lost)"), [])
        machine.powered_off()
        peer.crash()

        machine = Guest("orphans", ORPHANS)
        machine.start()
        machine.ready()
        with subtest(f"{children} orphans are reaped while the app waits for {children} children of its own"):

            def have(count: int) -> None:
                # Few enough for one request.
                for _ in range(0, count, 500):
                    machine.ask("children 500")
                # init and the app are all that is left, dead processes included.
                machine.until("an end of the orphans", lambda: len(machine.ask("processes").splitlines()) == 2)

            def figures_now() -> list[dict[str, int]]:
                words = machine.ask("figures").split()
                return [{name: int(value) for name, value in zip(words[::2], words[1::2])}]

            have(children // 10)
            # Of threads that have no work one stays for some seconds.
            machine.asked("figures", r"threads 2$")
            early = figures_now()
            have(children - children // 10)
            machine.asked("figures", r"threads 2$")
            constant(early, figures_now())
        machine.powered_off()
      '';
    };
in
test "soak" {
  renewals = 80;
  warm = 20;
  children = 5000;
  seconds = 900;
}
// {
  long = test "soak-long" {
    renewals = 2000;
    warm = 200;
    children = 100000;
    seconds = 14400;
  };
}
