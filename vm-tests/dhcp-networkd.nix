# systemd-networkd as the DHCP server: a rapid commit, all that it says, renewals, and the carrier's return.
{
  mkTest,
  probeImage,
  peer,
  systemd,
}:
mkTest {
  name = "dhcp-networkd";
  constants = {
    ISO = probeImage.isoFile;
    PEER_INITRAMFS = (peer.override { extraPackages = [ systemd ]; }).initramfs;
    NETWORKD = "${systemd}/lib/systemd/systemd-networkd";
  };
  script = ''
    peer = Peer(memory=1536)
    peer.run("ip address flush dev eth0")
    # The user that it becomes. It waits for udev unless /sys cannot be written, as in a container, and for a disk with its
    # leases unless it is to keep none.
    peer.run("echo systemd-network:x:998:998::/:/bin/sh >> /etc/passwd; echo systemd-network:x:998: >> /etc/group")
    peer.run("mount -o remount,ro /sys; mkdir -p /run/systemd/network")
    lines = [
        "[Match]", "Name=eth0",
        "[Network]", "Address=10.0.0.1/24", "DHCPServer=yes", "IPv6AcceptRA=no",
        "[DHCPServer]", "PersistLeases=no", "PoolOffset=50", "PoolSize=10", "DefaultLeaseTimeSec=20", "MaxLeaseTimeSec=20",
        "EmitDNS=yes", "DNS=10.0.0.53", "EmitNTP=yes", "NTP=10.0.0.54", "EmitRouter=yes", "RapidCommit=yes",
    ]
    for line in lines:
        peer.run(f"echo '{line}' >> /run/systemd/network/eth0.network")
    peer.run(f"{NETWORKD} > /tmp/log 2>&1 & true")

    machine = Guest("machine", ISO, nics=[peer.wire()])
    machine.start()
    try:
        address = machine.wait(r"tinyboot: net: eth0: BOUND to (10\.0\.0\.5\d)/24 from 10\.0\.0\.1 for 20 s", BOOT)[1]
    except AssertionError:
        print(peer.run("cat /tmp/log"))
        raise
    machine.ready()

    with subtest("what systemd-networkd says is what the machine has"):
        t.assertIn(f"eth0 {address}/24\n", machine.ask("addresses"))
        t.assertRegex(machine.ask("routes"), r"(?m)^eth0 0\.0\.0\.0/0 via 10\.0\.0\.1 ")
        t.assertIn("nameserver 10.0.0.53\n", machine.ask("cat /etc/resolv.conf"))
        t.assertIn("10.0.0.54", machine.ask("cat /run/tinyboot/status.json"))

    with subtest("it renews"):
        for _ in range(2):
            machine.wait(rf"tinyboot: net: eth0: renewed {address}/24 from 10\.0\.0\.1 for 20 s")

    with subtest("the carrier's return verifies the lease"):
        machine.monitor("set_link nic0 off")
        machine.wait("tinyboot: net: eth0: carrier is down")
        machine.monitor("set_link nic0 on")
        machine.wait(rf"tinyboot: net: eth0: (BOUND to|renewed) {address}/24 from 10\.0\.0\.1")
        t.assertFalse(machine.said("lease of .* expired"))

    machine.powered_off()
  '';
}
