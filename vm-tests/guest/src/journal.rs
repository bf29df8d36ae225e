//! A workload whose traces tell, after the power has gone at any moment, what has to be there: numbered records, each of
//! which begins only when the one before has been made durable.
//!
//! Each record says how many the others had made durable when it was begun: so whatever disk has its first bytes
//! anywhere has to have those, and the record before it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

/// One way to make records durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writer {
    /// At the end of one file: write, fsync.
    Append,
    /// A file each: write, fsync; the file of [`KEPT`] records ago is removed; fsync of the directory.
    Create,
    /// In the place of the one before: write to another file, fsync, rename, fsync of the directory.
    Rename,
    /// Over the record of [`KEPT`] records ago in one file: write, fdatasync.
    Overwrite,
}

pub const WRITERS: [Writer; 4] = [
    Writer::Append,
    Writer::Create,
    Writer::Rename,
    Writer::Overwrite,
];

/// How many records [`Writer::Create`] and [`Writer::Overwrite`] keep.
pub const KEPT: u32 = 8;
const SLOT: usize = 8192;

const MAGIC: &[u8; 8] = b"\x89tbRec\r\n";
/// The magic number, writer and number of the record, how many records each writer has made durable, and a sum of those.
const HEADER: usize = 40;

/// How many records each writer has made durable.
pub type Durable = [u32; WRITERS.len()];
static DURABLE: [AtomicU32; WRITERS.len()] = [const { AtomicU32::new(0) }; WRITERS.len()];

/// How many records each writer of this process has made durable.
pub fn durable() -> Durable {
    DURABLE.each_ref().map(|count| count.load(Ordering::SeqCst))
}

/// The numbers, a space between them.
pub fn words(durable: Durable) -> String {
    durable.map(|number| number.to_string()).join(" ")
}

impl Writer {
    fn index(self) -> u32 {
        self as u32
    }

    /// A record: its header, and bytes that follow from its writer and number and that nothing makes smaller.
    fn record(self, number: u32, durable: Durable) -> Vec<u8> {
        let seed = u64::from(self.index()) << 32 | u64::from(number);
        let mut random = Random::new(seed);
        let mut record = MAGIC.to_vec();
        record.extend(self.index().to_le_bytes());
        record.extend(number.to_le_bytes());
        record.extend(durable.iter().flat_map(|number| number.to_le_bytes()));
        let sum = durable.iter().fold(seed, |sum, number| {
            Random::new(sum ^ u64::from(*number)).next()
        });
        record.extend(sum.to_le_bytes());
        // From what lies in a file system's own blocks to what takes two.
        let length = HEADER + (random.next() % 6000) as usize;
        while record.len() < length {
            record.extend(random.next().to_le_bytes());
        }
        record.truncate(length);
        record
    }

    /// Makes record after record up to number `count` below a directory.
    fn run(self, top: &Path, count: u32) -> io::Result<()> {
        let directory = top.join(format!("{self:?}"));
        fs::create_dir_all(&directory)?;
        let folder = File::open(&directory)?;
        let path = directory.join("file");
        if self == Writer::Overwrite {
            File::create(&path)?.write_all(&vec![0; SLOT * KEPT as usize])?;
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)?;
        file.sync_all()?;
        folder.sync_all()?;
        File::open(top)?.sync_all()?;
        for number in 1..=count {
            let durable_before = durable();
            let record = self.record(number, durable_before);
            match self {
                Writer::Append => {
                    file.write_all(&record)?;
                    file.sync_all()?;
                }
                Writer::Create => {
                    write_through(&directory.join(number.to_string()), &record)?;
                    if number > KEPT {
                        fs::remove_file(directory.join((number - KEPT).to_string()))?;
                    }
                    folder.sync_all()?;
                }
                Writer::Rename => {
                    let new = directory.join("new");
                    write_through(&new, &record)?;
                    fs::rename(&new, directory.join("current"))?;
                    folder.sync_all()?;
                }
                Writer::Overwrite => {
                    file.write_all_at(&record, slot(number))?;
                    file.sync_data()?;
                }
            }
            DURABLE[self as usize].store(number, Ordering::SeqCst);
        }
        Ok(())
    }

