//! Which of the file systems that are there goes to `/iso`, and which to `/persistent`.

use std::collections::BTreeMap;

use super::probe::{FileSystem, Kind};

/// The label of the file system that outlives a reboot, byte for byte.
pub const LABEL: &[u8] = b"tinyboot";

/// What was found, by the kernel's name of the device: `vda`, `sr0`. Its order is the order of preference.
pub type Found = BTreeMap<String, FileSystem>;

/// The device for `/iso`: the first one with the volume id that the image was built with; only if there is none and
/// `last_word` the first one at all.
pub fn iso<'a>(found: &'a Found, volume_id: Option<&str>, last_word: bool) -> Option<&'a str> {
    let all = || {
        found
            .iter()
            .filter(|(_, file_system)| file_system.kind == Kind::Iso9660)
            .map(|(name, _)| name.as_str())
    };
    let Some(volume_id) = volume_id else {
        return all().next();
    };
    let own = all().find(|name| {
        found
            .get(*name)
            .is_some_and(|file_system| file_system.label == volume_id.as_bytes())
    });
    own.or_else(|| all().next().filter(|_| last_word))
}

/// All devices that could be `/persistent`, the preferred one first: btrfs before ext4 and its elders, then by name.
pub fn persistent(found: &Found) -> Vec<&str> {
    let mut candidates: Vec<_> = found
        .iter()
        .filter(|(_, file_system)| is_persistent(file_system))
        .collect();
    candidates.sort_by_key(|(name, file_system)| (file_system.kind != Kind::Btrfs, name.as_str()));
    candidates
        .into_iter()
        .map(|(name, _)| name.as_str())
        .collect()
}

fn is_persistent(file_system: &FileSystem) -> bool {
    file_system.kind != Kind::Iso9660 && file_system.label == LABEL && file_system.devices == 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn found(devices: &[(&str, Kind, &str)]) -> Found {
        let file_system = |kind, label: &str| FileSystem {
            kind,
            label: label.into(),
            devices: 1,
        };
        devices
            .iter()
            .map(|(name, kind, label)| ((*name).to_owned(), file_system(*kind, label)))
            .collect()
    }

    #[test]
    fn the_medium_that_was_booted_wins() {
        let drives = found(&[
            ("sr0", Kind::Iso9660, "OTHER"),
            ("sr1", Kind::Iso9660, "OURS"),
        ]);
        assert_eq!(iso(&drives, Some("OURS"), false), Some("sr1"));
        assert_eq!(iso(&drives, Some("THIRD"), false), None);
        assert_eq!(iso(&drives, Some("THIRD"), true), Some("sr0"));
        assert_eq!(iso(&drives, None, false), Some("sr0"));
    }

    #[test]
    fn the_label_is_exact() {
        for label in ["tinyboot2", "tinyboot-backup", "tinyboo", "Tinyboot", ""] {
            assert!(
                persistent(&found(&[("vda", Kind::Btrfs, label)])).is_empty(),
                "{label}"
            );
        }
        assert!(persistent(&found(&[("vda", Kind::Iso9660, "tinyboot")])).is_empty());
    }

    #[test]
    fn a_member_of_several_is_not_taken() {
        let mut disks = found(&[("vda", Kind::Btrfs, "tinyboot")]);
        disks
            .values_mut()
            .for_each(|file_system| file_system.devices = 2);
        assert!(persistent(&disks).is_empty());
    }

    proptest! {
        #[test]
        fn btrfs_comes_first_whatever_the_names(names in proptest::collection::btree_set("[sv]d[a-z]", 2..6), at in 0usize..6) {
            let at = at % names.len();
            let disks: Vec<_> = names.iter().enumerate()
                .map(|(index, name)| (name.as_str(), if index == at { Kind::Btrfs } else { Kind::Ext4 }, "tinyboot"))
                .collect();
            let disks = found(&disks);
            let order = persistent(&disks);
            prop_assert_eq!(order.first().copied(), names.iter().nth(at).map(String::as_str));
            prop_assert!(order.get(1..).is_some_and(|rest| rest.is_sorted()));
        }
    }
}
