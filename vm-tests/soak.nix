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
        # What the kernel's count of a process' memory is exact to, in KiB for each CPU: 32 pages of either kind.
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

        Figures = dict[str, int]

        def note(text: str) -> None:
            machine.machine.log(text)

        def read(text: str) -> Figures:
            """What the probe says of init."""
            words = text.split()
            return {name: int(value) for name, value in zip(words[::2], words[1::2])}

        def constant(early: list[Figures], late: list[Figures], cpus: int) -> None:
            """What a moment needs comes and goes; what stays is in the least figure of many."""

            def least(figures: list[Figures], name: str) -> int:
                return min(one[name] for one in figures)

            for name in ("fds", "threads", "rss", "anon"):
                most = max(one[name] for one in early + late)
                note(f"{name}: {least(early, name)} at first, {least(late, name)} at last, {most} at most")
            for name in ("fds", "threads"):
                # The first seconds have sockets that look for the address's other users.
                t.assertLessEqual(least(late, name), least(early, name), f"the {name} of init grow")
            for name in ("rss", "anon"):
                t.assertLessEqual(least(late, name) - least(early, name), cpus * EXACT, f"the {name} of init grows, in KiB")

        # The one goes on by itself while the other one is busy.
        machine = Guest("machine", RESTART, nics=[peer.wire()], control=False)
        machine.start()
        machine.wait("tinyboot: net: eth0: BOUND to 10.0.0.[0-9]+/24 from 10.0.0.1 for 2 s", BOOT)
        # With two processors processes end while init is busy with others, and one signal stands for several.
        other = Guest("orphans", ORPHANS, arguments=["-smp 2"])
        other.start()
        other.ready()

        with subtest(f"{children} orphans are reaped while the app waits for {children} children of its own"):

            def have(count: int) -> list[Figures]:
                """The same number of children and orphans; init's figures afterwards."""
                # Few enough for one request.
                for _ in range(0, count, 250):
                    other.ask("children 250")
                # init and the app are all that is left, dead processes included.
                other.until("an end of the orphans", lambda: len(other.ask("processes").splitlines()) == 2)
                return [read(other.ask("figures")) for _ in range(3)]

            constant(have(children // 10), have(children - children // 10), cpus=2)
            t.assertEqual(len(other.said("tinyboot: app: started")), 1)
            t.assertEqual(other.said("tinyboot: .*(cannot|failed|panic)"), [])
        other.powered_off()

        with subtest(f"{renewals} renewals and {renewals} starts of the app cost nothing that stays"):

            def figures() -> list[Figures]:
                return [read(line.split("figures: ")[1]) for line in machine.said("app: probe: figures: rss")]

            def renewed() -> list[str]:
                return machine.said("tinyboot: net: eth0: renewed 10.0.0.[0-9]+/24")

            # Neither is faster than once a second.
            machine.until(f"{renewals} starts", lambda: len(figures()) >= renewals, BOOT + 5 * renewals)
            machine.until(f"{renewals} renewals", lambda: len(renewed()) >= renewals, BOOT + 3 * renewals)
            starts = figures()
            expired = machine.said("tinyboot: net: eth0: lease of .* expired")
            note(f"{len(renewed())} renewals, {len(starts)} starts; {len(expired)} leases expired, since 2 s are short for a busy host")
            constant(starts[warm : 2 * warm], starts[-warm:], cpus=1)
            t.assertEqual(machine.said("tinyboot: .*(cannot|failed|panic|lost)"), [])
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
