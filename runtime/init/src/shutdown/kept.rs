//! What the end needs of `/proc`, opened when the machine starts: also a machine that is out of descriptors is stopped in order.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::OnceLock;

use super::mountinfo::{self, Mounted};
use super::patience::Progress;
use crate::limits;

/// More of one of these files is not read.
const LONGEST: usize = 1 << 20;
/// Where init mounts disks, in the order in which they are unmounted.
const PLACES: [&str; 2] = ["/persistent", "/iso"];

static FILES: OnceLock<Files> = OnceLock::new();

struct Files {
    mountinfo: Kept,
    meminfo: Kept,
    diskstats: Kept,
}

struct Kept {
    path: &'static str,
    file: Option<File>,
}

impl Kept {
    fn open(path: &'static str) -> Self {
        let file = File::open(path)
            .inspect_err(|error| log::warn!("shutdown: {path} cannot be opened: {error}"))
            .ok();
        Self { path, file }
    }

    fn read(&self) -> io::Result<Vec<u8>> {
        match &self.file {
            Some(file) => read_all(file),
            None => read_all(&File::open(self.path)?),
        }
    }
}

fn read_all(file: &File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    while bytes.len() < LONGEST {
        match file.read_at(&mut buffer, bytes.len() as u64)? {
            0 => break,
            length => bytes.extend_from_slice(buffer.get(..length).unwrap_or_default()),
        }
    }
    Ok(bytes)
}

fn files() -> &'static Files {
    FILES.get_or_init(|| Files {
        mountinfo: Kept::open("/proc/self/mountinfo"),
        meminfo: Kept::open("/proc/meminfo"),
        diskstats: Kept::open("/proc/diskstats"),
    })
}

/// Opens the files. Needs `/proc`.
pub fn open() {
    let _ = files();
}

/// How far the disks are; without an answer of the kernel, as if they had done nothing.
pub fn progress() -> Progress {
    let read = |kept: &Kept| kept.read().unwrap_or_default();
    Progress::read(&read(&files().meminfo), &read(&files().diskstats))
}

/// What has to be unmounted, as [`mountinfo::to_unmount`]; if the kernel does not tell, the places that init knows.
pub fn to_unmount() -> Vec<Mounted> {
    to_unmount_by(|| files().mountinfo.read())
}

fn to_unmount_by(read: impl Fn() -> io::Result<Vec<u8>>) -> Vec<Mounted> {
    let result = read().or_else(|_| {
        limits::restore();
        read()
    });
    match result {
        Ok(text) if !text.is_empty() => mountinfo::to_unmount(&text),
        other => {
            let cause = match other {
                Ok(_) => "it is empty".to_owned(),
                Err(error) => error.to_string(),
            };
            log::error!(
                "shutdown: the list of mounted file systems cannot be read: {cause}; {} are unmounted",
                PLACES.join(" and ")
            );
            let place = |path: &str| Mounted {
                path: PathBuf::from(path),
                kind: String::new(),
                source: PathBuf::new(),
            };
            PLACES.map(place).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_known_places_are_unmounted_when_the_kernel_does_not_tell() {
        let paths = |read: fn() -> io::Result<Vec<u8>>| -> Vec<PathBuf> {
            to_unmount_by(read)
                .into_iter()
                .map(|mounted| mounted.path)
                .collect()
        };
        let known = PLACES.map(PathBuf::from);
        assert_eq!(paths(|| Err(io::ErrorKind::Other.into())), known);
        assert_eq!(paths(|| Ok(Vec::new())), known);
        assert_eq!(
            paths(|| Ok(b"31 30 0:30 / /data rw - ext4 /dev/vda rw\n".to_vec())),
            [PathBuf::from("/data")]
        );
    }

    #[test]
    fn a_file_of_proc_is_read_again_and_again() -> io::Result<()> {
        let kept = Kept::open("/proc/self/mountinfo");
        let first = kept.read()?;
        assert!(!first.is_empty());
        assert_eq!(kept.read()?, first);
        Ok(())
    }
}
