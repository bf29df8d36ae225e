# One image, several machines: what fw_cfg, SMBIOS and the kernel's command line say replaces the image's settings, in this
# order; what is wrong is named and changes nothing; credentials are files that the app alone can read.
{
  mkTest,
  mkProbeImage,
  formsImage,
}:
let
  image = mkProbeImage {
    name = "settings";
    settings = {
      app.gracePeriod = 9;
      network.deadline = 8;
    };
  };
  closed = mkProbeImage {
    name = "closed";
    settings.app.gracePeriod = 9;
    settings.control.machineSettings = false;
  };
in
mkTest {
  name = "machine-settings";
  constants = {
    ISO = image.isoFile;
    CLOSED = closed.isoFile;
    NETBOOT = formsImage.netboot;
  };
  script = ''
    def fw_cfg(name: str, value: str) -> str:
        return f"-fw_cfg name=opt/io.systemd.credentials/{name},{value}"

    def smbios(text: str) -> str:
        return f"-smbios 'type=11,value={text}'"

    with open("certificate.pem", "w") as file:
        file.write("-----BEGIN CERTIFICATE-----\n" + "MIIB" * 1000 + "\n")
    arguments = [
        fw_cfg("tinyboot.app.gracePeriod", "string=5"),
        fw_cfg("tinyboot.network.hostName", "string=kiosk"),
        fw_cfg("password", "string=first"),
        fw_cfg("certificate", f"file={os.path.abspath('certificate.pem')}"),
        smbios("io.systemd.credential:tinyboot.app.gracePeriod=3"),
        smbios("io.systemd.credential:tinyboot.app.onExit=explode"),
        smbios("io.systemd.credential:tinyboot.app.command=/bin/sh"),
        smbios('io.systemd.credential:tinyboot.settings={"network": {"deadline": 7,, "dead": 1}}'),
        smbios("io.systemd.credential:password=hunter two"),
        smbios("io.systemd.credential.binary:binary=b25lCnR3bw=="),
        smbios("io.systemd.credential:../../app/probe=x"),
        smbios("something else"),
    ]

    with subtest("fw_cfg and SMBIOS"):
        machine = Guest("machine", ISO, arguments=arguments)
        machine.start()
        machine.ready()
        t.assertTrue(machine.said(r"tinyboot: settings: app\.gracePeriod comes from fw_cfg$"))
        t.assertTrue(machine.said(r"tinyboot: settings: app\.gracePeriod comes from SMBIOS$"))
        t.assertTrue(machine.said(r"tinyboot: settings: network\.deadline comes from SMBIOS$"))
        t.assertEqual(machine.ask("cat /proc/sys/kernel/hostname"), "kiosk\n")

    with subtest("what is wrong is named"):
        for sentence in [
            r"app\.onExit, which SMBIOS has, is ignored: unknown variant `explode`",
            r"app\.command, which SMBIOS has, is ignored: it is a matter of the image",
            r"network\.dead, which SMBIOS has, is ignored: unknown field `dead`",
            r"SMBIOS: the credential's name \"\.\./\.\./app/probe\" is not of letters",
        ]:
            t.assertEqual(len(machine.said(f"tinyboot: settings: {sentence}")), 1, sentence)

    with subtest("credentials are files for the app alone"):
        t.assertIn("CREDENTIALS_DIRECTORY=/run/credentials\0", machine.ask("cat /proc/self/environ"))
        t.assertEqual(machine.ask("ls /run/credentials"), "binary\ncertificate\npassword")
        t.assertEqual(machine.ask("cat /run/credentials/password"), "hunter two")
        t.assertEqual(machine.ask("cat /run/credentials/binary"), "one\ntwo")
        with open("certificate.pem") as file:
            t.assertEqual(machine.ask("cat /run/credentials/certificate"), file.read())
        modes = [line.split()[1] for line in machine.ask("tree /run/credentials").splitlines()]
        t.assertEqual(modes, ["40700", "100400", "100400", "100400"])
        t.assertRegex(machine.ask("cat /proc/mounts"), r"(?m)^credentials /run/credentials tmpfs ro,nosuid,nodev,noexec,")
        t.assertIn("Read-only file system", machine.refused("write /run/credentials/password x"))
        t.assertFalse(machine.said("hunter two"))

    with subtest("what was set is what holds"):
        machine.power_button()
        machine.wait(r"tinyboot: shutdown: power button: powering off; the app has 3 s")
        t.assertEqual(machine.ended(), "guest-shutdown")

    with subtest("the kernel's command line has the last word"):
        with open(f"{NETBOOT}/cmdline") as text:
            line = f"{text.read().strip()} tinyboot.app.gracePeriod=2 tinyboot.app.environment.GREETING=\"hello you\""
        line += " tinyboot.control.agent=false tinyboot.storage.deadline=never tinyboot.clock.servers=10.0.0.1,time.example"
        kernel = f"-kernel {NETBOOT}/bzImage -initrd {NETBOOT}/initramfs -append '{line}'"
        port = "-device virtio-serial-pci,id=agent -chardev null,id=agent "
        port += "-device virtserialport,bus=agent.0,chardev=agent,name=org.qemu.guest_agent.0"
        direct = Guest(
            "direct", f"{NETBOOT}/bzImage", firmware="bios", medium="", arguments=[kernel, port, *arguments]
        )
        direct.start()
        direct.ready()
        t.assertTrue(direct.said(r"tinyboot: settings: app\.gracePeriod comes from the command line$"))
        t.assertTrue(direct.said(r"tinyboot: settings: clock\.servers comes from the command line$"))
        wrong = r"storage\.deadline, which the command line has, is ignored: invalid type: string \"never\", expected u32"
        t.assertTrue(direct.said(f"tinyboot: settings: {wrong}"))
        t.assertIn("\0GREETING=hello you\0", "\0" + direct.ask("cat /proc/self/environ"))
        t.assertEqual(direct.ask("cat /run/credentials/password"), "hunter two")
        t.assertFalse(direct.said("tinyboot: agent:"))
        direct.power_button()
        direct.wait(r"tinyboot: shutdown: power button: powering off; the app has 2 s")
        t.assertEqual(direct.ended(), "guest-shutdown")

    with subtest("an image that takes nothing from outside"):
        deaf = Guest("deaf", CLOSED, arguments=arguments)
        deaf.start()
        deaf.ready()
        t.assertFalse(deaf.said("tinyboot: settings:"))
        t.assertNotIn("CREDENTIALS", deaf.ask("cat /proc/self/environ"))
        deaf.power_button()
        deaf.wait(r"tinyboot: shutdown: power button: powering off; the app has 9 s")
        t.assertEqual(deaf.ended(), "guest-shutdown")
  '';
}
