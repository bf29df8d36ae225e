//! Extends the last partition of a GUID partition table to the end of a disk that has become larger. Bytes in, bytes out.
//!
//! UEFI specification 2.10, section 5.3 "GUID Partition Table (GPT) Disk Layout".
//!
//! A power cut leaves a valid table at every point, because what is in force is never overwritten: first the backup is
//! written at the new end of the disk, where nothing was; then the new entries into the one of two places for them that
//! is free; then the header, one sector, which says where the entries in force and the backup are. Linux looks at the
//! backup only when it is told to, so a primary table that is whole at every time is what counts.

/// The only sector size that is understood: a table made for it is at another place on other disks.
pub const SECTOR: usize = 512;
/// How many bytes of the disk's beginning [`Table::read`] wants: all that can come before the first partition's mebibyte.
pub const HEAD: usize = 66 * SECTOR;
/// A partition begins and ends at a mebibyte, in sectors.
const ALIGNMENT: u64 = 2048;
const HEADER: usize = 92;
const ENTRY: usize = 128;
const ENTRIES: usize = 128;
/// The sectors of the entries.
const ARRAY: u64 = (ENTRIES * ENTRY / SECTOR) as u64;
/// The two places for the primary entries.
const PLACES: [u64; 2] = [2, 2 + ARRAY];
/// "Grow the file system", attribute bit 59 of the UAPI group's Discoverable Partitions Specification.
const GROW: u64 = 1 << 59;

/// Why a disk is left as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No or another table, or a damaged one.
    #[error("it has no valid GUID partition table")]
    NoTable,
    /// The copy at the end does not say the same.
    #[error("the backup of its partition table is not valid")]
    NoBackup,
    /// There is one place for the entries only.
    #[error("its partition table has no room for a second copy of its entries")]
    NoRoom,
    /// The kernel knows other partitions than the table, or another one is behind it.
    #[error("the partition is not the last one of its partition table")]
    NotLast,
}

/// What to write, in this order, each piece on the disk before the next: byte offset and bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extension {
    /// The pieces.
    pub writes: Vec<(u64, Vec<u8>)>,
    /// The partition's new size in sectors.
    pub sectors: u64,
}

/// A primary table that is whole.
#[derive(Clone, Debug)]
pub struct Table<'a> {
    head: &'a [u8],
    header: &'a [u8],
    entries: &'a [u8],
}

impl<'a> Table<'a> {
    /// Reads the table in the first [`HEAD`] bytes of a disk.
    ///
    /// # Errors
    ///
    /// [`Refusal::NoTable`] when a signature, a checksum or a size is not as the specification and mkfs have it.
    pub fn read(head: &'a [u8]) -> Result<Self, Refusal> {
        let header = sector(head, 1).ok_or(Refusal::NoTable)?;
        let place = PLACES
            .into_iter()
            .find(|place| *place == number(header, 72))
            .ok_or(Refusal::NoTable)?;
        let is_ours = is_header(header, 1)
            && number(header, 80) as u32 == ENTRIES as u32
            && number(header, 80) >> 32 == ENTRY as u64;
        let start = usize::try_from(place).unwrap_or_default() * SECTOR;
        let entries = head
            .get(start..start + ENTRIES * ENTRY)
            .filter(|entries| {
                is_ours && u64::from(crc32(entries)) == number(header, 88) & 0xffff_ffff
            })
            .ok_or(Refusal::NoTable)?;
        Ok(Self {
            head,
            header,
            entries,
        })
    }

    /// Whether the partition of this number (from 1) asks to be grown.
    pub fn asks_to_grow(&self, partition: usize) -> bool {
        self.entry(partition)
            .is_some_and(|entry| number(entry, 48) & GROW != 0)
    }

    /// The sector of the backup's header.
    pub fn backup(&self) -> u64 {
        number(self.header, 32)
    }

