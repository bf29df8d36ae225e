//! What the kernel kept of its last panic in the firmware's variables or in memory that outlives a reset
//! (Documentation/ABI/testing/pstore).

use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

use nix::mount::{MsFlags, mount, umount};

use super::record::lines;

const PLACE: &str = "/sys/fs/pstore";
/// No more files than these are looked at, and no more of each.
const MOST: usize = 64;
const LONGEST: u64 = 64 * 1024;
/// How much text is kept in all.
const LONGEST_TEXT: usize = 128 * 1024;
/// What the kernel says in a panic before the cause.
const PANIC: &str = "Kernel panic - not syncing: ";

/// A panic of the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Panic {
    /// What the kernel gave as the cause.
    pub cause: Option<String>,
    /// The kernel's last lines.
    pub text: String,
}

/// Takes the kernel's records out of the place where they outlive a reset: it is small, and there is no other who empties it. A
/// panic, if one is among them. Blocks as long as the firmware needs.
pub fn take() -> Option<Panic> {
    let place = Path::new(PLACE);
    if !place.exists() {
        return None;
    }
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    if let Err(error) = mount(Some("pstore"), place, Some("pstore"), flags, None::<&str>) {
        log::warn!("boot: {PLACE} cannot be mounted: {}", error.desc());
        return None;
    }
    let (mut records, mut length) = (Vec::new(), 0);
    let names = fs::read_dir(place).into_iter().flatten().flatten();
    for entry in names.take(MOST) {
        let name = entry.file_name();
        if !name.to_string_lossy().starts_with("dmesg-") {
            continue;
        }
        let mut bytes = Vec::new();
        if length < LONGEST_TEXT
            && let Ok(file) = File::open(entry.path())
            && file.take(LONGEST).read_to_end(&mut bytes).is_ok()
        {
            length += bytes.len();
            records.push(bytes);
        }
        if let Err(error) = fs::remove_file(entry.path()) {
            log::warn!(
                "boot: {} cannot be removed: {error}",
                entry.path().display()
            );
        }
    }
    let _ = umount(place);
    join(&records)
}

/// Puts the parts of the newest panic together, each of which begins with a line such as `Panic#1 Part2`: the first part is the last one in time.
pub(crate) fn join(records: &[Vec<u8>]) -> Option<Panic> {
    let mut parts: Vec<(u64, u64, &[u8])> =
        records.iter().filter_map(|bytes| part(bytes)).collect();
    let newest = parts.iter().map(|(count, ..)| *count).max()?;
    parts.retain(|(count, ..)| *count == newest);
    parts.sort_by_key(|(_, part, _)| std::cmp::Reverse(*part));
    let mut text = String::new();
    for (.., bytes) in parts {
        text.push_str(&lines(bytes));
    }
    if text.len() > LONGEST_TEXT {
        let mut begin = text.len() - LONGEST_TEXT;
        while !text.is_char_boundary(begin) {
            begin += 1;
        }
        text.drain(..begin);
    }
    let cause = text
        .lines()
        .find_map(|line| Some(line.split_once(PANIC)?.1.chars().take(200).collect()));
    Some(Panic { cause, text })
}

/// How many panics there were with this one, which part of it this is, and its text.
fn part(record: &[u8]) -> Option<(u64, u64, &[u8])> {
    let end = record.iter().take(100).position(|byte| *byte == b'\n')?;
    let (header, text) = (record.get(..end)?, record.get(end + 1..)?);
    let (count, part) = std::str::from_utf8(header)
        .ok()?
        .strip_prefix("Panic#")?
        .split_once(" Part")?;
    Some((count.parse().ok()?, part.trim_end().parse().ok()?, text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_parts_are_put_in_the_order_of_time() {
        let records = [
            b"Panic#2 Part1\n<0>[    9.2] Kernel panic - not syncing: sysrq triggered crash\n<4>[    9.3] CPU: 0\n".to_vec(),
            b"Oops#1 Part1\n<0>[    3.0] BUG\n".to_vec(),
            b"Panic#2 Part2\n<6>[    9.1] sysrq: Trigger a crash\n".to_vec(),
            b"Panic#1 Part1\n<6>[    1.1] older\n".to_vec(),
        ];
        let panic = join(&records);
        assert_eq!(
            panic,
            Some(Panic {
                cause: Some("sysrq triggered crash".into()),
                text: "<6>[    9.1] sysrq: Trigger a crash\n<0>[    9.2] Kernel panic - not syncing: sysrq triggered crash\n<4>[    9.3] CPU: 0\n".into(),
            })
        );
        assert_eq!(join(&[b"Oops#1 Part1\nx\n".to_vec()]), None);
        assert_eq!(join(&[]), None);
    }

    proptest! {
        #[test]
        fn any_records_are_read_and_the_text_is_bounded(
            records in proptest::collection::vec(
                (proptest::option::of((any::<u8>(), any::<u8>())), proptest::collection::vec(any::<u8>(), 0..400))
                    .prop_map(|(header, text)| match header {
                        Some((count, part)) => [format!("Panic#{count} Part{part}\n").as_bytes(), &text].concat(),
                        None => text,
                    }),
                0..8,
            ),
        ) {
            if let Some(panic) = join(&records) {
                prop_assert!(panic.text.len() <= LONGEST_TEXT);
                let escape = panic.text.contains('\u{1b}');
                prop_assert!(!escape);
            }
        }
    }
}
