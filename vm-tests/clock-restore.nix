# A machine that goes on from a snapshot has the right time and a verified lease at once, by the new generation id that the
# hypervisor gives it, and its program is told.
{ mkTest, probeImage }:
mkTest {
  name = "clock-restore";
  constants.ISO = probeImage.isoFile;
  script = ''
    import json

    peer = Peer(arguments=["-rtc base=2031-05-05T12:00:00"])
    peer.serve_time()
    snapshot = os.path.abspath("snapshot")
    # A new one for each process.
    generation = "-device vmgenid,guid=auto"

    def resumes(machine: Guest) -> typing.Any:
        told = json.loads(machine.ask("cat /run/tinyboot/status.json"))["machine"]
        return told["resumes"], told["restores"]

    # Under KVM the host would tell the time.
    first = Guest("first", ISO, nics=[peer.wire()], accel="tcg", arguments=[generation])
    first.start()
    first.ready()
    first.says(r"tinyboot: clock: set to 2031-05-05T\S+, \S+ s ahead of what it was, by 10\.0\.0\.1")
    t.assertEqual(resumes(first), (0, 0))
    # Ahead of the host's monotonic one, in seconds: what must not change.
    before = int(first.ask("time")) - time.monotonic()
    first.monitor("stop")
    first.monitor(f"migrate -d file:{snapshot}")
    first.until("a snapshot", lambda: re.search(r"[Ss]tatus:\s+completed", first.monitor("info migrate")), BOOT)
    first.crash()
    began = time.monotonic()
    # That is what a snapshot is: time passes outside.
    retry(lambda _last: time.monotonic() - began > 20)

    second = Guest("second", ISO, nics=[peer.wire()], accel="tcg", arguments=[generation, f"-incoming file:{snapshot}"])
    second.start()
    # It was stopped when it was saved. While it is being read, QEMU would forget that it shall go on.
    second.until("the snapshot read", lambda: re.search(r"VM status: paused(?! \()", second.monitor("info status")), BOOT)
    second.monitor("cont")
    second.says(r"tinyboot: clock: this machine goes on from a snapshot; the time is asked for and leases are verified")
    second.says(r"tinyboot: clock: set to 2031-05-05T\S+, \S+ s ahead of what it was, by 10\.0\.0\.1")
    second.says(r"tinyboot: net: eth0: renewed 10\.0\.0\.\d+/24 from 10\.0\.0\.1")
    t.assertLess(abs(int(second.ask("time")) - time.monotonic() - before), 4)
    t.assertEqual(resumes(second), (1, 1))

    def at(regex: str) -> float:
        """The seconds since boot of the last such line."""
        lines = [line for line in second.ask("cat /run/tinyboot/log").splitlines() if re.search(regex, line)]
        return float(lines[-1][1:].split("]")[0])

    restored = at(r"kernel: random: crng reseeded due to virtual machine fork")
    t.assertLess(at(r"clock: set to .* by 10\.0\.0\.1") - restored, 30)
    t.assertLess(at(r"net: eth0: renewed") - restored, 30)
    second.powered_off()
  '';
}
