//! Replays what was written to a disk up to each flush, as if the power had gone there, and looks whether what had been
//! made durable is there.
//!
//! The log is that of dm-log-writes, which QEMU's blklogwrites writes too (`drivers/md/dm-log-writes.c`): a superblock,
//! and for each request a sector that describes it and its data. A request is in the log before its author knows that it is
//! done.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::commands::{mount, umount};
use crate::journal::{self, Durable, Random, WRITERS};
use crate::{loops, say};

const MAGIC: u64 = 0x6a_7366_7773_6872;
const FLUSH: u64 = 1;
const DISCARD: u64 = 4;
/// A file system's block: what a disk writes as a whole.
const BLOCK: usize = 4096;
/// In front of the disk and of the log, so that nobody takes the tape for a disk with a file system.
const LEADER: u64 = 1 << 20;

/// How the replay is to be done.
pub struct Plan<'a> {
    /// The kernel's name of the file system.
    pub kind: &'a str,
    /// Size of the disk in MiB.
    pub mebibytes: u64,
    /// How many flushes the disk forgets: 0 is a disk that does what it promises.
    pub forgotten: usize,
    /// How many cut points are taken at most, spread over all.
    pub most: usize,
    /// How many disks are tried at each cut point: one that has written nothing after the flush, the others some of it. If it
    /// is one, every other cut point has the one or the other.
    pub disks: u64,
}

/// One write: where, and which bytes of the tape; or, without bytes, what was given up.
struct Write {
    at: u64,
    length: u64,
    data: Option<usize>,
}

/// What came between two flushes.
#[derive(Default)]
struct Window {
    writes: Vec<Write>,
    /// What had been made durable before the last write until then.
    durable: Durable,
}

/// Does it. The console says how far it is, and the first things that are not as they have to be.
pub fn run(plan: &Plan, device: &Path) -> io::Result<String> {
    let (mut disk, log) = load(device, plan.mebibytes << 20)?;
    let windows = windows(&log)?;
    let cuts = windows.len().saturating_sub(1 + plan.forgotten);
    let mut wanted: BTreeSet<usize> = (0..plan.most.min(cuts))
        .map(|number| number * cuts / plan.most.min(cuts))
        .collect();
    let (mut states, mut records, mut complaints) = (0, 0, Vec::new());
    for (cut, window) in windows.iter().enumerate().take(cuts) {
        window
            .writes
            .iter()
            .for_each(|write| disk.apply(write, &log));
        if !wanted.remove(&cut) {
            continue;
        }
        let last = cut + 1 + plan.forgotten;
        let durable = windows[last].durable;
        let later: Vec<&Write> = windows[cut + 1..=last]
            .iter()
            .flat_map(|window| &window.writes)
            .collect();
        for number in 0..plan.disks {
            let partly = if plan.disks > 1 {
                number > 0
            } else {
                cut % 2 == 1
            };
            // What a disk that promises nothing before the next flush has written of it.
            let mut random = Random::new((cut as u64) << 8 | number);
            let some: Vec<Write> = later
                .iter()
                .flat_map(|write| blocks(write))
                .filter(|_| partly && random.next() & 1 == 0)
                .collect();
            states += 1;
            records = durable.iter().sum();
            if let Err(error) = disk.check(plan.kind, &some, &log, durable) {
                complaints.push(format!("after flush {cut}, disk {number}: {error}"));
            }
        }
        if states % 100 < plan.disks {
            say(&format!("replay of {}: {states} disks so far", plan.kind));
        }
    }
    complaints
        .iter()
        .take(5)
        .for_each(|complaint| say(&format!("replay of {}: {complaint}", plan.kind)));
    Ok(format!(
        "{states} disks at {} of {cuts} cut points, up to {records} records: {} lost something",
        plan.most.min(cuts),
        complaints.len()
    ))
}

/// The disk as it was in the beginning, and the log.
fn load(device: &Path, size: u64) -> io::Result<(Disk, Vec<u8>)> {
    let mut tape = File::open(device)?;
    tape.seek(SeekFrom::Start(LEADER))?;
    let mut disk = Disk::new(size);
    let mut block = vec![0; 1 << 20];
    for at in (0..size).step_by(block.len()) {
        tape.read_exact(&mut block)?;
        for (number, page) in block.chunks(BLOCK).enumerate() {
            if page.iter().any(|byte| *byte != 0) {
                disk.put(at as usize + number * BLOCK, page);
            }
        }
    }
    tape.seek(SeekFrom::Current(LEADER as i64))?;
    let mut log = Vec::new();
    tape.read_to_end(&mut log)?;
    Ok((disk, log))
}

