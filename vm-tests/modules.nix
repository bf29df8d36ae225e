# Hardware whose drivers are modules: network over an e1000e, /persistent on NVMe.
{ mkTest, mkProbeImage }:
mkTest {
  name = "modules";
  constants.ISO =
    (mkProbeImage {
      name = "modules";
      hardware = [
        "e1000e"
        "nvme"
      ];
    }).isoFile;
  script = ''
    disk = btrfs("disk", "tinyboot")
    port = free_port()
    arguments = [
        f"-drive if=none,id=nvme,format=raw,file={disk} -device nvme,drive=nvme,serial=tinyboot",
        f"-netdev user,id=wire,restrict=on,net=10.99.0.0/24,hostfwd=tcp:127.0.0.1:{port}-:8080",
        "-device e1000e,netdev=wire,romfile=",
    ]
    machine = Guest("machine", ISO, control=False, arguments=arguments)
    machine.port = port
    machine.start()
    machine.ready()
    t.assertTrue(machine.said(r"tinyboot: storage: /persistent is btrfs on /dev/nvme0n1"))
    t.assertTrue(machine.said(r"tinyboot: net: eth0: BOUND to 10\.99\.0\.15/24"))
    modules = machine.ask("cat /proc/modules")
    for name in ("e1000e", "nvme", "nvme_core"):
        t.assertRegex(modules, rf"(?m)^{name} ")
    t.assertEqual(machine.ask("count /persistent/boots"), "1")
    machine.powered_off()
  '';
}
