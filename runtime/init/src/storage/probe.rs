//! Which file system is on a device, from its first bytes and without mounting it.
//!
//! Offsets: btrfs `struct btrfs_super_block` at 64 KiB, ext `struct ext4_super_block` at 1 KiB, ECMA-119 volume
//! descriptors from sector 16 of 2048 bytes.

use std::fmt;

/// How many bytes from the start of the device [`probe`] wants to see.
pub const LENGTH: usize = 0x1_1000;

/// A file system that init mounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// btrfs.
    Btrfs,
    /// ext2: no journal.
    Ext2,
    /// ext3: a journal, none of ext4's formats.
    Ext3,
    /// ext4.
    Ext4,
    /// ISO 9660.
    Iso9660,
}

impl Kind {
    /// The kernel's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Btrfs => "btrfs",
            Self::Ext2 => "ext2",
            Self::Ext3 => "ext3",
            Self::Ext4 => "ext4",
            Self::Iso9660 => "iso9660",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a device holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSystem {
    /// Its kind.
    pub kind: Kind,
    /// Its label or volume id, byte for byte but for the padding.
    pub label: Vec<u8>,
    /// How many devices it is spread over; more than one is btrfs's alone.
    pub devices: u64,
    /// Its UUID. ISO 9660 has none: the beginning of what this is made of a sum.
    pub id: [u8; 16],
    /// Its own notes say that its checker should look at it (`s_state` of ext4).
    pub wants_check: bool,
    /// Features that it has and this kernel does not.
    pub foreign: Vec<&'static str>,
}

/// What the first bytes say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Contents {
    /// Nothing that init mounts.
    Nothing,
    /// The one file system.
    One(FileSystem),
    /// The marks of several: nobody can say which of them are remnants.
    Several(Vec<FileSystem>),
}

impl FileSystem {
    /// What init makes itself ([`super::create`]).
    pub fn created() -> Self {
        Self {
            kind: Kind::Btrfs,
            label: super::choose::LABEL.to_vec(),
            devices: 1,
            id: [0; 16],
            wants_check: false,
            foreign: Vec::new(),
        }
    }
}

/// Recognises the file system on a device.
pub fn probe(bytes: &[u8]) -> Contents {
    let mut found: Vec<_> = [btrfs(bytes), ext(bytes), iso9660(bytes)]
        .into_iter()
        .flatten()
        .collect();
    match (found.pop(), found.is_empty()) {
        (None, _) => Contents::Nothing,
        (Some(one), true) => Contents::One(one),
        (Some(last), false) => {
            found.push(last);
            Contents::Several(found)
        }
    }
}

fn btrfs(bytes: &[u8]) -> Option<FileSystem> {
    let block = bytes.get(0x1_0000..0x1_1000)?;
    // The block says where it lies: a copy of it elsewhere is not the file system.
    if block.get(0x40..0x48)? != b"_BHRfS_M" || little_endian(block, 0x30, 8)? != 0x1_0000 {
        return None;
    }
    Some(FileSystem {
        kind: Kind::Btrfs,
        label: until_zero(block.get(0x12b..0x22b)?),
        devices: little_endian(block, 0x88, 8)?,
        id: block.get(0x20..0x30)?.try_into().ok()?,
        wants_check: false,
        foreign: Vec::new(),
    })
}

fn ext(bytes: &[u8]) -> Option<FileSystem> {
    const HAS_JOURNAL: u64 = 0x4;
    const JOURNAL_DEVICE: u64 = 0x8;
    // What ext3 knows: FILETYPE, RECOVER, META_BG; SPARSE_SUPER, LARGE_FILE, BTREE_DIR.
    const EXT3_INCOMPATIBLE: u64 = 0x2 | 0x4 | 0x10;
    const EXT3_READ_ONLY: u64 = 0x1 | 0x2 | 0x4;
    // The first two only keep the kernel from writing: there is no CONFIG_QUOTA; the third has it refuse the file system.
    const QUOTA: u64 = 0x100;
    const PROJECT: u64 = 0x2000;
    const CASEFOLD: u64 = 0x2_0000;
    const STATE_VALID: u64 = 1;
    const STATE_ERROR: u64 = 2;
    let block = bytes.get(0x400..0x800)?;
    if little_endian(block, 0x38, 2)? != 0xef53 {
        return None;
    }
    let (compatible, incompatible, read_only) = (
        little_endian(block, 0x5c, 4)?,
        little_endian(block, 0x60, 4)?,
        little_endian(block, 0x64, 4)?,
    );
    if incompatible & JOURNAL_DEVICE != 0 {
        return None;
    }
    let kind = if incompatible & !EXT3_INCOMPATIBLE != 0 || read_only & !EXT3_READ_ONLY != 0 {
        Kind::Ext4
    } else if compatible & HAS_JOURNAL != 0 {
        Kind::Ext3
    } else {
        Kind::Ext2
    };
    let state = little_endian(block, 0x3a, 2)?;
    let foreign = [
        ("quota", read_only & QUOTA),
        ("project", read_only & PROJECT),
        ("casefold", incompatible & CASEFOLD),
    ];
    Some(FileSystem {
        kind,
        label: until_zero(block.get(0x78..0x88)?),
        devices: 1,
        id: block.get(0x68..0x78)?.try_into().ok()?,
        // One without a journal says so too when it was not unmounted.
        wants_check: state & STATE_VALID == 0 || state & STATE_ERROR != 0,
        foreign: foreign
            .iter()
            .filter(|(_, bit)| *bit != 0)
            .map(|(name, _)| *name)
            .collect(),
    })
}

