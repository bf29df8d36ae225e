//! A btrfs as it is when it has just been made, which the image brings in pieces, and what a disk has to look like to get it.
//! No I/O here.
//!
//! `struct btrfs_super_block` (fs/btrfs/fs.h): a checksum in the first 32 bytes, which is CRC-32C here, the file system's
//! id at 0x20, its size at 0x70. The template has the incompatible feature METADATA_UUID: so its id stands in the
//! superblock alone, and each disk can have another one.

use std::ops::Range;

/// The unit in which disks write.
const SECTOR: usize = 512;
/// Where the superblock lies, and how long it is.
const SUPERBLOCK: Range<usize> = 0x1_0000..0x1_1000;
const CHECKSUM: Range<usize> = 0..32;
const ID: Range<usize> = 0x20..0x30;
const MAGIC: Range<usize> = 0x40..0x48;
const SIZE: Range<usize> = 0x70..0x78;

/// Bytes and where they belong.
pub type Piece = (u64, Vec<u8>);

/// What `mkfs.btrfs` wrote when the image was built.
#[derive(Debug)]
pub struct Template {
    /// In order, without the superblock; all else is zero.
    pieces: Vec<Piece>,
    superblock: Vec<u8>,
    size: u64,
}

impl Template {
    /// Reads the pieces: offset and length of each as numbers of eight and four bytes, and its bytes.
    pub fn parse(mut bytes: &[u8]) -> Option<Self> {
        let (mut pieces, mut superblock, mut end) = (Vec::<Piece>::new(), None, 0);
        while !bytes.is_empty() {
            let (at, rest) = bytes.split_first_chunk()?;
            let (length, rest) = rest.split_first_chunk()?;
            let at = u64::from_le_bytes(*at);
            let (piece, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
            if at < end || at % SECTOR as u64 != 0 || !piece.len().is_multiple_of(SECTOR) {
                return None;
            }
            end = at.checked_add(piece.len() as u64)?;
            if at == SUPERBLOCK.start as u64 {
                superblock = Some(piece.to_vec());
            } else {
                pieces.push((at, piece.to_vec()));
            }
            bytes = rest;
        }
        let superblock = superblock.filter(|block| block.len() == SUPERBLOCK.len())?;
        let size = u64::from_le_bytes(superblock.get(SIZE)?.try_into().ok()?);
        let is_whole = superblock.get(MAGIC)? == b"_BHRfS_M" && end <= size;
        is_whole.then_some(Self {
            pieces,
            superblock,
            size,
        })
    }

    /// How many bytes a disk must have.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// All but the superblock.
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// The superblock of the file system `id`, with which everything is a file system; and where it belongs.
    pub fn superblock(&self, id: [u8; 16]) -> Piece {
        let mut block = self.superblock.clone();
        let mut put = |range: Range<usize>, bytes: &[u8]| {
            if let Some(field) = block.get_mut(range) {
                field.copy_from_slice(bytes);
            }
        };
        put(ID, &id);
        put(CHECKSUM, &[0; 32]);
        let sum = crc32c(block.get(CHECKSUM.end..).unwrap_or_default());
        if let Some(field) = block.get_mut(..4) {
            field.copy_from_slice(&sum.to_le_bytes());
        }
        (SUPERBLOCK.start as u64, block)
    }

    /// Where `bytes`, which lie at `at` of a disk, have anything on them: no sector but those that are zero and those that this
    /// template itself puts there, when the power went before its end, is nothing.
    pub fn first_foreign(&self, at: u64, bytes: &[u8]) -> Option<u64> {
        if is_zero(bytes) {
            return None;
        }
        let sectors = bytes.chunks(SECTOR).zip((at..).step_by(SECTOR));
        sectors
            .filter(|(sector, at)| !is_zero(sector) && !self.has(*at, sector))
            .map(|(_, at)| at)
            .next()
    }

    fn has(&self, at: u64, sector: &[u8]) -> bool {
        let within = |start: u64, piece: &[u8]| -> Option<Vec<u8>> {
            let from = usize::try_from(at.checked_sub(start)?).ok()?;
            Some(piece.get(from..from.checked_add(SECTOR)?)?.to_vec())
        };
        if let Some(mut own) = within(SUPERBLOCK.start as u64, &self.superblock) {
            let mut sector = sector.to_vec();
            // Nobody knows which id it would have been.
            if at == SUPERBLOCK.start as u64 {
                for bytes in [&mut own, &mut sector] {
                    bytes.iter_mut().take(ID.end).for_each(|byte| *byte = 0);
                }
            }
            return own == sector;
        }
        let mut pieces = self.pieces.iter();
        pieces.any(|(start, piece)| within(*start, piece).is_some_and(|own| own == sector))
    }
}

/// Comparing bytes with their neighbours is what the C library does quickest.
fn is_zero(bytes: &[u8]) -> bool {
    match bytes.split_first() {
        Some((first, rest)) => *first == 0 && bytes.get(..rest.len()) == Some(rest),
        None => true,
    }
}

/// CRC-32C (RFC 3720, appendix B.4), bit by bit: it is asked for once.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            (sum >> 1) ^ (0x82f6_3b78 & (sum & 1).wrapping_neg())
        })
    })
}

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    fn piece(at: u64, bytes: &[u8]) -> Vec<u8> {
        let length = u32::try_from(bytes.len()).unwrap_or_default();
        [&at.to_le_bytes()[..], &length.to_le_bytes(), bytes].concat()
    }

    /// A template for disks of `size` bytes: not a file system, but with its outlines.
    pub fn file(size: u64) -> Vec<u8> {
        let mut superblock = vec![7; SUPERBLOCK.len()];
        superblock[MAGIC].copy_from_slice(b"_BHRfS_M");
        superblock[SIZE].copy_from_slice(&size.to_le_bytes());
        superblock[600..1600].fill(0);
        [
            piece(0x1_0000, &superblock),
            piece(0x2_0000, &[1; 1024]),
            piece(0x2_0800, &[2; 512]),
        ]
        .concat()
    }

    fn template() -> Template {
        Template::parse(&file(1 << 20)).unwrap_or(Template {
            pieces: Vec::new(),
            superblock: Vec::new(),
            size: 0,
        })
    }

    #[test]
    fn the_check_value_of_the_checksum() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn what_is_cut_off_or_out_of_order_is_no_template() {
        let whole = file(1 << 20);
        assert!(Template::parse(&whole).is_some());
        assert!(Template::parse(&[]).is_none());
        for end in 1..whole.len() {
            if let Some(template) = Template::parse(&whole[..end]) {
                assert!(template.pieces.len() < 2, "{end}");
            }
        }
        assert!(Template::parse(&[piece(0x2_0000, &[1; 512]), whole].concat()).is_none());
        assert!(
            Template::parse(&file(0x2_0000)).is_none(),
            "larger than the disk"
        );
    }

    #[test]
    fn the_superblock_has_the_id_and_a_sum() {
        let (at, block) = template().superblock([9; 16]);
        assert_eq!((at, block.len()), (0x1_0000, 4096));
        assert_eq!(block[ID], [9; 16]);
        assert_eq!(block[..4], crc32c(&block[32..]).to_le_bytes());
        assert_eq!(block[4..32], [0; 28]);
    }

    #[test]
    fn what_a_power_cut_left_is_as_good_as_nothing() {
        let template = template();
        let mut disk = vec![0; 1 << 20];
        let (at, superblock) = template.superblock([5; 16]);
        for (at, bytes) in template.pieces().iter().chain([&(at, superblock)]) {
            // Sector by sector, in the order of writing.
            for (sector, at) in bytes.chunks(SECTOR).zip((*at as usize..).step_by(SECTOR)) {
                disk[at..at + SECTOR].copy_from_slice(sector);
                assert_eq!(template.first_foreign(0, &disk), None);
            }
        }
        disk[0x2_0001] = 0;
        assert_eq!(
            template.first_foreign(0, &disk),
            Some(0x2_0000),
            "half of a sector"
        );
        disk[0x2_0001] = 1;
        disk[0x1_0030] ^= 1;
        assert_eq!(template.first_foreign(0, &disk), Some(0x1_0000));
    }

    proptest! {
        #[test]
        fn one_byte_is_something(at in 0_usize..1 << 20, value in 1_u8..) {
            let mut disk = vec![0; 1 << 20];
            disk[at] = value;
            prop_assert_eq!(template().first_foreign(0, &disk), Some((at / SECTOR * SECTOR) as u64));
        }

        #[test]
        fn any_bytes_are_read_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..100), at in 0..3000_usize, patch in any::<[u8; 12]>()) {
            let _ = Template::parse(&bytes);
            let mut whole = file(1 << 20);
            let at = at % (whole.len() - patch.len());
            whole[at..at + patch.len()].copy_from_slice(&patch);
            if let Some(template) = Template::parse(&whole) {
                let _ = template.first_foreign(u64::MAX - 4096, &[1; 4096]);
                let _ = template.superblock([0; 16]);
            }
        }
    }
}
