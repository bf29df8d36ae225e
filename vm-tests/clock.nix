# A machine whose RTC stands in 2001 gets the right time from the NTP server that DHCP names, and without the server
# it is not earlier at its next boot.
{ mkTest, probeImage }:
mkTest {
  name = "clock";
  constants.ISO = probeImage.isoFile;
  script = ''
    # In the future, so that nothing but the server can have told it.
    peer = Peer(arguments=["-rtc base=2031-05-05T12:00:00"])
    peer.serve_time()
    disk = btrfs("disk", "tinyboot")
    # Under KVM the host would tell the time, and no server would be asked.
    rtc = ["-rtc base=2001-01-01T00:00:00"]
    machine = Guest("machine", ISO, disks=[disk], nics=[peer.wire()], accel="tcg", arguments=rtc)
    machine.start()
    machine.ready()
    machine.says(r"tinyboot: clock: the RTC says 2001-01-01T\S+, before the image's floor; set to 20")
    machine.says(r"tinyboot: clock: set to 2031-05-05T\S+, \S+ s ahead of what it was, by 10\.0\.0\.1")

    def difference() -> float:
        """How far the machine is ahead of the peer, in seconds, as asked one after the other."""
        marked = re.search(r"time-(\d+)", peer.run("echo time-$(date +%s)"))
        assert marked
        return int(machine.ask("time")) - int(marked[1])

    t.assertLess(abs(difference()), 10)
    machine.powered_off()

    with subtest("without the server"):
        again = Guest("again", ISO, disks=[disk], accel="tcg", arguments=rtc)
        again.start()
        again.ready()
        again.says(r"tinyboot: clock: .*, before the time saved on /persistent; set to 2031-05-05T12:")
        # 2031-05-05, 12:00 UTC.
        t.assertGreaterEqual(int(again.ask("time")), 1935748800)
        again.powered_off()
  '';
}