fn iso9660(bytes: &[u8]) -> Option<FileSystem> {
    let descriptors = bytes.get(0x8000..)?.chunks_exact(0x800);
    for descriptor in descriptors {
        if descriptor.get(1..6)? != b"CD001" {
            return None;
        }
        match descriptor.first()? {
            1 => {
                let id = descriptor.get(40..72)?;
                let length = id
                    .iter()
                    .rposition(|byte| !matches!(byte, b' ' | 0))
                    .map_or(0, |last| last + 1);
                return Some(FileSystem {
                    kind: Kind::Iso9660,
                    label: id.get(..length)?.to_vec(),
                    devices: 1,
                    id: sum(bytes.get(0x8000..)?),
                    wants_check: false,
                    foreign: Vec::new(),
                });
            }
            255 => return None,
            _ => {}
        }
    }
    None
}

/// FNV-1a. Nobody gains anything by another disc with the same sum: its content is as unknown as that of this one.
fn sum(bytes: &[u8]) -> [u8; 16] {
    let sum = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    });
    u128::from(sum).to_le_bytes()
}

fn little_endian(bytes: &[u8], at: usize, length: usize) -> Option<u64> {
    let field = bytes.get(at..at + length)?;
    Some(
        field
            .iter()
            .rev()
            .fold(0, |value, byte| value << 8 | u64::from(*byte)),
    )
}

