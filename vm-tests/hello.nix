# The image that `nix build .#iso` makes: its size, its page, what it counts on its disk, and how it stops.
{
  mkTest,
  image,
  kernelImage,
}:
mkTest {
  name = "hello";
  constants = {
    ISO = image.isoFile;
    KERNEL = kernelImage image.kernel;
  };
  script = ''
    # About 3 % above the sizes with the Debian set, for other compilers. Growth beyond that is a decision; docs/size.md
    # tells what was tried.
    t.assertLessEqual(os.path.getsize(ISO), 6_680_000, "the image has outgrown its limit")
    t.assertLessEqual(os.path.getsize(KERNEL), 3_750_000, "the kernel has outgrown its limit")

    disk = btrfs("disk", "tinyboot")
    port = free_port()
    machine = Guest("machine", ISO, disks=[disk], nics=[f"user,hostfwd=tcp:127.0.0.1:{port}-:80"], control=False)

    def page(path: str) -> str:
        with DIRECT.open(f"http://127.0.0.1:{port}{path}", timeout=SOON) as answer:
            return str(answer.read().decode())

    for boot in (1, 2):
        with subtest(f"boot {boot}"):
            machine.start()
            machine.wait("app: listening on port 80", BOOT)
            # Said in no order.
            for line in (rf"app: boot number {boot}$", r"app: address: 10\.0\.2\.15/24 on eth0"):
                machine.says(line)
            text = page("/")
            for line in ("/iso is iso9660 on /dev/sr0", "10.0.2.15/24 on eth0"):
                t.assertIn(line, text)
            t.assertIn('"ready": true', page("/status.json"))
            t.assertEqual(machine.said("tinyboot: .*(cannot|failed|panic)"), [])
            machine.powered_off()
            t.assertTrue(machine.said("app: stopped in order"))
  '';
}
