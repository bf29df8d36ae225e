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
        "abort": "killed by SIGABRT",
        "kill": "killed by SIGKILL",
    }
    for boots, (way, cause) in enumerate(endings.items(), start=2):
        with subtest(f"an app that is {cause}"):
            machine.tell(f"end {way}")
            machine.wait(f"tinyboot: app: {cause}")
            machine.wait(f"tinyboot: shutdown: the app .*{cause.removeprefix('exited ')}: rebooting")
            machine.wait(r"tinyboot: shutdown: /persistent unmounted")
            machine.wait(r"tinyboot: shutdown: reboot")
            machine.ready()
            t.assertEqual(machine.ask("count /persistent/boots"), str(boots))

    machine.powered_off()
  '';
}
