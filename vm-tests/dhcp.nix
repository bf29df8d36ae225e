# A link is configured by a real DHCP server: address, route, name servers, MTU, host name; and a server is reached by
# its name.
{ mkTest, probeImage }:
mkTest {
  name = "dhcp";
  constants.ISO = probeImage.isoFile;
  script = ''
    peer = Peer()
    peer.run("mkdir /www; echo from the peer > /www/page; httpd -p 80 -h /www")
    options = [
        "--user=root --group=root --no-resolv --no-hosts --no-ping --pid-file=/run/dnsmasq",
        "--dhcp-range=10.0.0.50,10.0.0.60,1h --dhcp-leasefile=/tmp/leases --dhcp-authoritative",
        "--dhcp-host=52:54:00:00:00:01,10.0.0.77,guest",
        "--domain=example.test --address=/server.example.test/10.0.0.1",
        "--dhcp-option=option:router,10.0.0.1 --dhcp-option=option:mtu,1400",
    ]
    peer.run(f"dnsmasq {' '.join(options)}")

    machine = Guest("machine", ISO, nics=[peer.wire()])
    machine.start()
    machine.wait(r"tinyboot: net: eth0: carrier is up", BOOT)
    machine.wait(
        r"tinyboot: net: eth0: BOUND to 10\.0\.0\.77/24 from 10\.0\.0\.1 for 3600 s, router 10\.0\.0\.1, DNS 10\.0\.0\.1"
    )
    # The app starts after that, and finds all of it in place.
    machine.ready()
    with subtest("address, route, MTU, host name, resolver"):
        t.assertIn("eth0 10.0.0.77/24\n", machine.ask("addresses"))
        routes = machine.ask("routes")
        t.assertRegex(routes, r"(?m)^eth0 0\.0\.0\.0/0 via 10\.0\.0\.1 ")
        t.assertRegex(routes, r"(?m)^eth0 10\.0\.0\.0/24 via 0\.0\.0\.0 ")
        t.assertEqual(machine.ask("cat /sys/class/net/eth0/mtu"), "1400\n")
        t.assertEqual(machine.ask("cat /proc/sys/kernel/hostname"), "guest\n")
        resolver = machine.ask("cat /etc/resolv.conf")
        t.assertRegex(resolver, r"(?m)^nameserver 10\.0\.0\.1$")
        t.assertRegex(resolver, r"(?m)^(search|domain) example\.test$")

    with subtest("a server by its name"):
        t.assertEqual(machine.ask("resolve server.example.test"), "10.0.0.1")
        t.assertEqual(machine.ask("get http://server.example.test/page"), "from the peer\n")
        # By the search domain.
        t.assertEqual(machine.ask("resolve server"), "10.0.0.1")

    with subtest("a lease without a router on the other link changes none of it"):
        t.assertRegex(machine.ask("addresses"), r"(?m)^eth1 10\.99\.0\.15/24$")
        t.assertNotRegex(machine.ask("routes"), r"(?m)^eth1 0\.0\.0\.0/0 ")

    with subtest("the app reads it in the status"):
        status = machine.ask("cat /run/tinyboot/status.json")
        t.assertRegex(status, r'"address": ?"10\.0\.0\.77"')
        t.assertRegex(status, r'"mtu": ?1400')

    machine.powered_off()
  '';
}
