# From the app's start on the kernel takes no module, so that a device that comes then has a driver only if that is built in
# or the image asks for hot-plugging; and the kernel's switches are set.
{ mkTest, mkProbeImage }:
let
  iso =
    name: settings:
    (mkProbeImage {
      inherit name settings;
      hardware = [ "e1000e" ];
    }).isoFile;
in
mkTest {
  name = "hot-plug";
  constants = {
    SEALED = iso "sealed" { };
    OPEN = iso "open" { drivers.hotPlug = true; };
  };
  script = ''
    def machine(name: str, iso: str) -> Guest:
        port = "-device pcie-root-port,id=spare,chassis=1"
        guest = Guest(name, iso, arguments=[port, "-netdev user,id=late,restrict=on,net=10.98.0.0/24"])
        guest.start()
        guest.ready()
        return guest

    def plug(guest: Guest) -> None:
        answer = guest.monitor("device_add e1000e,netdev=late,bus=spare,romfile=")
        t.assertNotIn("Error", answer)

    with subtest("the switches of the kernel"):
        sealed = machine("sealed", SEALED)
        for name, value in {
            "kernel/kptr_restrict": "2",
            "kernel/dmesg_restrict": "1",
            "kernel/randomize_va_space": "2",
            "fs/protected_symlinks": "1",
            "fs/protected_hardlinks": "1",
            "fs/protected_fifos": "1",
            "fs/protected_regular": "1",
            "dev/tty/ldisc_autoload": "0",
            "kernel/modules_disabled": "1",
        }.items():
            t.assertEqual(sealed.ask(f"cat /proc/sys/{name}").strip(), value, name)

    with subtest("a card that comes after the app's start has no driver"):
        plug(sealed)
        sealed.says("tinyboot: drivers: e1000e is not loaded for a device that came after the app's start; the setting drivers.hotPlug allows it")
        t.assertNotIn("e1000e", sealed.ask("cat /proc/modules"))
        t.assertNotIn("10.98.0.15", sealed.ask("addresses"))
        sealed.powered_off()

    with subtest("with hot-plugging it has one, and an address"):
        opened = machine("open", OPEN)
        t.assertEqual(opened.ask("cat /proc/sys/kernel/modules_disabled").strip(), "0")
        plug(opened)
        opened.says("tinyboot: drivers: loaded e1000e")
        opened.asked("addresses", r"10\.98\.0\.15/24")
        opened.powered_off()
  '';
}