    /// What follows a record at the beginning of `bytes`, if it is there whole.
    fn strip(self, number: u32, bytes: &[u8]) -> Option<&[u8]> {
        let (_, _, durable) = header(bytes)?;
        bytes.strip_prefix(self.record(number, durable).as_slice())
    }

    fn is(self, number: u32, bytes: &[u8]) -> bool {
        self.strip(number, bytes).is_some_and(<[u8]>::is_empty)
    }

    /// Whether all records up to `number` are as this writer left them; of the next one nothing is known.
    ///
    /// # Errors
    ///
    /// What is not so, or cannot be read.
    pub fn check(self, top: &Path, number: u32) -> io::Result<()> {
        let directory = top.join(format!("{self:?}"));
        let lost = |number: u32, what: &str| io::Error::other(format!("record {number} {what}"));
        let newest = number.saturating_sub(KEPT - 2).max(1)..=number;
        match self {
            Writer::Append => {
                let bytes = fs::read(directory.join("file"))?;
                let mut rest = bytes.as_slice();
                for number in 1..=number {
                    rest = self
                        .strip(number, rest)
                        .ok_or_else(|| lost(number, "is not what was appended"))?;
                }
            }
            Writer::Create => {
                for number in newest {
                    if !self.is(number, &fs::read(directory.join(number.to_string()))?) {
                        return Err(lost(number, "is not what was created"));
                    }
                }
                for entry in fs::read_dir(&directory)? {
                    let name = entry?.file_name().to_string_lossy().into_owned();
                    let found = if name == "file" {
                        number
                    } else {
                        name.parse().map_err(io::Error::other)?
                    };
                    if found + KEPT <= number {
                        return Err(lost(found, "was removed and is there"));
                    }
                }
            }
            Writer::Rename => {
                let bytes = fs::read(directory.join("current"))?;
                // The rename of the next one may have happened, but never before its content was durable.
                if !self.is(number, &bytes) && !self.is(number + 1, &bytes) {
                    return Err(lost(
                        number,
                        "is neither there nor replaced by the next one",
                    ));
                }
            }
            Writer::Overwrite => {
                let file = File::open(directory.join("file"))?;
                for number in newest {
                    let mut found = vec![0; SLOT];
                    file.read_exact_at(&mut found, slot(number))?;
                    if self.strip(number, &found).is_none() {
                        return Err(lost(number, "is not what was written in its place"));
                    }
                }
            }
        }
        Ok(())
    }
}

fn slot(number: u32) -> u64 {
    u64::from(number % KEPT) * SLOT as u64
}

fn write_through(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Makes `count` records of each writer at the same time.
pub fn run(top: &Path, count: u32) -> io::Result<String> {
    fs::create_dir_all(top)?;
    File::open(top.parent().unwrap_or(top))?.sync_all()?;
    thread::scope(|scope| {
        WRITERS
            .map(|writer| scope.spawn(move || writer.run(top, count)))
            .into_iter()
            .try_for_each(|thread| {
                thread
                    .join()
                    .map_err(|_| io::Error::other("a writer panicked"))?
            })
    })?;
    Ok(format!("{count} records of each writer"))
}

/// Who wrote the record whose header is at the beginning of some bytes, its number, and what was durable before.
fn header(bytes: &[u8]) -> Option<(Writer, u32, Durable)> {
    let header = bytes.get(..HEADER)?.strip_prefix(MAGIC)?;
    let word = |index: usize| {
        let mut word = [0; 4];
        word.copy_from_slice(&header[4 * index..4 * index + 4]);
        u32::from_le_bytes(word)
    };
    let (writer, number) = (*WRITERS.get(word(0) as usize)?, word(1));
    let durable = std::array::from_fn(|index| word(2 + index));
    let record = writer.record(number, durable);
    bytes
        .starts_with(&record[..HEADER])
        .then_some((writer, number, durable))
}

/// Raises `durable` to what the records tell whose headers are in some bytes, wherever they lie.
pub fn learn(bytes: &[u8], durable: &mut Durable) {
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| *byte == MAGIC[0]) {
        rest = &rest[at..];
        if let Some((writer, number, mut before)) = header(rest) {
            before[writer as usize] = number - 1;
            for (known, before) in durable.iter_mut().zip(before) {
                *known = before.max(*known);
            }
        }
        rest = &rest[1..];
    }
}

/// Numbers that look like chance and are the same each time (xorshift64*).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}