    /// What to write so that a partition, which the kernel says begins at sector `start`, fills a disk of `sectors`.
    /// `None` when there is less than a mebibyte to win. `backup` is the sector [`Self::backup`].
    ///
    /// # Errors
    ///
    /// What is not provably right is not touched.
    pub fn extend(
        &self,
        backup: &[u8],
        sectors: u64,
        partition: usize,
        start: u64,
    ) -> Result<Option<Extension>, Refusal> {
        let old_end = self.backup();
        let same =
            |range: std::ops::Range<usize>| backup.get(range.clone()) == self.header.get(range);
        // Size and revision, usable sectors and disk's GUID, number, size and checksum of the entries.
        if !is_header(backup, old_end)
            || number(backup, 32) != 1
            || !same(8..16)
            || !same(40..72)
            || !same(80..92)
        {
            return Err(Refusal::NoBackup);
        }
        if number(self.header, 40) < PLACES[1] + ARRAY {
            return Err(Refusal::NoRoom);
        }
        let entry = self.entry(partition).ok_or(Refusal::NotLast)?;
        let end = number(entry, 40);
        if number(entry, 32) != start
            || end < start
            || end > number(self.header, 48)
            || !self.is_last(entry)
        {
            return Err(Refusal::NotLast);
        }
        let Some(last_usable) = sectors.checked_sub(ARRAY + 2) else {
            return Err(Refusal::NoTable);
        };
        let new_end = (last_usable + 1) / ALIGNMENT * ALIGNMENT;
        // Nothing of the old backup is overwritten by the new one either: it is at least a mebibyte further.
        if new_end <= end.saturating_add(ALIGNMENT) || sectors <= old_end.saturating_add(ALIGNMENT)
        {
            return Ok(None);
        }

        let mut entries = self.entries.to_vec();
        put(
            &mut entries,
            (partition - 1) * ENTRY + 40,
            &(new_end - 1).to_le_bytes(),
        );
        let place = if number(self.header, 72) == PLACES[0] {
            PLACES[1]
        } else {
            PLACES[0]
        };
        let header = |own: u64, other: u64, place: u64| {
            let mut header = self.header.to_vec();
            put(&mut header, 24, &own.to_le_bytes());
            put(&mut header, 32, &other.to_le_bytes());
            put(&mut header, 48, &last_usable.to_le_bytes());
            put(&mut header, 72, &place.to_le_bytes());
            put(&mut header, 88, &crc32(&entries).to_le_bytes());
            put(&mut header, 16, &[0; 4]);
            let sum = crc32(header.get(..HEADER).unwrap_or_default());
            put(&mut header, 16, &sum.to_le_bytes());
            header
        };
        let at = |sector: u64| sector * SECTOR as u64;
        let mut writes = vec![
            (at(last_usable + 1), entries.clone()),
            (at(sectors - 1), header(sectors - 1, 1, last_usable + 1)),
            (at(place), entries.clone()),
            (at(1), header(1, sectors - 1, place)),
        ];
        writes.extend(self.protective(sectors).map(|sector| (0, sector)));
        Ok(Some(Extension {
            writes,
            sectors: new_end - start,
        }))
    }

    fn entry(&self, partition: usize) -> Option<&'a [u8]> {
        let entry = self
            .entries
            .chunks_exact(ENTRY)
            .nth(partition.checked_sub(1)?)?;
        is_used(entry).then_some(entry)
    }

    fn is_last(&self, entry: &[u8]) -> bool {
        self.entries
            .chunks_exact(ENTRY)
            .filter(|other| is_used(other))
            .all(|other| std::ptr::eq(other, entry) || number(other, 40) < number(entry, 32))
    }

    /// The sector before the table, whose one partition covers the disk for those who know no GPT.
    fn protective(&self, sectors: u64) -> Option<Vec<u8>> {
        let mut sector = sector(self.head, 0)?.to_vec();
        let is_protective = sector.get(450) == Some(&0xee)
            && sector.get(454..458) == Some(&[1, 0, 0, 0])
            && sector.get(510..512) == Some(&[0x55, 0xaa]);
        let length = u32::try_from(sectors - 1).unwrap_or(u32::MAX);
        put(&mut sector, 458, &length.to_le_bytes());
        is_protective.then_some(sector)
    }
}

fn is_used(entry: &[u8]) -> bool {
    entry.iter().take(16).any(|byte| *byte != 0)
}

fn is_header(sector: &[u8], own: u64) -> bool {
    let Some(header) = sector.get(..HEADER) else {
        return false;
    };
    let mut unsummed = header.to_vec();
    put(&mut unsummed, 16, &[0; 4]);
    header.starts_with(b"EFI PART")
        && number(header, 8) == (HEADER as u64) << 32 | 0x1_0000
        && number(header, 16) == u64::from(crc32(&unsummed))
        && number(header, 24) == own
}

fn sector(bytes: &[u8], number: usize) -> Option<&[u8]> {
    bytes.chunks_exact(SECTOR).nth(number)
}

/// The 64 bits at an offset; what is beyond the end is nothing.
fn number(bytes: &[u8], at: usize) -> u64 {
    let field = bytes.iter().skip(at).take(8);
    field
        .rev()
        .fold(0, |value, byte| value << 8 | u64::from(*byte))
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(field) = bytes.get_mut(at..at + value.len()) {
        field.copy_from_slice(value);
    }
}

/// CRC-32 as of ISO 3309. Bit by bit: a table would be larger than the time is long.
pub(crate) fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            (sum >> 1) ^ (0xedb8_8320 * (sum & 1))
        })
    })
}

#[cfg(test)]
#[path = "gpt_tests.rs"]
mod tests;
