//! Which of the file systems that are there goes to `/iso`, and which to `/persistent`.

use std::collections::{BTreeMap, BTreeSet};

use super::probe::{FileSystem, Kind};
use super::which::{Disk, Which};

/// The label of the file system that outlives a reboot, byte for byte.
pub const LABEL: &[u8] = b"tinyboot";

/// A device with a file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    pub file_system: FileSystem,
    pub disk: Disk,
}

/// What was found, by the kernel's name of the device: `vda`, `sr0`. Its order is the order of preference.
pub type Found = BTreeMap<String, Device>;

/// The device for `/iso`: the first one with the volume id that the image was built with; only if there is none and
/// `last_word` the first one at all.
pub fn iso<'a>(found: &'a Found, volume_id: Option<&str>, last_word: bool) -> Option<&'a str> {
    let all = || {
        found
            .iter()
            .filter(|(_, device)| device.file_system.kind == Kind::Iso9660)
            .map(|(name, _)| name.as_str())
    };
    let Some(volume_id) = volume_id else {
        return all().next();
    };
    let own = all().find(|name| {
        found
            .get(*name)
            .is_some_and(|device| device.file_system.label == volume_id.as_bytes())
    });
    own.or_else(|| all().next().filter(|_| last_word))
}

/// All devices that could be `/persistent`, the preferred one first: a disk that is built in before one that can be plugged in
/// by anybody; a disk of its own before the partition of the image's disk, beside which it was put on purpose; btrfs before
/// ext4 and its elders; then by name. With `which` only the disk that it means.
pub fn persistent<'a>(found: &'a Found, which: Option<&Which>) -> Vec<&'a str> {
    let mut candidates: Vec<_> = found
        .iter()
        .filter(|(_, device)| may_be_persistent(device, which))
        .collect();
    candidates.sort_by_key(|(name, device)| {
        (
            device.disk.removable,
            device.disk.own,
            device.file_system.kind != Kind::Btrfs,
            name.as_str(),
        )
    });
    candidates
        .into_iter()
        .map(|(name, _)| name.as_str())
        .collect()
}

/// What `/iso` and `/persistent` get without waiting for drivers, if that is certain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certain {
    /// The device for `/iso`; none if that place is filled.
    pub iso: Option<String>,
    pub persistent: String,
}

/// The choice among the devices of built-in drivers, which were all there before init started. It is certain if the iso9660
/// has the image's own volume id (or `/iso` is filled), and if the disk for `/persistent` is named by its UUID or serial
/// number, or is of the kind that comes first: neither removable nor the partition of the image's own disk. No device of a
/// module takes part, so that it does not matter how quick its driver is.
pub fn certain(
    found: &Found,
    built_in: &BTreeSet<String>,
    iso_is_filled: bool,
    volume_id: Option<&str>,
    which: Option<&Which>,
) -> Option<Certain> {
    let found: Found = found
        .iter()
        .filter(|(name, _)| built_in.contains(*name))
        .map(|(name, device)| (name.clone(), device.clone()))
        .collect();
    let iso = if iso_is_filled {
        None
    } else {
        volume_id?;
        Some(iso(&found, volume_id, false)?.to_owned())
    };
    let persistent = persistent(&found, which).first().copied()?;
    let disk = &found.get(persistent)?.disk;
    let is_named = matches!(which, Some(Which::Uuid(_) | Which::Serial(_)));
    (is_named || !(disk.removable || disk.own)).then(|| Certain {
        iso,
        persistent: persistent.to_owned(),
    })
}