fn windows(log: &[u8]) -> io::Result<Vec<Window>> {
    let bad = |what: &str| io::Error::other(format!("the log has {what}"));
    let word = |at: usize| -> io::Result<u64> {
        let bytes = log
            .get(at..at + 8)
            .ok_or_else(|| bad("an end before its end"))?;
        Ok(bytes
            .iter()
            .rev()
            .fold(0, |value, byte| value << 8 | u64::from(*byte)))
    };
    if word(0)? != MAGIC {
        return Err(bad("no superblock"));
    }
    let (entries, sector) = (word(16)?, (word(24)? & 0xffff_ffff) as usize);
    let mut windows = vec![Window::default()];
    let mut at = sector;
    for _ in 0..entries {
        let (start, count, flags) = (word(at)?, word(at + 8)?, word(at + 16)?);
        let length = count as usize * sector;
        at += sector;
        let Some(window) = windows.last_mut() else {
            break;
        };
        if flags & FLUSH != 0 && !window.writes.is_empty() {
            let durable = window.durable;
            windows.push(Window {
                durable,
                ..Window::default()
            });
        }
        let Some(window) = windows.last_mut() else {
            break;
        };
        let has_data = flags & DISCARD == 0;
        if length > 0 {
            window.writes.push(Write {
                at: start * sector as u64,
                length: length as u64,
                data: has_data.then_some(at),
            });
        }
        if has_data {
            let data = log
                .get(at..at + length)
                .ok_or_else(|| bad("data behind its end"))?;
            journal::learn(data, &mut window.durable);
            at += length;
        }
    }
    Ok(windows)
}

/// A write in parts that a disk writes as a whole.
fn blocks(write: &Write) -> Vec<Write> {
    let mut parts = Vec::new();
    let (mut done, end) = (0, write.length);
    while done < end {
        let room = BLOCK as u64 - (write.at + done) % BLOCK as u64;
        let length = room.min(end - done);
        parts.push(Write {
            at: write.at + done,
            length,
            data: write.data.map(|data| data + done as usize),
        });
        done += length;
    }
    parts
}

/// A disk in memory.
struct Disk {
    bytes: Vec<u8>,
    /// Blocks that were written to.
    used: Vec<bool>,
}

impl Disk {
    fn new(size: u64) -> Self {
        Self {
            bytes: vec![0; size as usize],
            used: vec![false; size as usize / BLOCK],
        }
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        self.used[at / BLOCK..(at + bytes.len()).div_ceil(BLOCK)].fill(true);
    }

    fn apply(&mut self, write: &Write, log: &[u8]) {
        let (at, length) = (write.at as usize, write.length as usize);
        match write.data {
            Some(data) => self.put(at, &log[data..data + length]),
            None => self.bytes[at..at + length].fill(0),
        }
    }

    /// Mounts a copy with `some` more writes, and looks for what is to be there.
    fn check(&self, kind: &str, some: &[Write], log: &[u8], durable: Durable) -> io::Result<()> {
        let (path, place) = (
            format!("/tmp/replay-{kind}"),
            format!("/tmp/replayed-{kind}"),
        );
        let _ = fs::remove_file(&path);
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)?;
        file.set_len(self.bytes.len() as u64)?;
        let mut block = 0;
        for run in self.used.chunk_by(|one, other| one == other) {
            if run[0] {
                file.write_all_at(
                    &self.bytes[block * BLOCK..(block + run.len()) * BLOCK],
                    (block * BLOCK) as u64,
                )?;
            }
            block += run.len();
        }
        for write in some {
            match write.data {
                Some(data) => {
                    file.write_all_at(&log[data..data + write.length as usize], write.at)?
                }
                None => file.write_all_at(&vec![0; write.length as usize], write.at)?,
            }
        }
        let device = loops::attach(&file)?;
        let named = |what: &str| {
            let what = what.to_owned();
            move |error: io::Error| io::Error::other(format!("{what}: {error}"))
        };
        mount(kind, &device.path, &place, libc::MS_NOATIME).map_err(named("mount"))?;
        let result = WRITERS
            .iter()
            .zip(durable)
            .filter(|(_, number)| *number > 0)
            .try_for_each(|(writer, number)| {
                let top = Path::new(&place).join("work");
                writer
                    .check(&top, number)
                    .map_err(named(&format!("{writer:?}")))
            });
        // Still for writing: a file system that finds something wrong makes itself read-only.
        let result = result.and_then(|()| {
            File::create(Path::new(&place).join("after"))
                .map(drop)
                .map_err(named("write"))
        });
        umount(&place).map_err(named("umount"))?;
        drop(device);
        if kind == "ext4" {
            let mut state = [0; 2];
            file.read_exact_at(&mut state, 1024 + 0x3a)?;
            if u16::from_le_bytes(state) != 1 {
                return result.and(Err(io::Error::other(format!("its state is {state:?}"))));
            }
        }
        result
    }
}
