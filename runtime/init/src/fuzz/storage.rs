//! Disks that somebody else wrote.

use std::sync::LazyLock;

use super::Input;
use super::input::put;
use crate::storage::choose::{self, Device, Found, LABEL};
use crate::storage::gpt::{HEAD, SECTOR, Table, crc32};
use crate::storage::probe::{Contents, LENGTH, probe};
use crate::storage::which::Disk;

/// The beginning of a device: empty or with the marks of file systems, and the input's bytes where they matter. Nothing but the exact
/// label of one file system is taken for `/persistent`.
pub fn superblock(data: &[u8]) {
    /// Where the file systems' structures lie.
    const PLACES: [usize; 8] = [
        0x1_0000, 0x1_0030, 0x1_0040, 0x1_0088, 0x1_012b, 0x400, 0x438, 0x8000,
    ];
    let mut input = Input::new(data);
    let mut image = vec![0; LENGTH];
    let marks = input.byte();
    if marks & 1 != 0 {
        put(&mut image, 0x1_0040, b"_BHRfS_M");
        put(&mut image, 0x1_0030, &0x1_0000_u64.to_le_bytes());
        put(&mut image, 0x1_0088, &[1]);
        put(&mut image, 0x1_012b, LABEL);
    }
    if marks & 2 != 0 {
        put(&mut image, 0x438, &[0x53, 0xef]);
        put(&mut image, 0x478, LABEL);
    }
    if marks & 4 != 0 {
        put(&mut image, 0x8000, b"\x01CD001\x01");
    }
    let length = if marks & 0x18 == 0x18 {
        input.u32() as usize
    } else {
        LENGTH
    };
    for _ in 0..20 {
        if input.is_empty() {
            break;
        }
        let which = input.byte();
        let at = match PLACES.get(usize::from(which % 9)) {
            Some(at) => at + usize::from(input.byte()),
            None => input.u32() as usize % LENGTH,
        };
        put(&mut image, at, input.piece());
    }
    let Contents::One(file_system) = probe(image.get(..length).unwrap_or(&image)) else {
        return;
    };
    assert!(file_system.label.len() <= 256);
    assert!(!file_system.kind.name().is_empty());
    let exact = file_system.label == b"tinyboot" && file_system.devices == 1;
    let disk = Disk::default();
    let found: Found = [("vda".to_owned(), Device { file_system, disk })].into();
    let is_iso = choose::iso(&found, None, true).is_some();
    let is_persistent = !choose::persistent(&found, None).is_empty();
    assert_eq!(is_persistent, exact && !is_iso);
}

/// A partition table, its backup, and what is to be written so that the last partition becomes larger: never what lies between the
/// table and the end of that partition, and nothing beyond the disk. The sums are right unless the input wants them wrong.
pub fn gpt(data: &[u8]) {
    const FIRST: u64 = 2048;
    const OLD: u64 = 8192;
    /// The sum of the entries as they are made here.
    static WHOLE: LazyLock<u32> = LazyLock::new(|| crc32(&entries()));
    let mut input = Input::new(data);
    let mode = input.byte();
    let mut head = vec![0; HEAD];
    put(&mut head, 450, &[0xee, 0, 0, 0, 1]);
    put(&mut head, 510, &[0x55, 0xaa]);
    let place = input.pick(2_u64, &[34, 3]);
    let at = usize::try_from(place).unwrap_or(2) * SECTOR;
    put(&mut head, at, &entries());
    let fields = [
        (24, 1),
        (32, OLD - 1),
        (40, FIRST),
        (48, OLD - 34),
        (56, 99),
        (72, place),
    ];
    let mut header = vec![0; SECTOR];
    put(&mut header, 0, b"EFI PART\0\0\x01\0\x5c\0\0\0");
    for (at, value) in fields {
        put(&mut header, at, &value.to_le_bytes());
    }
    put(&mut header, 80, &[128, 0, 0, 0, 128, 0, 0, 0]);
    let (entry, mut changed) = (at, false);
    for _ in 0..input.byte() % 8 {
        let at = usize::from(input.byte());
        match input.byte() % 4 {
            0 => put(&mut header, at % 92, input.piece()),
            1 => put(&mut header, at % 12 * 8, &input.u64().to_le_bytes()),
            kind => {
                changed = true;
                if kind == 2 {
                    put(&mut head, entry + at * 8 % 512, &input.u64().to_le_bytes());
                } else {
                    put(&mut head, usize::from(input.u16()), input.piece());
                }
            }
        }
    }
    match mode & 3 {
        // A sum of 16 KiB takes longer than all the rest.
        0 | 1 if !changed => put(&mut header, 88, &WHOLE.to_le_bytes()),
        3 => {}
        _ => {
            let entries = head.get(at..at + 128 * 128).unwrap_or_default();
            put(&mut header, 88, &crc32(entries).to_le_bytes());
        }
    }
    let mut backup = header.clone();
    let own = header.get(32..40).unwrap_or_default().to_vec();
    put(&mut backup, 24, &own);
    put(&mut backup, 32, &1_u64.to_le_bytes());
    if mode & 0x0c == 0x0c {
        input.damage(&mut backup);
    }
    for sector in [&mut header, &mut backup] {
        if mode & 0x30 != 0x30 {
            put(sector, 16, &[0; 4]);
            let sum = crc32(sector.get(..92).unwrap_or_default()).to_le_bytes();
            put(sector, 16, &sum);
        }
    }
    put(&mut head, SECTOR, &header);
    let Ok(table) = Table::read(&head) else {
        return;
    };
    let sectors = OLD + u64::from(input.u32());
    let (partition, start) = (input.pick(2, &[1, 3, 0]), input.pick(4096, &[FIRST, 0]));
    let _ = table.asks_to_grow(partition);
    let Ok(Some(extension)) = table.extend(&backup, sectors, partition, start) else {
        return;
    };
    assert!(start + extension.sectors <= sectors - 33);
    let end = (start + extension.sectors) * SECTOR as u64;
    for (at, bytes) in &extension.writes {
        let behind = at + bytes.len() as u64;
        assert!(
            behind <= HEAD as u64 || (*at >= end && behind <= sectors * SECTOR as u64),
            "{at}"
        );
    }
    if mode & 0x40 == 0 {
        return;
    }
    // The table in force afterwards is whole, and says so.
    let mut after = head.clone();
    for (at, bytes) in &extension.writes {
        put(
            &mut after,
            usize::try_from(*at).unwrap_or(usize::MAX),
            bytes,
        );
    }
    let after = Table::read(&after).map(|table| table.backup());
    assert_eq!(after, Ok(sectors - 1));
}

/// Two partitions, the second of them to be grown.
fn entries() -> Vec<u8> {
    let mut entries = vec![0; 128 * 128];
    for (number, (first, last)) in [(2048, 4095), (4096, 6143_u64)].into_iter().enumerate() {
        let at = number * 128;
        put(&mut entries, at, &[7; 32]);
        put(&mut entries, at + 32, &u64::to_le_bytes(first));
        put(&mut entries, at + 40, &last.to_le_bytes());
        put(&mut entries, at + 48, &(1_u64 << 59).to_le_bytes());
    }
    entries
}
