# DHCPv6 as the routers ask for it: an address and settings on one link, settings beside the routers' addresses on another, and
# nothing on a third. None has IPv4.
{ mkTest, mkProbeImage }:
mkTest {
  name = "dhcp6";
  constants.ISO =
    (mkProbeImage {
      name = "dhcp6";
      # The app would wait so long for a link that nothing configures.
      settings.network.deadline = 3600;
    }).isoFile;
  script = ''
    import json

    peer = Peer(wires=3)
    for number in range(3):
        peer.run(f"ip -6 address add 2001:db8:{number}::1/64 dev eth{number}")
    peer.run(
        "dnsmasq --user=root --group=root --no-resolv --no-hosts --port=0 --pid-file=/run/dnsmasq"
        " --bind-dynamic --enable-ra --dhcp-leasefile=/tmp/leases"
        " --dhcp-range=2001:db8:0::100,2001:db8:0::1ff,64,120"
        " --dhcp-range=2001:db8:1::,ra-stateless,64,1h"
        " --dhcp-range=2001:db8:2::,ra-only,64,1h"
        " --dhcp-option=option6:dns-server,[2001:db8::53] --dhcp-option=option6:domain-search,v6.test"
        " --dhcp-option=option6:ntp-server,[2001:db8:0::1]"
    )
    machine = Guest("machine", ISO, nics=[peer.wire(0), peer.wire(1), peer.wire(2)])
    machine.start()
    machine.ready()

    def links() -> dict[str, typing.Any]:
        status = json.loads(machine.ask("cat /run/tinyboot/status.json"))
        return {link["name"]: link for link in status["links"]}

    with subtest("each link is configured without IPv4"):
        machine.until("settings on both", lambda: all(links()[name]["lease6"] for name in ["eth0", "eth1"]))
        for name in ["eth0", "eth1", "eth2"]:
            link = links()[name]
            t.assertTrue(link["configured"], link)
            t.assertEqual((link["state"], link["lease"]), ("SELECTING", None))

    with subtest("a managed link has an address of the server's, for its time"):
        link = links()["eth0"]
        lease = link["lease6"]
        t.assertRegex(lease["address"], r"^2001:db8::1[0-9a-f]{2}$")
        t.assertEqual(
            (lease["seconds"], lease["dns"], lease["search"], lease["ntp"]),
            (120, ["2001:db8::53"], ["v6.test"], ["2001:db8::1"]),
        )
        t.assertEqual(
            link["addresses"], [{"address": lease["address"], "prefix": 128, "source": "dhcp6"}]
        )
        t.assertTrue(machine.said(rf"tinyboot: net: eth0: DHCPv6 {lease['address']} for 120 s, DNS 2001:db8::53"))
        t.assertIn("1 packets received", peer.run(f"ping6 -c 1 -W 30 {lease['address']}"))

    with subtest("another link has its routers' address, and the server's settings"):
        link = links()["eth1"]
        t.assertEqual((link["lease6"]["address"], link["lease6"]["dns"]), (None, ["2001:db8::53"]))
        t.assertEqual([it["source"] for it in link["addresses"]], ["routerAdvertisement"])

    with subtest("each message went out the first time"):
        t.assertEqual(machine.said("no DHCPv6 message could be sent"), [])

    with subtest("where no router wants it nothing was asked, and no port is held"):
        t.assertEqual(links()["eth2"]["lease6"], None)
        # One for each of the two links whose routers want it.
        t.assertEqual(len(re.findall(r":0222 ", machine.ask("cat /proc/net/udp6"))), 2)

    with subtest("the address is renewed at half of its time"):
        machine.wait(r"tinyboot: net: eth0: DHCPv6 renewed 2001:db8::1[0-9a-f]{2} for 120 s", BOOT)

    machine.powered_off()
  '';
}
