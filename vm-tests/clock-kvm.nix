# Under KVM the machine takes the host's clock and asks no server. Builders without KVM, or whose own clock source does not
# serve it, have no such device: the machine then asks the server.
{ mkTest, probeImage }:
mkTest {
  name = "clock-kvm";
  constants.ISO = probeImage.isoFile;
  script = ''
    peer = Peer()
    peer.serve_time()
    # The RTC is in the past, and the server's time is the host's too.
    machine = Guest("machine", ISO, nics=[peer.wire()], arguments=["-rtc base=2001-01-01T00:00:00"])
    machine.start()
    machine.ready()
    clocks = machine.ask("ls /sys/class/ptp").split()
    names = [machine.ask(f"cat /sys/class/ptp/{clock}/clock_name").strip() for clock in clocks]
    if "KVM virtual PTP" in names:
        source, by = "ptp kvm", r"the hypervisor's clock \(ptp kvm\)"
        t.assertEqual(accelerator(), "kvm")
    else:
        source, by = "ntp 10.0.0.1", r"10\.0\.0\.1"
        print(f"There is no clock of KVM here: accelerator {accelerator()}, clocks {names}.")
    with subtest(f"the clock is set by {source}"):
        machine.says(rf"tinyboot: clock: set to \S+, \S+ s ahead of what it was, by {by}")
        machine.asked("cat /run/tinyboot/status.json", rf'"source": ?"{source}"')
        t.assertLess(abs(int(machine.ask("time")) - time.time()), 30)
    with subtest("and by nothing else"):
        t.assertEqual(len(machine.said("tinyboot: clock: set to .* by ")), 1)
    machine.powered_off()
  '';
}
