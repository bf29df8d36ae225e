# A machine whose RTC stands in 2001 gets the right time from the NTP server that DHCP names.
{ mkTest, probeImage }:
mkTest {
  name = "clock";
  constants = {
    ISO = probeImage.isoFile;
    FLOOR = toString probeImage.settings.clock.floor;
  };
  script = ''
    # In the future, so that nothing but the server can have told it.
    peer = Peer(arguments=["-rtc base=2031-05-05T12:00:00"])
    peer.run("echo 'local stratum 5' > /etc/chrony.conf; echo 'allow all' >> /etc/chrony.conf")
    peer.run("echo 'cmdport 0' >> /etc/chrony.conf; mkdir -p /var/lib/chrony /run/chrony")
    peer.run("chronyd -x -u root -f /etc/chrony.conf")
    peer.run(
        "dnsmasq --user=root --group=root --no-resolv --no-hosts --port=0 --dhcp-range=10.0.0.50,10.0.0.60,1h"
        " --dhcp-leasefile=/tmp/leases --dhcp-authoritative --dhcp-option=option:ntp-server,10.0.0.1"
    )
    machine = Guest("machine", ISO, nics=[peer.wire()], arguments=["-rtc base=2001-01-01T00:00:00"])
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
    t.assertGreater(int(machine.ask("time")), int(FLOOR))
    machine.powered_off()
  '';
}
