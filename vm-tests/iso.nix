# The image's own files are under /iso, read-only, also when another disc is in a drive before it.
{
  mkTest,
  mkProbeImage,
  runCommand,
  writeText,
  xorriso,
}:
let
  image = mkProbeImage {
    name = "discs";
    files = {
      "about.txt" = writeText "about.txt" "This is the right disc.\n";
      "deep/er/A Longer Name.txt" = writeText "deep.txt" "found\n";
    };
  };
  other = runCommand "other.iso" { nativeBuildInputs = [ xorriso ]; } ''
    mkdir tree
    echo This is the wrong disc. > tree/about.txt
    xorriso -as mkisofs -quiet -volid OTHER -joliet -rational-rock -output $out tree
  '';
in
mkTest {
  name = "iso";
  constants = {
    ISO = image.isoFile;
    OTHER = other;
  };
  script = ''
    drive = f"-drive if=none,id=other,media=cdrom,readonly=on,format=raw,file={OTHER} -device ide-cd,drive=other,bus=ide.0"
    machine = Guest("machine", ISO, arguments=[drive])
    machine.start()
    machine.wait(r"tinyboot: storage: /iso is iso9660 on /dev/sr1, read-only", BOOT)
    machine.ready()
    t.assertEqual(machine.ask("cat /iso/about.txt"), "This is the right disc.\n")
    t.assertEqual(machine.ask("ls /iso/deep/er"), "A Longer Name.txt")
    for path in ("/iso/about.txt", "/iso/new"):
        t.assertIn("Read-only file system", machine.refused(f"write {path} 1"))
    t.assertRegex(machine.ask("cat /proc/mounts"), r"(?m)^/dev/sr1 /iso iso9660 ro,")
    machine.powered_off()
    t.assertTrue(machine.said("tinyboot: shutdown: /iso unmounted"))
  '';
}
