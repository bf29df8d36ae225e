# Firmware that knows a key starts what was signed with it, in the build or in place, and refuses what was not signed or
# was changed afterwards. BIOS starts a signed image as any other.
{
  mkTest,
  mkProbeImage,
  probeImage,
  runCommand,
  OVMF,
  openssl,
  python3Packages,
  signImage,
}:
let
  firmware = OVMF.override { secureBoot = true; };
  keys = runCommand "secure-boot-keys" { nativeBuildInputs = [ openssl ]; } ''
    mkdir $out
    cd $out
    # Without the system's configuration, which is elsewhere in each package set.
    printf '[req]\ndistinguished_name = name\n[name]\n' > $NIX_BUILD_TOP/openssl.cnf
    for key in db other; do
      openssl req -x509 -config $NIX_BUILD_TOP/openssl.cnf -newkey rsa:2048 -nodes -days 3650 -subj "/CN=the test's $key" \
        -keyout $key.key -out $key.pem
    done
  '';
in
mkTest {
  name = "secure-boot";
  constants = {
    ISO = probeImage.isoFile;
    SIGNED =
      (mkProbeImage {
        name = "signed";
        signing = {
          key = "${keys}/db.key";
          certificate = "${keys}/db.pem";
        };
      }).isoFile;
    KEYS = keys;
    SIGN = "${signImage}/bin/sign-image";
    ENROL = "${python3Packages.virt-firmware}/bin/virt-fw-vars";
    SECURE_FIRMWARE = firmware.firmware;
    SECURE_VARIABLES = firmware.variables;
  };
  script = ''
    owner = "11111111-2222-3333-4444-555555555555"
    variables = os.path.abspath("enrolled.fd")
    command = [ENROL, "--input", SECURE_VARIABLES, "--output", variables, "--secure-boot"]
    for option in ("--set-pk", "--add-kek", "--add-db"):
        command += [option, owner, f"{KEYS}/db.pem"]
    subprocess.run(command, check=True)

    def sign(image: str, key: str = "db", certificate: str = "db") -> "subprocess.CompletedProcess[str]":
        command = [SIGN, "--key", f"{KEYS}/{key}.key", "--certificate", f"{KEYS}/{certificate}.pem", image]
        return subprocess.run(command, capture_output=True, check=False, text=True)

    def copy(name: str, image: str) -> str:
        path = os.path.abspath(f"{name}.iso")
        shutil.copyfile(image, path)
        return path

    def secure(name: str, image: str) -> Guest:
        machine = Guest(
            name,
            image,
            machine="q35,smm=on",
            firmware=SECURE_FIRMWARE,
            variables=variables,
            arguments=["-global driver=cfi.pflash01,property=secure,value=on"],
        )
        machine.start()
        return machine

    def boots(machine: Guest) -> None:
        machine.ready()
        t.assertIn("iso9660", machine.ask("cat /proc/mounts"))
        machine.powered_off()

    def is_refused(machine: Guest) -> None:
        machine.wait("Access Denied|Security Violation", BOOT)
        t.assertEqual(machine.said("tinyboot:"), [])
        machine.crash()

    with subtest("an image that was signed in the build boots"):
        boots(secure("built", SIGNED))

    with subtest("an image without a signature is refused"):
        is_refused(secure("unsigned", ISO))

    in_place = copy("in-place", ISO)
    with subtest("an image that was signed in place boots, also when it is signed again"):
        for key in ("other", "db"):
            result = sign(in_place, key, key)
            t.assertEqual((result.returncode, result.stderr), (0, ""))
            t.assertEqual(result.stdout, f'sign-image: signed EFI/BOOT/BOOTX64.EFI in "{in_place}"\n')
        boots(secure("in-place", in_place))

    with subtest("BIOS boots it as well"):
        machine = Guest("in-place-bios", in_place, firmware="bios", medium="-device virtio-blk-pci,drive=iso,bootindex=0")
        machine.start()
        boots(machine)

    with subtest("a signature with another key is refused"):
        other = copy("other", in_place)
        t.assertEqual(sign(other, "other", "other").returncode, 0)
        is_refused(secure("other-key", other))

    with subtest("one changed character of the kernel's command line is refused"):
        with open(in_place, "rb") as file:
            content = file.read()
        t.assertEqual(content.count(b"loglevel=4"), 1)
        changed = os.path.abspath("changed.iso")
        with open(changed, "wb") as output:
            output.write(content.replace(b"loglevel=4", b"loglevel=7"))
        is_refused(secure("changed", changed))

    with subtest("wrong input is named in a sentence, and nothing is written"):
        before = digest(in_place)
        result = sign(in_place, "db", "other")
        t.assertEqual(result.returncode, 2)
        t.assertEqual(
            result.stderr, f'sign-image: The certificate "{KEYS}/other.pem" is not of the key "{KEYS}/db.key".\n'
        )
        t.assertEqual(digest(in_place), before)
        for image, sentence in (
            ("none.iso", 'There is no file "none.iso".'),
            (f"{KEYS}/db.pem", f'The image "{KEYS}/db.pem" is in the store; copy it out first.'),
            (btrfs("disk", "x"), f'The image "{os.path.abspath("disk")}" has no partition with EFI/BOOT/BOOTX64.EFI.'),
        ):
            t.assertEqual(sign(image).stderr, f"sign-image: {sentence}\n")
  '';
}
