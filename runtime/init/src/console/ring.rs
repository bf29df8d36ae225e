//! The machine's last lines in memory: two files that together have a bounded length. The older one goes when the newer one
//! is full.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Where the app reads them; what is older is in the file beside it.
pub const PATH: &str = "/run/tinyboot/log";
/// How long each of the two files becomes at most.
const HALF: usize = 128 * 1024;

/// Writes lines to the files, as soon as there is a place for them.
#[derive(Debug, Default)]
pub struct Ring {
    /// Lines from before.
    early: Vec<u8>,
    path: Option<PathBuf>,
    file: Option<File>,
    length: usize,
}

impl Ring {
    /// Writes to `path` from now on. What cannot be written is lost.
    pub fn keep(&mut self, path: PathBuf) {
        self.path = Some(path);
        let early = std::mem::take(&mut self.early);
        self.push(&early);
    }

    /// Adds lines.
    pub fn push(&mut self, lines: &[u8]) {
        let Some(path) = &self.path else {
            if self.early.len() + lines.len() <= HALF {
                self.early.extend_from_slice(lines);
            }
            return;
        };
        if self.file.is_some() && self.length + lines.len() > HALF {
            let _ = fs::rename(path, older(path));
            self.file = None;
        }
        if self.file.is_none() {
            self.file = open(path).ok();
            self.length = 0;
        }
        // A memory file system that is full takes lines again when the app has made room.
        if let Some(file) = &mut self.file
            && file.write_all(lines).is_ok()
        {
            self.length += lines.len();
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)
}

fn older(path: &Path) -> PathBuf {
    path.with_extension("old")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_there_in_bounded_room() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("run/log");
        let mut ring = Ring::default();
        ring.push(b"early\n");
        ring.keep(path.clone());
        assert_eq!(fs::read(&path)?, b"early\n");
        for number in 0..60_000 {
            ring.push(format!("line {number}\n").as_bytes());
        }
        let (old, new) = (fs::read(older(&path))?, fs::read(&path)?);
        assert!(old.len() <= HALF && new.len() <= HALF);
        let text = String::from_utf8_lossy(&[old, new].concat()).into_owned();
        let numbers: Vec<u32> = text
            .lines()
            .filter_map(|line| line.strip_prefix("line ")?.parse().ok())
            .collect();
        assert_eq!(numbers.len(), text.lines().count());
        assert_eq!(numbers.last(), Some(&59_999));
        assert!(
            numbers.len() * 10 > HALF,
            "there are only {}",
            numbers.len()
        );
        assert!(numbers.is_sorted_by(|a, b| a + 1 == *b));
        Ok(())
    }

    #[test]
    fn without_a_place_the_memory_is_bounded() {
        let mut ring = Ring::default();
        for _ in 0..10_000 {
            ring.push(&[b'x'; 100]);
        }
        assert!(ring.early.len() <= HALF);
    }
}
