# However the app ends by itself, the cause is logged and the machine starts again; nothing it leaves behind stays.
{ mkTest, probeImage }:
mkTest {
  name = "app-endings";
  constants.ISO = probeImage.isoFile;
  script = ''
    disk = btrfs("disk", "tinyboot")
    machine = Guest("machine", ISO, disks=[disk])
    machine.start(allow_reboot=True)
    machine.ready()
    t.assertEqual(machine.ask("count /persistent/boots"), "1")

    with subtest("processes that lost their parent are reaped"):
        machine.ask("orphans 3")
        machine.asked("processes", r"^\d+ 1 S probe$")
        # init and the app are all that is left.
        machine.until("an end of the orphans", lambda: len(machine.ask("processes").splitlines()) == 2)

    endings = {
        "0": "exited with status 0",
        "3": "exited with status 3",
        "panic": "exited with status 101",
        "segfault": "killed by SIGSEGV",
        "kill": "killed by SIGKILL",
    }
    pauses = []
    for boots, (way, cause) in enumerate(endings.items(), start=2):
        with subtest(f"an app that is {cause}"):
            machine.tell(f"end {way}")
            ended = machine.wait(rf"\[ *([\d.]+)\] tinyboot: app: {cause}")
            rebooting = machine.wait(rf"\[ *([\d.]+)\] tinyboot: shutdown: the app (was )?{cause}: rebooting")
            pauses.append(float(rebooting[1]) - float(ended[1]))
            machine.wait(r"tinyboot: shutdown: /persistent unmounted")
            machine.wait(r"tinyboot: shutdown: reboot")
            machine.ready()
            t.assertEqual(machine.ask("count /persistent/boots"), str(boots))

    with subtest("an app that fails at every boot makes the boots no hot loop"):
        t.assertGreater(pauses[-1], 2 * pauses[0], f"the pauses before the reboots were {pauses} s")

    machine.powered_off()
  '';
}
