# The container disk is an OCI image that skopeo and umoci take, and the disk in it is the disk image, which boots.
{
  mkTest,
  formsImage,
  runCommand,
  jq,
  qemu-utils,
  skopeo,
  umoci,
  writableTmpDirAsHomeHook,
}:
let
  inherit (formsImage) containerDisk disk;
  unpacked =
    runCommand "unpacked-container-disk"
      {
        nativeBuildInputs = [
          jq
          qemu-utils
          skopeo
          umoci
          writableTmpDirAsHomeHook
        ];
      }
      ''
        # The sandbox has no /var/tmp, where skopeo would unpack.
        archive=${containerDisk}/${containerDisk.file}
        skopeo --tmpdir "$TMPDIR" inspect oci-archive:$archive:latest | tee inspected
        jq --exit-status '.Architecture == "amd64" and .Os == "linux" and (.Layers | length) == 1' inspected
        # Every hash is looked at on the way.
        skopeo --tmpdir "$TMPDIR" --insecure-policy copy oci-archive:$archive:latest oci:layout:latest
        umoci raw unpack --rootless --image layout:latest rootfs
        cmp rootfs/disk/${disk.qcow2} ${disk}/${disk.qcow2}
        tar --extract --to-stdout --file=$archive \
          "blobs/sha256/$(jq --raw-output '.Layers[0] | sub("sha256:"; "")' inspected)" |
          tar --list --gzip --verbose --numeric-owner | tee listed
        [ "$(grep --count ' 107/107 ' listed)" = 2 ]
        qemu-img check rootfs/disk/${disk.qcow2}
        mkdir $out
        cp rootfs/disk/${disk.qcow2} $out/disk.qcow2
      '';
in
mkTest {
  name = "container-disk";
  constants.DISK = "${unpacked}/disk.qcow2";
  script = ''
    # KubeVirt too keeps what is written beside the disk, in an overlay.
    drive = f"-drive if=none,id=container,format=qcow2,snapshot=on,file={DISK} -device virtio-blk-pci,drive=container"
    # And boots by BIOS unless it is told otherwise.
    machine = Guest("machine", DISK, firmware="bios", medium="", arguments=[drive])
    machine.start()
    machine.wait(r"tinyboot: storage: /persistent is btrfs on /dev/vda3", BOOT)
    machine.ready()
    t.assertEqual(machine.ask("cat /iso/about.txt"), "This came with the image.\n")
    t.assertEqual(machine.ask("count /persistent/boots"), "1")
    machine.powered_off()
  '';
}
