# A machine that was paused has the right time again, by the NTP server, and without one by the RTC; and its lease is verified.
{ mkTest, probeImage }:
mkTest {
  name = "clock-pause";
  constants.ISO = probeImage.isoFile;
  script = ''
    peer = Peer(arguments=["-rtc base=2031-05-05T12:00:00"])
    peer.serve_time()
    # Under KVM the host would tell the time, and the guest's clock would go on in a pause.
    served = Guest("served", ISO, nics=[peer.wire()], accel="tcg")
    alone = Guest("alone", ISO, accel="tcg", arguments=["-rtc base=2033-05-05T12:00:00"])
    both = [served, alone]
    for machine in both:
        machine.start()
    for machine in both:
        machine.ready()
    served.says(r"tinyboot: clock: set to 2031-05-05T\S+, \S+ s ahead of what it was, by 10\.0\.0\.1")


    def clock(machine: Guest) -> float:
        """How far the machine's clock is ahead of the host's monotonic one, in seconds: what must not change."""
        return int(machine.ask("time")) - time.monotonic()


    # The kernel writes the RTC as well, every 2 s until it does so within 20 ms of the right moment: a pause just before
    # that is lost.
    synchronised = int(served.ask("time"))
    served.until("20 s for the kernel's write", lambda: int(served.ask("time")) - synchronised >= 20)
    before = [clock(machine) for machine in both]
    for machine in both:
        machine.monitor("stop")
    began = time.monotonic()
    # That is what a pause is: time that passes outside.
    served.until("a pause of 20 s", lambda: time.monotonic() - began > 20)
    for machine in both:
        machine.monitor("cont")
    # The machine looks every 64 s, and asks twice.
    resumed = 240

    with subtest("a server tells the time after a pause"):
        served.says(r"tinyboot: clock: the RTC went \d+ s ahead: this machine was paused", resumed)
        served.says(r"tinyboot: clock: set to 2031-05-05T\S+, [12]\d\.\d+ s ahead of what it was, by 10\.0\.0\.1", resumed)
        t.assertLess(abs(clock(served) - before[0]), 4)
        served.says(r"tinyboot: net: eth0: renewed 10\.0\.0\.\d+/24 from 10\.0\.0\.1")

    with subtest("without a server the RTC does"):
        alone.says(r"tinyboot: clock: set to 2033-05-05T\S+, [12]\d\.\d+ s ahead of what it was, by the RTC", resumed)
        t.assertLess(abs(clock(alone) - before[1]), 4)

    with subtest("once"):
        for machine in both:
            t.assertEqual(len(machine.said(r"clock: the RTC went")), 1)
        served.powered_off()
        alone.powered_off()
  '';
}