fn until_zero(bytes: &[u8]) -> Vec<u8> {
    bytes
        .iter()
        .copied()
        .take_while(|byte| *byte != 0)
        .collect()
}

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    fn put(image: &mut [u8], at: usize, bytes: &[u8]) {
        image[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn with_btrfs(image: &mut [u8], label: &[u8], devices: u64) {
        put(image, 0x1_0040, b"_BHRfS_M");
        put(image, 0x1_0030, &0x1_0000u64.to_le_bytes());
        put(image, 0x1_0088, &devices.to_le_bytes());
        put(image, 0x1_012b, label);
    }

    fn with_ext(image: &mut [u8], label: &[u8], features: [u32; 3]) {
        put(image, 0x438, &[0x53, 0xef, 1]);
        put(image, 0x478, label);
        for (at, feature) in [0x45c, 0x460, 0x464].into_iter().zip(features) {
            put(image, at, &feature.to_le_bytes());
        }
    }

    fn with_iso(image: &mut [u8], sector: usize, id: &[u8]) {
        put(image, sector * 0x800, b"\x01CD001\x01");
        put(image, sector * 0x800 + 40, &[b' '; 32]);
        put(image, sector * 0x800 + 40, id);
    }

    /// The one file system of an image, without its id.
    fn one(contents: Contents) -> Option<FileSystem> {
        let Contents::One(mut file_system) = contents else {
            return None;
        };
        file_system.id = [0; 16];
        Some(file_system)
    }

    fn made(make: impl FnOnce(&mut [u8])) -> Option<FileSystem> {
        let mut image = vec![0; LENGTH];
        make(&mut image);
        one(probe(&image))
    }

    fn is(kind: Kind, label: &str) -> Option<FileSystem> {
        Some(FileSystem {
            kind,
            label: label.into(),
            ..FileSystem::created()
        })
    }

    #[test]
    fn each_kind_is_recognised() {
        assert_eq!(
            made(|image| with_btrfs(image, b"tinyboot", 1)),
            is(Kind::Btrfs, "tinyboot")
        );
        assert_eq!(
            made(|image| with_ext(image, b"tinyboot", [0x38, 0x2, 0x3])),
            is(Kind::Ext2, "tinyboot")
        );
        assert_eq!(
            made(|image| with_ext(image, b"tinyboot", [0x3c, 0x6, 0x3])),
            is(Kind::Ext3, "tinyboot")
        );
        assert_eq!(
            made(|image| with_ext(image, b"a", [0x3c, 0x2c2, 0x46b])),
            is(Kind::Ext4, "a")
        );
        assert_eq!(
            made(|image| with_iso(image, 16, b"TINYBOOT")),
            is(Kind::Iso9660, "TINYBOOT")
        );
    }

    #[test]
    fn a_boot_record_may_come_first_on_an_iso() {
        let boot_record_first = |image: &mut [u8]| {
            put(image, 0x8000, b"\x00CD001\x01");
            with_iso(image, 17, b"SECOND");
        };
        assert_eq!(made(boot_record_first), is(Kind::Iso9660, "SECOND"));
        assert_eq!(made(|image| put(image, 0x8000, b"\xffCD001\x01")), None);
    }

    #[test]
    fn what_is_not_ours_is_not_recognised() {
        assert_eq!(made(|_| ()), None);
        assert_eq!(made(|image| put(image, 4086, b"SWAPSPACE2")), None);
        assert_eq!(
            made(|image| with_ext(image, b"", [0, 0x8, 0])),
            None,
            "a journal device"
        );
        assert_eq!(
            made(|image| put(image, 0x1_0040, b"_BHRfS_M")),
            None,
            "a copy at another place"
        );
    }

    #[test]
    fn two_marks_are_nobodys() {
        let mut image = vec![0; LENGTH];
        with_btrfs(&mut image, b"tinyboot", 1);
        with_ext(&mut image, b"tinyboot", [0x3c, 0x2c2, 0x46b]);
        let kinds = match probe(&image) {
            Contents::Several(all) => all.iter().map(|one| one.kind).collect(),
            _ => Vec::new(),
        };
        assert_eq!(kinds, [Kind::Btrfs, Kind::Ext4]);
    }

    #[test]
    fn ids_features_and_states_are_told() {
        let read = |make: fn(&mut [u8])| {
            let mut image = vec![0; LENGTH];
            make(&mut image);
            match probe(&image) {
                Contents::One(one) => one,
                _ => FileSystem::created(),
            }
        };
        let id: [u8; 16] = *b"0123456789abcdef";
        let btrfs = read(|image| {
            with_btrfs(image, b"x", 1);
            put(image, 0x1_0020, b"0123456789abcdef");
        });
        assert_eq!(btrfs.id, id);
        let ext = read(|image| {
            with_ext(image, b"x", [0x3c, 0x2_02c2, 0x256b]);
            put(image, 0x468, b"0123456789abcdef");
        });
        assert_eq!((ext.id, ext.wants_check), (id, false));
        assert_eq!(ext.foreign, ["quota", "project", "casefold"]);
        for state in [0, 2, 3] {
            let mut image = vec![0; LENGTH];
            with_ext(&mut image, b"x", [0x3c, 0x2c2, 0x46b]);
            put(&mut image, 0x43a, &[state]);
            assert!(
                matches!(probe(&image), Contents::One(one) if one.wants_check),
                "{state}"
            );
        }
        // Two discs with one volume id are two.
        let discs = [
            read(|image| with_iso(image, 16, b"X")),
            read(|image| {
                with_iso(image, 16, b"X");
                put(image, 0x8050, &[1]);
            }),
        ];
        assert_ne!(discs[0], discs[1]);
    }

    #[test]
    fn a_member_of_several_says_so() {
        assert_eq!(
            made(|image| with_btrfs(image, b"tinyboot", 2)).map(|found| found.devices),
            Some(2)
        );
    }

    #[test]
    fn a_short_device_is_no_fault() {
        let mut image = vec![0; LENGTH];
        with_iso(&mut image, 16, b"SHORT");
        assert_eq!(one(probe(&image[..0x8800])), is(Kind::Iso9660, "SHORT"));
        assert_eq!(probe(&image[..0x8700]), Contents::Nothing);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(length in 0..LENGTH, patches in proptest::collection::vec((0..LENGTH - 16, any::<[u8; 8]>()), 0..8)) {
            let mut image = vec![0; LENGTH];
            with_btrfs(&mut image, b"x", 1);
            with_iso(&mut image, 16, b"y");
            for (at, bytes) in patches { put(&mut image, at, &bytes); }
            let _ = probe(&image[..length]);
        }

        #[test]
        fn a_label_comes_back(label in "[a-zA-Z0-9_-]{0,16}") {
            prop_assert_eq!(made(|image| with_btrfs(image, label.as_bytes(), 1)), is(Kind::Btrfs, &label));
            prop_assert_eq!(made(|image| with_ext(image, label.as_bytes(), [4, 0x40, 0])), is(Kind::Ext4, &label));
            prop_assert_eq!(made(|image| with_iso(image, 16, label.as_bytes())), is(Kind::Iso9660, &label));
        }
    }
}
