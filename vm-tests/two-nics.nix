# Several links: one without a server holds up neither the app nor the others, two default routes live together, cables
# are pulled and plugged in, and a NIC comes while the machine runs. Two links in one network are no conflict.
{ mkTest, probeImage }:
mkTest {
  name = "two-nics";
  constants.ISO = probeImage.isoFile;
  script = ''
    peer = Peer(wires=2)
    server = "dnsmasq --user=root --group=root --no-resolv --no-hosts --no-ping --port=0 --bind-interfaces --except-interface=lo"

    def serve(number: int) -> None:
        peer.run(
            f"{server} --interface=eth{number} --dhcp-range=10.{number}.0.50,10.{number}.0.60,1h"
            f" --dhcp-leasefile=/tmp/leases{number} --pid-file=/run/dnsmasq{number} --dhcp-authoritative"
        )

    serve(1)
    spare = ["-device pcie-root-port,id=spare,chassis=1"]
    machine = Guest("machine", ISO, nics=[peer.wire(0), peer.wire(1)], arguments=spare)
    machine.start()
    machine.ready()
    with subtest("the app started although eth0 has no server, and eth1 works"):
        t.assertFalse(machine.said("eth0: BOUND"))
        t.assertRegex(machine.ask("addresses"), r"(?m)^eth1 10\.1\.0\.\d+/24$")
        t.assertNotRegex(machine.ask("addresses"), r"(?m)^eth0 ")
        t.assertRegex(machine.ask("routes"), r"(?m)^eth1 0\.0\.0\.0/0 via 10\.1\.0\.1 ")

    with subtest("a second default route has a metric of its own"):
        serve(0)
        machine.wait(r"tinyboot: net: eth0: BOUND to 10\.0\.0\.\d+/24 from 10\.0\.0\.1", BOOT)
        routes = machine.ask("routes")
        metrics = re.findall(r"(?m)^(eth\d) 0\.0\.0\.0/0 via \S+ metric (\d+)$", routes)
        t.assertEqual(sorted(link for link, _ in metrics), ["eth0", "eth1"], routes)
        t.assertEqual(len({metric for _, metric in metrics}), 2, routes)
        peer.run("mkdir /www; echo both > /www/page; httpd -p 80 -h /www")
        for number in range(2):
            t.assertEqual(machine.ask(f"get http://10.{number}.0.1/page"), "both\n")

    with subtest("a cable is pulled and plugged in again"):
        machine.monitor("set_link nic1 off")
        machine.wait(r"tinyboot: net: eth1: carrier is down")
        machine.monitor("set_link nic1 on")
        machine.wait(r"tinyboot: net: eth1: carrier is up")
        machine.wait(r"tinyboot: net: eth1: (renewed|BOUND to) 10\.1\.0\.\d+/24 from 10\.1\.0\.1")
        t.assertEqual(machine.ask("get http://10.1.0.1/page"), "both\n")

    with subtest("a NIC comes late"):
        machine.monitor("netdev_add user,id=late,restrict=on,net=10.98.0.0/24")
        answer = machine.monitor("device_add virtio-net-pci,netdev=late,bus=spare,romfile=")
        t.assertNotIn("Error", answer)
        machine.wait(r"tinyboot: net: eth3: BOUND to 10\.98\.0\.15/24")
        t.assertRegex(machine.ask("addresses"), r"(?m)^eth3 10\.98\.0\.15/24$")

    t.assertEqual(len(machine.said("tinyboot: app: started")), 1)
    machine.powered_off()

    hub = ["-netdev user,id=lan,restrict=on,net=10.97.0.0/24", "-netdev hubport,id=lan0,hubid=0,netdev=lan"]
    pair = Guest("pair", ISO, nics=["hubport,hubid=0"] * 2, arguments=hub)
    pair.start()
    pair.ready()
    with subtest("two NICs in one network keep an address each"):
        for number in range(2):
            pair.says(rf"net: eth{number}: BOUND to 10\.97\.0\.\d+/24", BOOT)

        def uptime() -> float:
            return float(pair.ask("cat /proc/uptime").split()[0])

        # Each looks for other machines that have its address for eight seconds.
        over = uptime() + 10
        pair.until("the end of the probes", lambda: uptime() > over, BOOT)
        t.assertEqual(pair.said("is in use by|was declined"), [])
        for number in range(2):
            t.assertRegex(pair.ask("addresses"), rf"(?m)^eth{number} 10\.97\.0\.\d+/24$")
    pair.powered_off()
  '';
}
