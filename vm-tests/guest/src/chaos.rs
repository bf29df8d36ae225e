//! Faults that the program itself brings about, and what it must find again afterwards.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::journal::{self, Durable, WRITERS};
use crate::notify;

/// What ends a thread that waits, and the thread.
type Waiting = (Arc<AtomicBool>, JoinHandle<()>);

static HOARD: Mutex<Vec<Waiting>> = Mutex::new(Vec::new());
static FEEDS: AtomicBool = AtomicBool::new(false);

/// Starts threads that wait until the kernel gives no more, and leaves a few for the commands that follow; how many there were.
pub fn hoard() -> io::Result<String> {
    let mut hoard = HOARD.lock().map_err(|_| io::Error::other("poisoned"))?;
    let most = hoard.len() + 40000;
    while hoard.len() < most {
        let ends = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&ends);
        let wait = move || {
            while !seen.load(Ordering::SeqCst) {
                thread::park();
            }
        };
        match thread::Builder::new().stack_size(1 << 14).spawn(wait) {
            Ok(handle) => hoard.push((ends, handle)),
            Err(_) => break,
        }
    }
    let count = hoard.len();
    let kept = count.saturating_sub(12);
    end(hoard.split_off(kept));
    Ok(count.to_string())
}

/// Ends the threads of [`hoard`].
pub fn release() -> io::Result<String> {
    let mut hoard = HOARD.lock().map_err(|_| io::Error::other("poisoned"))?;
    end(hoard.split_off(0));
    Ok(String::new())
}

fn end(threads: Vec<Waiting>) {
    for (ends, handle) in &threads {
        ends.store(true, Ordering::SeqCst);
        handle.thread().unpark();
    }
    for (_, handle) in threads {
        let _ = handle.join();
    }
}

/// Says `WATCHDOG=1` several times a second, each time after a write to a file, as a program does whose work is the writing. A
/// write that fails counts as work too, one that waits does not.
pub fn feed_by_writing(path: &str) -> io::Result<String> {
    let path = path.to_owned();
    if !FEEDS.swap(true, Ordering::SeqCst) {
        thread::spawn(move || {
            loop {
                let _ = File::create(&path).and_then(|mut file| file.write_all(b"alive"));
                let _ = notify::send("WATCHDOG=1");
                thread::sleep(Duration::from_millis(250));
            }
        });
    }
    Ok(String::new())
}

/// Writes a file without waiting for the disk. Its bytes follow from its length.
pub fn dirty(path: &str, mebibytes: u32) -> io::Result<String> {
    File::create(path)?.write_all(&pattern(mebibytes))?;
    Ok(String::new())
}

/// Whether a file has what [`dirty`] wrote; it is removed.
pub fn clean(path: &str, mebibytes: u32) -> io::Result<String> {
    if fs::read(path)? != pattern(mebibytes) {
        return Err(io::Error::other("it has other bytes than were written"));
    }
    fs::remove_file(path).map(|()| String::new())
}

fn pattern(mebibytes: u32) -> Vec<u8> {
    let mut random = journal::Random::new(mebibytes.into());
    let words = (u64::from(mebibytes) << 20) / 8;
    (0..words)
        .flat_map(|_| random.next().to_le_bytes())
        .collect()
}

/// Whether all records of a journal are there that `known` or the records themselves say were durable; it is removed.
pub fn recheck(top: &str, known: &[&str]) -> io::Result<String> {
    let top = Path::new(top);
    let mut durable: Durable = [0; WRITERS.len()];
    for (count, word) in durable.iter_mut().zip(known) {
        *count = word.parse().map_err(io::Error::other)?;
    }
    for directory in fs::read_dir(top)? {
        for file in fs::read_dir(directory?.path())? {
            journal::learn(&fs::read(file?.path())?, &mut durable);
        }
    }
    for (writer, number) in WRITERS.iter().zip(durable) {
        if number > 0 {
            writer
                .check(top, number)
                .map_err(|error| io::Error::other(format!("{writer:?}: {error}")))?;
        }
    }
    fs::remove_dir_all(top)?;
    Ok(journal::words(durable))
}

/// Removes the files of the command `fill`.
pub fn empty(top: &str) -> io::Result<String> {
    for entry in fs::read_dir(top)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("fill") {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(String::new())
}