fn may_be_persistent(Device { file_system, disk }: &Device, which: Option<&Which>) -> bool {
    file_system.kind != Kind::Iso9660
        && file_system.label == LABEL
        && file_system.devices == 1
        && which.is_none_or(|which| which.means(disk, Some(&file_system.id)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn found(devices: &[(&str, Kind, &str)]) -> Found {
        let file_system = |kind, label: &str| Device {
            file_system: FileSystem {
                kind,
                label: label.into(),
                ..FileSystem::created()
            },
            disk: Disk::default(),
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
                persistent(&found(&[("vda", Kind::Btrfs, label)]), None).is_empty(),
                "{label}"
            );
        }
        assert!(persistent(&found(&[("vda", Kind::Iso9660, "tinyboot")]), None).is_empty());
    }

    #[test]
    fn a_member_of_several_is_not_taken() {
        let mut disks = found(&[("vda", Kind::Btrfs, "tinyboot")]);
        disks
            .values_mut()
            .for_each(|device| device.file_system.devices = 2);
        assert!(persistent(&disks, None).is_empty());
    }

    #[test]
    fn a_disk_that_anybody_can_plug_in_comes_last() {
        let mut disks = found(&[
            ("sda", Kind::Btrfs, "tinyboot"),
            ("vda3", Kind::Btrfs, "tinyboot"),
            ("vdb", Kind::Ext4, "tinyboot"),
        ]);
        for (name, device) in &mut disks {
            device.disk.removable = name == "sda";
            device.disk.own = name == "vda3";
            device.disk.serial = format!("serial-of-{name}");
        }
        assert_eq!(persistent(&disks, None), ["vdb", "vda3", "sda"]);
        let which = Which::Serial("serial-of-sda".into());
        assert_eq!(persistent(&disks, Some(&which)), ["sda"]);
        let which = Which::Serial("other".into());
        assert!(persistent(&disks, Some(&which)).is_empty());
        // The rest of the rules holds for the disk that is named, too.
        disks
            .values_mut()
            .for_each(|device| device.file_system.label = b"data".to_vec());
        assert!(persistent(&disks, Some(&Which::Serial("serial-of-sda".into()))).is_empty());
    }

    #[test]
    fn built_in_devices_that_fill_both_places_wait_for_no_driver() {
        let mut devices = found(&[
            ("sda", Kind::Btrfs, "tinyboot"),
            ("sr0", Kind::Iso9660, "OURS"),
            ("vda", Kind::Iso9660, "OURS"),
            ("vdb", Kind::Ext4, "tinyboot"),
        ]);
        for (name, device) in &mut devices {
            device.disk.serial = format!("serial-of-{name}");
        }
        let built_in = BTreeSet::from(["vda".to_owned(), "vdb".to_owned()]);
        let both = |iso: Option<&str>| {
            Some(Certain {
                iso: iso.map(str::to_owned),
                persistent: "vdb".into(),
            })
        };
        let choice = |devices: &Found, filled, volume_id, which: Option<&Which>| {
            certain(devices, &built_in, filled, volume_id, which)
        };
        let ours = Some("OURS");
        // A module's devices change nothing, there or not, although both would come first.
        assert_eq!(choice(&devices, false, ours, None), both(Some("vda")));
        assert_eq!(choice(&devices, true, ours, None), both(None));
        let mut alone = devices.clone();
        alone.retain(|name, _| built_in.contains(name));
        assert_eq!(choice(&alone, false, ours, None), both(Some("vda")));

        // Another volume may be displaced by the image's own, which a module may bring.
        assert_eq!(choice(&devices, false, Some("THIRD"), None), None);
        assert_eq!(choice(&devices, false, None, None), None);
        let serial = |name| Which::Serial(format!("serial-of-{name}"));
        assert_eq!(choice(&devices, false, ours, Some(&serial("sda"))), None);
        // A disk of its own may come; but not in the place of the one that is named.
        for own in [true, false] {
            for (name, device) in &mut devices {
                device.disk.own = own && name == "vdb";
                device.disk.removable = !own && name == "vdb";
            }
            assert_eq!(choice(&devices, false, ours, None), None);
            let named = serial("vdb");
            assert_eq!(
                choice(&devices, false, ours, Some(&named)),
                both(Some("vda"))
            );
        }
        devices.remove("vdb");
        assert_eq!(choice(&devices, false, ours, None), None);
    }

    proptest! {
        #[test]
        fn btrfs_comes_first_whatever_the_names(names in proptest::collection::btree_set("[sv]d[a-z]", 2..6), at in 0usize..6) {
            let at = at % names.len();
            let disks: Vec<_> = names.iter().enumerate()
                .map(|(index, name)| (name.as_str(), if index == at { Kind::Btrfs } else { Kind::Ext4 }, "tinyboot"))
                .collect();
            let disks = found(&disks);
            let order = persistent(&disks, None);
            prop_assert_eq!(order.first().copied(), names.iter().nth(at).map(String::as_str));
            prop_assert!(order.get(1..).is_some_and(|rest| rest.is_sorted()));
        }
    }
}
