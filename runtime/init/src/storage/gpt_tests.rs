#![allow(clippy::indexing_slicing, clippy::unwrap_used)]

use super::*;
use proptest::prelude::*;

const FIRST: u64 = 2048;
const START: u64 = 4096;

/// A disk with two partitions, the second of them to be grown.
fn disk(sectors: u64) -> Vec<u8> {
    let mut disk = vec![0; usize::try_from(sectors).unwrap() * SECTOR];
    put(&mut disk, 450, &[0xee, 0, 0, 0, 1]);
    put(&mut disk, 510, &[0x55, 0xaa]);
    let mut entries = vec![0; ENTRIES * ENTRY];
    let end = (sectors - 33) / ALIGNMENT * ALIGNMENT - 1;
    for (index, (first, last, flags)) in [(FIRST, START - 1, 0), (START, end, GROW)]
        .into_iter()
        .enumerate()
    {
        put(&mut entries, index * ENTRY, &[7; 32]);
        for (at, value) in [(32, first), (40, last), (48, flags)] {
            put(&mut entries, index * ENTRY + at, &value.to_le_bytes());
        }
    }
    for (own, other, place) in [(1, sectors - 1, 2), (sectors - 1, 1, sectors - 33)] {
        let mut header = [0; SECTOR];
        put(&mut header, 0, b"EFI PART\0\0\x01\0\x5c\0\0\0");
        for (at, value) in [
            (24, own),
            (32, other),
            (40, FIRST),
            (48, sectors - 34),
            (56, 99),
            (72, place),
        ] {
            put(&mut header, at, &value.to_le_bytes());
        }
        put(&mut header, 80, &[128, 0, 0, 0, 128, 0, 0, 0]);
        put(&mut header, 88, &crc32(&entries).to_le_bytes());
        let sum = crc32(&header[..HEADER]);
        put(&mut header, 16, &sum.to_le_bytes());
        put(&mut disk, usize::try_from(own).unwrap() * SECTOR, &header);
        put(
            &mut disk,
            usize::try_from(place).unwrap() * SECTOR,
            &entries,
        );
    }
    disk
}

fn extend(disk: &[u8]) -> Result<Option<Extension>, Refusal> {
    let table = Table::read(&disk[..HEAD])?;
    let backup = usize::try_from(table.backup()).unwrap();
    let sectors = (disk.len() / SECTOR) as u64;
    table.extend(sector(disk, backup).unwrap_or_default(), sectors, 2, START)
}

fn write(disk: &mut [u8], (at, bytes): &(u64, Vec<u8>)) {
    put(disk, usize::try_from(*at).unwrap(), bytes);
}

/// First and last sector of the second partition, as Linux sees it.
fn seen(disk: &[u8]) -> (u64, u64) {
    let table = Table::read(&disk[..HEAD]).unwrap();
    let entry = table.entry(2).unwrap();
    (number(entry, 32), number(entry, 40))
}

#[test]
fn the_check_value_of_the_checksum() {
    assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
}

#[test]
fn a_disk_of_the_old_size_stays() {
    assert_eq!(extend(&disk(8192)), Ok(None));
}

#[test]
fn a_larger_disk_is_filled_again_and_again() {
    let mut disk = disk(8192);
    for sectors in [20_000_usize, 40_000] {
        disk.resize(sectors * SECTOR, 0);
        let extension = extend(&disk).unwrap().unwrap();
        for piece in &extension.writes {
            write(&mut disk, piece);
        }
        let end = (sectors as u64 - 33) / ALIGNMENT * ALIGNMENT - 1;
        assert_eq!(seen(&disk), (START, end));
        assert_eq!(extension.sectors, end + 1 - START);
        assert_eq!(extend(&disk), Ok(None), "and the backup is valid");
        assert_eq!(
            number(&disk, 458) as u32,
            u32::try_from(sectors).unwrap() - 1
        );
    }
}

#[test]
fn what_is_not_the_last_partition_is_refused() {
    let mut disk = disk(8192);
    disk.resize(20_000 * SECTOR, 0);
    let table = Table::read(&disk[..HEAD]).unwrap();
    let backup = sector(&disk, 8191).unwrap();
    for (partition, start) in [
        (1, FIRST),
        (2, START + 1),
        (3, START),
        (0, START),
        (200, START),
    ] {
        assert_eq!(
            table.extend(backup, 20_000, partition, start),
            Err(Refusal::NotLast)
        );
    }
    assert!(table.asks_to_grow(2) && !table.asks_to_grow(1) && !table.asks_to_grow(0));
}

#[test]
fn without_a_backup_nothing_is_done() {
    let mut disk = disk(8192);
    disk.resize(20_000 * SECTOR, 0);
    disk[8191 * SECTOR + 60] ^= 1;
    assert_eq!(extend(&disk), Err(Refusal::NoBackup));
}

proptest! {
    #[test]
    fn one_wrong_bit_is_found(at in 0..ENTRIES * ENTRY + HEADER, bit in 0..8_u8) {
        let mut disk = disk(8192);
        disk.resize(20_000 * SECTOR, 0);
        let at = if at < HEADER { SECTOR + at } else { 2 * SECTOR + at - HEADER };
        disk[at] ^= 1 << bit;
        prop_assert_eq!(extend(&disk), Err(Refusal::NoTable));
    }

    /// The power goes after any sector of any piece; the next boot does the rest.
    #[test]
    fn a_power_cut_leaves_a_valid_table(sectors in 10_300_usize..60_000, cut in 0..70_usize) {
        let mut disk = disk(8192);
        let before = seen(&disk);
        disk.resize(sectors * SECTOR, 0);
        let whole = extend(&disk).unwrap().unwrap();
        let mut left = cut;
        for (at, bytes) in &whole.writes {
            let length = bytes.len().min(left * SECTOR);
            write(&mut disk, &(*at, bytes[..length].to_vec()));
            left -= length / SECTOR;
        }
        let now = seen(&disk);
        let complete = (START, START + whole.sectors - 1);
        prop_assert!(now == before || now == complete);
        for piece in extend(&disk).unwrap().iter().flat_map(|extension| &extension.writes) {
            write(&mut disk, piece);
        }
        prop_assert_eq!(seen(&disk), complete);
        prop_assert_eq!(extend(&disk), Ok(None));
    }

    #[test]
    fn any_bytes_are_read_without_harm(mut head in proptest::collection::vec(any::<u8>(), 0..HEAD), fix in any::<bool>()) {
        if fix {
            put(&mut head, SECTOR, b"EFI PART\0\0\x01\0\x5c\0\0\0");
        }
        if let Ok(table) = Table::read(&head) {
            let _ = table.extend(&head, 100_000, 1, 2048);
        }
    }
}
