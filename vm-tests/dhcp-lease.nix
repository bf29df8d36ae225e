# A lease's life: renewed again and again, gone at its end when the server is, and back with the server.
{ mkTest, probeImage }:
mkTest {
  name = "dhcp-lease";
  constants.ISO = probeImage.isoFile;
  script = ''
    peer = Peer()
    lines = [
        "interface eth0",
        "start 10.0.0.50",
        "end 10.0.0.60",
        "lease_file /tmp/leases",
        "pidfile /run/udhcpd",
        "min_lease 2",
        "option lease 20",
        "option subnet 255.255.255.0",
        "option router 10.0.0.1",
    ]
    for line in lines:
        peer.run(f"echo {line} >> /etc/udhcpd.conf")
    server = "touch /tmp/leases; udhcpd /etc/udhcpd.conf"
    peer.run(server)

    machine = Guest("machine", ISO, nics=[peer.wire()])
    machine.start()
    address = machine.wait(r"tinyboot: net: eth0: BOUND to (10\.0\.0\.\d+)/24 from 10\.0\.0\.1 for 20 s", BOOT)[1]
    machine.ready()

    with subtest("a lease of 20 s is renewed"):
        for _ in range(3):
            machine.wait(rf"tinyboot: net: eth0: renewed {address}/24 from 10\.0\.0\.1 for 20 s")
        t.assertIn(f"eth0 {address}/24\n", machine.ask("addresses"))
        t.assertRegex(machine.ask("routes"), r"(?m)^eth0 0\.0\.0\.0/0 via 10\.0\.0\.1 ")
        t.assertFalse(machine.said("lease of .* expired"))

    with subtest("without the server the address is gone at the lease's end"):
        peer.run("kill $(cat /run/udhcpd)")
        machine.wait(rf"tinyboot: net: eth0: lease of {address} expired; address removed")
        t.assertNotRegex(machine.ask("addresses"), "(?m)^eth0 ")
        t.assertNotRegex(machine.ask("routes"), "(?m)^eth0 ")

    with subtest("with the server it comes back"):
        peer.run(server)
        machine.wait(r"tinyboot: net: eth0: BOUND to 10\.0\.0\.\d+/24 from 10\.0\.0\.1 for 20 s", BOOT)
        t.assertRegex(machine.ask("addresses"), r"(?m)^eth0 10\.0\.0\.\d+/24$")
        t.assertRegex(machine.ask("routes"), r"(?m)^eth0 0\.0\.0\.0/0 via 10\.0\.0\.1 ")
        machine.wait(r"tinyboot: net: eth0: renewed ")

    with subtest("all that in one life of the app"):
        t.assertEqual(len(machine.said("tinyboot: app: started")), 1)

    machine.powered_off()
  '';
}
