# iPXE loads script, kernel and initramfs, which brings the image's files, by HTTP. Under BIOS it is in the NIC's option ROM;
# UEFI's own PXE loads it by TFTP.
{
  mkTest,
  formsImage,
  ipxe,
}:
mkTest {
  name = "netboot";
  seconds = 1200;
  constants = {
    NETBOOT = formsImage.netboot;
    IPXE = "${ipxe}/ipxe.efi";
  };
  script = ''
    import functools
    import http.server
    import threading

    asked: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *words: typing.Any) -> None:
            asked.append(self.path)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=NETBOOT))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    # QEMU's network names the file to whoever asks by DHCP, and has the host at this address.
    script = f"http://10.0.2.2:{server.server_port}/boot.ipxe"
    folder = os.path.abspath("tftp")
    os.mkdir(folder)
    shutil.copyfile(IPXE, f"{folder}/ipxe.efi")
    with open(f"{folder}/autoexec.ipxe", "w") as file:
        file.write(f"#!ipxe\ndhcp\nchain {script}\n")

    networks = {"bios": f"user,bootfile={script}", "uefi": f"user,tftp={folder},bootfile=ipxe.efi"}
    for firmware, network in networks.items():
        with subtest(firmware):
            asked.clear()
            machine = Guest(
                firmware,
                f"{NETBOOT}/bzImage",
                medium="",
                firmware=firmware,
                memory=512,
                nics=[network],
                nic_device="virtio-net-pci" if firmware == "bios" else "virtio-net-pci,romfile=",
            )
            machine.start()
            machine.wait(r"tinyboot: storage: /iso is iso9660 on /dev/loop0, read-only", BOOT)
            machine.ready()
            t.assertEqual(asked, ["/boot.ipxe", "/bzImage", "/initramfs"])
            t.assertEqual(machine.ask("cat /iso/about.txt"), "This came with the image.\n")
            t.assertEqual(machine.said("tinyboot: .*(cannot|failed|panic)"), [])
            machine.powered_off()
    server.shutdown()
  '';
}
