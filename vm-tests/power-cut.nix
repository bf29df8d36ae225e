# The power goes at any moment while a program writes to /persistent: what it had fsynced is there. All that one machine
# writes to its disk is recorded; another one has, for each flush, the disk that there would be if the power had gone
# then, and disks that have written some of what followed too. It mounts each and looks for what has to be there.
{
  lib,
  mkTest,
  probeImage,
  btrfs-progs,
  e2fsprogs,
}:
let
  test =
    name:
    {
      # Disks with file system and settings.
      disks,
      # How many records each of the four writers makes: some flushes each.
      records,
      # How many cut points are looked at, and how many disks for each.
      most,
      disksEach,
      seconds,
    }:
    mkTest {
      inherit name;
      seconds = 2 * seconds;
      constants = {
        ISO = probeImage.isoFile;
        BTRFS = "${btrfs-progs}/bin/btrfs";
        E2FSCK = "${e2fsprogs.bin or e2fsprogs}/bin/e2fsck";
        DISKS = builtins.toJSON disks;
        RECORDS = toString records;
        MOST = toString most;
        DISKS_EACH = toString disksEach;
        SECONDS = toString seconds;
      };
      script = ''
        import json
        import struct

        MEBIBYTES = {"btrfs": 128, "ext4": 64}
        WORKLOAD = f"journal /persistent/work {RECORDS}"

        class Recording:
            """A disk, all that is written to it, and the machine that does that."""

            def __init__(self, name: str, kind: str, settings: list[str]) -> None:
                self.name, self.kind, self.end = name, kind, 0
                self.disk = btrfs(f"{name}.disk", "tinyboot") if kind == "btrfs" else ext(4, f"{name}.disk", "tinyboot")
                self.before = os.path.abspath(f"{name}.before")
                shutil.copyfile(self.disk, self.before)
                self.log = make_disk(f"{name}.log", "", 1024)
                # The drive has a cache that loses what was not flushed, as far as the machine can tell.
                arguments = [
                    f"-blockdev driver=file,node-name=data,discard=unmap,filename={self.disk}",
                    f"-blockdev driver=file,node-name=log,filename={self.log}",
                    "-blockdev driver=blklogwrites,node-name=recorded,discard=unmap,file=data,log=log",
                    "-device virtio-blk-pci,drive=recorded",
                ]
                for setting in settings:
                    name, _, value = setting.partition("=")
                    arguments.append(f"-fw_cfg name=opt/io.systemd.credentials/tinyboot.{name},string={value}")
                self.machine = Guest(f"record-{self.name}", ISO, arguments=arguments)

            def requests(self) -> typing.Iterator[tuple[int, int, int, bytes]]:
                """What was done: where, how many bytes, with which flags, and the data. The format is that of
                dm-log-writes."""
                with open(self.log, "rb") as log:
                    _, _, count, sector = struct.unpack("<QQQI", log.read(28))
                    log.seek(sector)
                    for _ in range(count):
                        start, sectors, flags, _ = struct.unpack("<QQQQ", log.read(sector)[:32])
                        data = b"" if flags & 4 else log.read(sectors * sector)
                        yield start * sector, sectors * sector, flags, data
                    self.end = log.tell()

            def tape(self) -> str:
                """The disk as it was before and the log on one disk, each behind a mebibyte that names no file system."""
                for _ in self.requests():
                    pass
                path = os.path.abspath(f"{self.name}.tape")
                with open(path, "wb") as tape:
                    for part, length in ((self.before, os.path.getsize(self.before)), (self.log, self.end)):
                        tape.seek(1 << 20, os.SEEK_CUR)
                        with open(part, "rb") as source:
                            tape.write(source.read(length))
                    tape.truncate((tape.tell() + 511) & -512)
                return path

            def replayed(self, step: int) -> typing.Iterator[str]:
                """The disk after each `step`th flush, as a file."""
                path = os.path.abspath(f"{self.name}.replayed")
                shutil.copyfile(self.before, path)
                changed, cuts = False, 0
                for at, length, flags, data in self.requests():
                    if flags & 1 and changed:
                        changed, cuts = False, cuts + 1
                        if cuts % step == 0:
                            copy = f"{path}.copy"
                            shutil.copyfile(path, copy)
                            yield copy
                    if length:
                        changed = True
                        with open(path, "r+b") as disk:
                            disk.seek(at)
                            disk.write(data or bytes(length))

        recordings = [Recording(**disk) for disk in json.loads(DISKS)]

        # Not more machines at once than a small host has cores.
        for begin in range(0, len(recordings), 2):
            pair = recordings[begin : begin + 2]
            for recording in pair:
                recording.machine.start()
            for recording in pair:
                recording.machine.ready()
                recording.machine.ask(f"background {WORKLOAD}")
            for recording in pair:
                recording.machine.wait(f"probe: {WORKLOAD}: {RECORDS} records of each writer", int(SECONDS))
                recording.machine.crash()

            checkers = []
            for recording in pair:
                tape = f"-drive if=none,id=tape,format=raw,readonly=on,file={recording.tape()}"
                arguments = [tape, "-device virtio-blk-pci,drive=tape"]
                checker = Guest(f"check-{recording.name}", ISO, arguments=arguments, memory=768)
                checker.start()
                checkers.append(checker)

            def replay(recording: Recording, most: str, each: str, forgotten: int) -> str:
                mebibytes = MEBIBYTES[recording.kind]
                return f"replay {recording.kind} /dev/vda {mebibytes} {most} {each} {forgotten}"

            result = r"(\d+) disks at (\d+) of (\d+) cut points, up to (\d+) records: (\d+) lost something"
            for recording, checker in zip(pair, checkers):
                checker.ready()
                checker.ask(f"background {replay(recording, MOST, DISKS_EACH, 0)}")
            for recording, checker in zip(pair, checkers):
                with subtest(f"{recording.name}: after each flush all is there that was fsynced"):
                    found = checker.wait(f"probe: {replay(recording, MOST, DISKS_EACH, 0)}: {result}", int(SECONDS))
                    disks, looked_at, _, records, lost = map(int, found.groups())
                    t.assertEqual(lost, 0)
                    t.assertGreaterEqual(looked_at, 300)
                    t.assertGreaterEqual(disks, looked_at * int(DISKS_EACH))
                    # The workload went on up to the last one.
                    t.assertGreater(records, 4 * int(RECORDS) - 20)
                    checker.ask(f"background {replay(recording, '20', '2', 6)}")
            for recording, checker in zip(pair, checkers):
                with subtest(f"{recording.name}: a disk that forgets flushes is found out"):
                    found = checker.wait(f"probe: {replay(recording, '20', '2', 6)}: {result}", 300)
                    t.assertGreater(int(found[5]), 10)
                    checker.crash()

        for recording in recordings:
            with subtest(f"{recording.name}: the file system's own tools find nothing wrong"):
                number = 0
                for number, disk in enumerate(recording.replayed(10), 1):
                    if recording.kind == "btrfs":
                        commands = [[BTRFS, "check", "--readonly", disk]]
                    else:
                        # The journal first, by which what was under way is finished.
                        commands = [[E2FSCK, "-p", disk], [E2FSCK, "-f", "-n", disk]]
                    for command in commands:
                        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                t.assertGreaterEqual(number, 30)
      '';
    };
  plain =
    lib.genAttrs
      [
        "btrfs"
        "ext4"
      ]
      (kind: {
        name = kind;
        inherit kind;
        settings = [ ];
      });
  discarding = lib.mapAttrs (
    name: disk:
    disk
    // {
      name = "${name}-discarding";
      settings = [
        "storage.discard=true"
        "storage.compress=zstd"
      ];
    }
  ) plain;
in
test "power-cut" {
  disks = lib.attrValues plain;
  records = 80;
  most = 310;
  disksEach = 1;
  seconds = 1800;
}
// {
  # Every cut point of a longer workload, with more disks for each, and with discards.
  long = test "power-cut-long" {
    disks = lib.attrValues plain ++ lib.attrValues discarding;
    records = 200;
    most = 100000;
    disksEach = 4;
    seconds = 7200;
  };
}
