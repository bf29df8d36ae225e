# Of three NTP servers one lies, and DHCP names it first: the two others outvote it, and the log names it.
{ mkTest, probeImage }:
mkTest {
  name = "clock-falseticker";
  constants.ISO = probeImage.isoFile;
  script = ''
    def serve_time(peer: Peer, *addresses: str) -> None:
        """An NTP server that has the peer's own clock at each of the addresses, the first of which is there already."""
        peer.run("mkdir -p /var/lib/chrony /run/chrony")
        for number, address in enumerate(addresses):
            if number:
                peer.run(f"ip address add {address}/24 dev eth0")
            lines = ["local stratum 5", "allow all", "cmdport 0", f"bindaddress {address}", f"pidfile /run/chrony/{address}"]
            for line in lines:
                peer.run(f"echo '{line}' >> /etc/{address}.conf")
            peer.run(f"chronyd -x -u root -f /etc/{address}.conf")


    # Both in the future, so that nothing but a server can have told it.
    honest = Peer(arguments=["-rtc base=2031-05-05T12:00:00"], name="honest")
    serve_time(honest, "10.0.0.1", "10.0.0.2")
    liar = Peer(arguments=["-rtc base=2032-05-05T12:00:00"], name="liar")
    liar.run("ip address del 10.0.0.1/24 dev eth0; ip address add 10.7.0.1/24 dev eth0")
    serve_time(liar, "10.7.0.1")
    dnsmasq = (
        "dnsmasq --user=root --group=root --no-resolv --no-hosts --no-ping --port=0 --dhcp-leasefile=/tmp/leases"
        " --dhcp-authoritative --dhcp-option=option:router"
    )
    liar.run(f"{dnsmasq} --dhcp-range=10.7.0.50,10.7.0.60,1h")
    honest.run(
        f"{dnsmasq} --dhcp-range=10.0.0.50,10.0.0.60,1h --dhcp-option=option:ntp-server,10.7.0.1,10.0.0.1,10.0.0.2"
    )

    # Under KVM no server would be asked.
    machine = Guest("machine", ISO, nics=[honest.wire(), liar.wire()], accel="tcg")
    machine.start()
    machine.ready()

    with subtest("the clock is what the two say"):
        machine.says(r"tinyboot: clock: set to 2031-05-05T\S+, \S+ s ahead of what it was, by 10\.0\.0\.[12]")
        marked = re.search(r"time-(\d+)", honest.run("echo time-$(date +%s)"))
        assert marked
        t.assertLess(abs(int(machine.ask("time")) - int(marked[1])), 10)
        t.assertRegex(machine.ask("cat /run/tinyboot/status.json"), r'"source": ?"ntp 10\.0\.0\.[12]"')

    with subtest("the third is named"):
        # The machine did not wait for it at first, or its link had no address yet. All of them are asked again after 16 s.
        machine.says(r"tinyboot: clock: 10\.7\.0\.1 is 316\d{5}\.\d+ s ahead of the 2 servers that agree; it is not believed")
        t.assertEqual(machine.said(r"clock: set to 2032"), [])

    machine.powered_off()
  '';
}
