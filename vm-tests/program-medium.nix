# A closure on the medium: the machine has the same tree as the store that it was made in; it takes no other medium for its
# own, and waits for its own as long as it takes.
{
  mkTest,
  mkImage,
  probe,
  runCommand,
  writeText,
  xorriso,
  kernelImage,
}:
let
  # What a file system for discs gets wrong if it can.
  fixture = runCommand "fixture" { } ''
    mkdir -p $out/a/b/c/d/e/f/g/h/i/j/k/l/m "$out/empty" "$out/With Blanks And.Dots.."
    echo deep > $out/a/b/c/d/e/f/g/h/i/j/k/l/m/deep.txt
    echo lower > $out/name; echo upper > $out/NAME; echo Ünïcødé > $out/Ünïcødé
    echo long > $out/$(printf '%0200d' 0)-with-a-long-name; echo long > $out/$(printf '%0200d' 0)-with-another
    echo longest > $out/$(printf '%0253d' 0)
    printf '#!${probe}/bin/probe\n' > $out/executable; chmod +x $out/executable
    : > $out/nothing
    head --bytes=300001 /dev/zero | tr '\0' x > $out/large
    ln -s name $out/link; ln -s $out/a/b $out/absolute; ln -s /nowhere/$(printf '%0250d' 0) $out/dangling
    ln -s ../../../name $out/a/b/c/up; ln -s . $out/here
    for number in $(seq 300); do echo $number > $out/empty/../a/$number.file.with.dots; done
    echo ${dependency} > $out/reference
  '';
  # Comes along because the fixture refers to it.
  dependency = writeText "dependency" "Nobody named this.\n";
  image = mkImage {
    name = "medium";
    command = [ probe ];
    settings.app = {
      environment.FIXTURE = "${fixture}";
      onExit = "restart";
    };
  };
  # The same name, and another program.
  other = runCommand "other.iso" { nativeBuildInputs = [ xorriso ]; } ''
    mkdir -p tree/nix/store
    xorriso -as mkisofs -quiet -volid MEDIUM -rational-rock -output $out tree
  '';
in
mkTest {
  name = "program-medium";
  constants = {
    ISO = image.isoFile;
    OTHER = other;
    FIXTURE = fixture;
    DEPENDENCY = dependency;
    PROGRAM = "${probe}/bin/probe";
    KERNEL = kernelImage image.kernel;
    INITRAMFS = "${image.initramfs}/initramfs";
  };
  script = ''
    def tree(top: str) -> list[str]:
        """What the probe's `tree` says of it here."""
        lines = []
        paths = [top]
        for directory, directories, files in os.walk(top):
            paths += [os.path.join(directory, name) for name in directories + files]
        for path in paths:
            mode = os.lstat(path).st_mode
            content = ""
            if os.path.islink(path):
                mode, content = 0o120000, os.readlink(path)
            elif os.path.isfile(path):
                with open(path, "rb") as file:
                    data = file.read()
                hash = 0xCBF29CE484222325
                for byte in data:
                    hash = ((hash ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
                content = f"{len(data)} {hash:x}"
            lines.append(f"{path} {mode:o} {content}")
        return sorted(lines)

    machine = Guest(
        "machine",
        OTHER,
        medium="-device ide-cd,drive=iso,bus=ide.1",
        arguments=[
            # The loader of a kernel comes before any medium.
            f"-kernel {KERNEL} -initrd {INITRAMFS} -append 'console=ttyS0 quiet panic=10'",
            "-device pcie-root-port,id=spare,chassis=1",
            "-drive if=none,id=drive,media=cdrom -device ide-cd,drive=drive,bus=ide.0,id=tray",
        ],
    )
    machine.start()
    missing = rf'tinyboot: app: waits for the medium "MEDIUM" with {re.escape(PROGRAM)}; none has come in 1 s'
    with subtest("another medium of the same name is no medium, and without its own the app does not start"):
        machine.wait(missing, BOOT)
        t.assertTrue(machine.said(rf"the iso9660 on /dev/sr1 cannot be mounted on /iso: it does not have the app's {PROGRAM}"))
        t.assertFalse(machine.said("app: started"))
    with subtest("a machine that waits can be switched off"):
        machine.powered_off()
        t.assertFalse(machine.said("app: started"))

    with subtest("it starts when its medium comes"):
        machine.start()
        machine.wait(missing, BOOT)
        machine.monitor(f"change drive {ISO} raw")
        machine.wait(r"tinyboot: storage: /iso is iso9660 on /dev/sr0, read-only")
        machine.ready()

    with subtest("the tree is the same"):
        expected = tree(FIXTURE)
        t.assertGreater(len(expected), 300)
        t.assertEqual(machine.ask(f"tree {FIXTURE}").splitlines(), expected)

    with subtest("what the closure refers to is there, and nothing else; it is read-only"):
        t.assertEqual(machine.ask(f"cat {DEPENDENCY}"), "Nobody named this.\n")
        t.assertEqual(
            machine.ask("ls /nix/store").splitlines(),
            sorted(os.path.basename(path) for path in (FIXTURE, DEPENDENCY, PROGRAM.removesuffix("/bin/probe"))),
        )
        t.assertIn("Read-only file system", machine.refused("write /nix/store/new 1"))
    machine.powered_off()
    t.assertTrue(machine.said("tinyboot: shutdown: /nix/store unmounted"))

    def plug_in(name: str) -> None:
        machine.monitor(f"drive_add 0 if=none,id={name},readonly=on,format=raw,file={ISO}")
        answer = machine.monitor(f"device_add virtio-blk-pci,drive={name},id=plugged-{name},bus=spare")
        t.assertNotIn("Error", answer)

    with subtest("a medium is taken away: the app that ended is started again when it is back"):
        machine.start()
        machine.wait(missing, BOOT)
        plug_in("first")
        machine.ready()
        machine.monitor("device_del plugged-first")
        machine.wait(r"tinyboot: storage: /dev/vda was taken away while /iso was on it")
        machine.tell("end 3")
        # What it reads of itself for the first time then is not there.
        machine.wait(r"tinyboot: app: (exited with status 3|killed by SIGBUS)")
        machine.wait(missing)
        plug_in("second")
        machine.ready()
        t.assertIn("iso9660", machine.ask("cat /proc/mounts"))
        machine.powered_off()
  '';
}
