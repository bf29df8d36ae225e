# Links that no DHCP server configures: by the settings, by the kernel's own parameter `ip=`, and by IPv6 router
# advertisements alone. The app does not wait for a server that is not there.
{ mkTest, mkProbeImage }:
mkTest {
  name = "network-without-dhcp";
  constants.ISO =
    (mkProbeImage {
      name = "without-dhcp";
      kernelParams = [ "ip=10.1.0.5::10.1.0.1:255.255.255.0:kiosk:eth1:off:10.1.0.53" ];
      settings.network = {
        # The app would wait so long for a link that nothing configures.
        deadline = 3600;
        links.eth0 = {
          addresses = [
            "10.0.0.5/24"
            "2001:db8:5::5/64"
          ];
          gateways = [ "10.0.0.1" ];
          dns = [ "10.0.0.53" ];
          search = [ "example.test" ];
        };
      };
    }).isoFile;
  script = ''
    import json

    peer = Peer(wires=3)
    peer.run("mkdir /www; echo from the peer > /www/page; httpd -p 80 -h /www")
    peer.run("ip -6 address add 2001:db8:2::1/64 dev eth2")
    peer.run(
        "dnsmasq --user=root --group=root --no-resolv --no-hosts --port=0 --pid-file=/run/dnsmasq --interface=eth2"
        " --bind-dynamic --enable-ra --dhcp-range=2001:db8:2::,ra-only,64,1h --dhcp-leasefile=/tmp/leases"
        " --dhcp-option=option6:dns-server,[2001:db8:2::53] --dhcp-option=option6:domain-search,v6.test"
    )
    machine = Guest("machine", ISO, nics=[peer.wire(0), peer.wire(1), peer.wire(2)])
    machine.start()
    machine.ready()
    status = json.loads(machine.ask("cat /run/tinyboot/status.json"))
    links = {link["name"]: link for link in status["links"]}

    with subtest("the app started although no link has a server, and each is configured"):
        for name, state in [("eth0", "STATIC"), ("eth1", "STATIC"), ("eth2", "SELECTING")]:
            t.assertTrue(links[name]["configured"], links[name])
            t.assertEqual((links[name]["state"], links[name]["lease"]), (state, None))

    with subtest("addresses and routes of the settings and of the kernel command line"):
        t.assertTrue(machine.said(r"tinyboot: net: eth0: STATIC 10\.0\.0\.5/24 2001:db8:5::5/64, router 10\.0\.0\.1"))
        t.assertRegex(machine.ask("addresses"), r"(?m)^eth0 10\.0\.0\.5/24$")
        t.assertRegex(machine.ask("addresses"), r"(?m)^eth1 10\.1\.0\.5/24$")
        routes = machine.ask("routes")
        t.assertRegex(routes, r"(?m)^eth0 0\.0\.0\.0/0 via 10\.0\.0\.1 ")
        t.assertRegex(routes, r"(?m)^eth1 0\.0\.0\.0/0 via 10\.1\.0\.1 ")
        for number in range(2):
            t.assertEqual(machine.ask(f"get http://10.{number}.0.1/page"), "from the peer\n")
        t.assertEqual(machine.ask("cat /proc/sys/kernel/hostname"), "kiosk\n")

    with subtest("an address by router advertisement, which can be reached"):
        [address] = [it for it in links["eth2"]["addresses"] if it["source"] == "routerAdvertisement"]
        t.assertTrue(address["address"].startswith("2001:db8:2:"), address)
        t.assertIn("1 packets received", peer.run(f"ping6 -c 1 -W 30 {address['address']}"))

    with subtest("resolvers of all, each with its source"):
        machine.asked("cat /etc/resolv.conf", r"^nameserver 2001:db8:2::53$")
        machine.asked("cat /etc/resolv.conf", r"^search example\.test v6\.test$")
        servers = json.loads(machine.ask("cat /run/tinyboot/status.json"))["dns"]["servers"]
        t.assertEqual(
            [(it["address"], it["link"], it["source"]) for it in servers],
            [
                ("10.0.0.53", "eth0", "settings"),
                ("10.1.0.53", "eth1", "commandLine"),
                ("2001:db8:2::53", "eth2", "routerAdvertisement"),
            ],
        )

    machine.powered_off()
  '';
}
