//! What the agent tells of disks and of what is mounted, in the protocol's form. sysfs says where a disk is plugged in: the
//! path of its device names each bus on the way to it.

use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::statvfs::{Statvfs, statvfs};
use serde_json::{Map, Value, json};
use tinyboot::status::{Mount, Storage};

/// Where the kernel has a link for each disk and each partition.
const BLOCK: &str = "/sys/class/block";

/// `guest-get-fsinfo`: what init mounted.
pub fn file_systems(storage: &Storage) -> Value {
    let all = [&storage.persistent, &storage.iso];
    all.into_iter()
        .flatten()
        .map(|mount| file_system(mount, statvfs(&mount.path).ok().as_ref(), Path::new(BLOCK)))
        .collect()
}

fn file_system(mount: &Mount, room: Option<&Statvfs>, block: &Path) -> Value {
    let name = mount
        .device
        .file_name()
        .unwrap_or_default()
        .to_string_lossy();
    let mut entry = Map::new();
    entry.insert("name".into(), name.as_ref().into());
    entry.insert("mountpoint".into(), mount.path.to_string_lossy().into());
    entry.insert("type".into(), mount.file_system.as_str().into());
    if let Some(room) = room {
        let bytes = |blocks: u64| blocks.saturating_mul(room.fragment_size());
        let used = room.blocks().saturating_sub(room.blocks_free());
        entry.insert("used-bytes".into(), bytes(used).into());
        // That for a program that is not root.
        let total = used.saturating_add(room.blocks_available());
        entry.insert("total-bytes".into(), bytes(total).into());
        let all = bytes(room.blocks());
        entry.insert("total-bytes-privileged".into(), all.into());
    }
    let disk: Vec<Value> = address(block, &name).into_iter().collect();
    entry.insert("disk".into(), disk.into());
    Value::Object(entry)
}

/// `guest-get-disks`: each disk with a medium, and its partitions.
pub fn disks() -> Value {
    listed(Path::new(BLOCK))
}

fn listed(block: &Path) -> Value {
    let mut names: Vec<String> = fs::read_dir(block)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| text(&block.join(name).join("size")).is_some_and(|size| size != "0"))
        .collect();
    names.sort();
    names
        .iter()
        .filter_map(|name| {
            let (disk, partition) = disk_of(block, name)?;
            let mut entry = Map::new();
            entry.insert("name".into(), format!("/dev/{name}").into());
            entry.insert("partition".into(), partition.into());
            let parts: Vec<String> = partition
                .then(|| Some(format!("/dev/{}", disk.file_name()?.to_str()?)))
                .flatten()
                .into_iter()
                .collect();
            entry.insert("dependencies".into(), parts.into());
            // A disk that the kernel made up has none.
            if let Some(address) = address(block, name).filter(|_| disk.join("device").exists()) {
                entry.insert("address".into(), address);
            }
            Some(Value::Object(entry))
        })
        .collect()
}

/// The directory of a device's disk, and whether the device is a partition of it.
fn disk_of(block: &Path, name: &str) -> Option<(PathBuf, bool)> {
    let path = fs::canonicalize(block.join(name)).ok()?;
    if path.join("partition").exists() {
        return Some((path.parent()?.to_owned(), true));
    }
    Some((path, false))
}

/// A `GuestDiskAddress`.
fn address(block: &Path, name: &str) -> Option<Value> {
    let (disk, _) = disk_of(block, name)?;
    let mut pci = None;
    let mut scsi = None;
    let mut bus = "unknown";
    let mut at = PathBuf::new();
    for part in disk.components() {
        at.push(part);
        let part = part.as_os_str().to_str().unwrap_or_default();
        if let Some(numbers) = pci_address(part) {
            pci = Some(numbers);
            let driver = fs::read_link(at.join("driver")).unwrap_or_default();
            bus = match driver.file_name().and_then(|name| name.to_str()) {
                Some("nvme") => "nvme",
                Some("ahci") => "sata",
                _ => "unknown",
            };
        } else if let Some(numbers) = scsi_address(part) {
            scsi = Some(numbers);
            if bus != "usb" && bus != "sata" && bus != "ide" {
                bus = "scsi";
            }
        } else if is_numbered(part, "usb") {
            bus = "usb";
        } else if is_numbered(part, "ata") && bus != "sata" {
            bus = "ide";
        } else if is_numbered(part, "virtio") {
            bus = "virtio";
        } else if part.starts_with("vbd-") {
            bus = "xen";
        } else if part.starts_with("mmc") {
            bus = "sd";
        }
    }
    let [domain, bus_number, slot, function] = pci.unwrap_or([-1; 4]);
    let [channel, target, unit] = scsi.unwrap_or_default();
    let mut address = json!({
        "pci-controller": {
            "domain": domain, "bus": bus_number, "slot": slot, "function": function,
        },
        "bus-type": bus,
        "bus": channel, "target": target, "unit": unit,
        "dev": format!("/dev/{name}"),
    });
    let serial = text(&disk.join("serial")).or_else(|| text(&disk.join("device/serial")));
    if let (Some(serial), Some(address)) =
        (serial.filter(|it| !it.is_empty()), address.as_object_mut())
    {
        address.insert("serial".into(), serial.into());
    }
    Some(address)
}

/// `0000:00:1f.2`: domain, bus, slot and function, in hexadecimal digits.
fn pci_address(text: &str) -> Option<[i64; 4]> {
    let (rest, function) = text.split_once('.')?;
    let mut parts = rest.split(':').chain([function]);
    let mut next = |length| {
        let part = parts.next().filter(|part| part.len() == length)?;
        i64::from_str_radix(part, 16).ok()
    };
    let numbers = [next(4)?, next(2)?, next(2)?, next(1)?];
    parts.next().is_none().then_some(numbers)
}

/// `2:0:1:0`: host, channel, target and unit; without the host.
fn scsi_address(text: &str) -> Option<[i64; 3]> {
    let mut parts = text.split(':').map(|part| part.parse::<u32>().ok());
    parts.next()??;
    let mut next = || parts.next().flatten().map(i64::from);
    let numbers = [next()?, next()?, next()?];
    parts.next().is_none().then_some(numbers)
}

fn is_numbered(text: &str, name: &str) -> bool {
    text.strip_prefix(name)
        .is_some_and(|number| number.parse::<u32>().is_ok())
}

fn text(path: &Path) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    type Outcome = Result<(), Box<dyn std::error::Error>>;

    /// A sysfs with a disk at each path of a device, and the class's links.
    fn sysfs(disks: &[(&str, &[(&str, &str)])]) -> std::io::Result<tempfile::TempDir> {
        let directory = tempfile::tempdir()?;
        fs::create_dir_all(directory.path().join("block"))?;
        for (path, files) in disks {
            let disk = directory.path().join("devices").join(path);
            fs::create_dir_all(&disk)?;
            for (name, text) in *files {
                let file = disk.join(name);
                fs::create_dir_all(file.parent().unwrap_or(&disk))?;
                fs::write(file, text)?;
            }
            let name = disk.file_name().unwrap_or_default();
            symlink(&disk, directory.path().join("block").join(name))?;
        }
        Ok(directory)
    }

    #[test]
    fn each_bus_on_the_way_to_a_disk_is_told() -> Outcome {
        let pci = "pci0000:00/0000:00";
        let disks: [(&str, &str, [i64; 4], [i64; 3]); 7] = [
            (
                &format!("{pci}:04.0/virtio1/block/vda"),
                "virtio",
                [0, 0, 4, 0],
                [0; 3],
            ),
            (
                &format!("{pci}:05.0/0000:01:00.0/virtio2/host0/target0:0:3/0:0:3:1/block/sda"),
                "scsi",
                [0, 1, 0, 0],
                [0, 3, 1],
            ),
            (
                &format!("{pci}:1f.2/ata2/host2/target2:0:0/2:0:0:0/block/sr0"),
                "sata",
                [0, 0, 31, 2],
                [0; 3],
            ),
            (
                &format!("{pci}:01.1/ata1/host1/target1:0:1/1:0:1:0/block/sdb"),
                "ide",
                [0, 0, 1, 1],
                [0, 1, 0],
            ),
            (
                &format!("{pci}:1d.7/usb1/1-1/1-1:1.0/host3/target3:0:0/3:0:0:0/block/sdc"),
                "usb",
                [0, 0, 29, 7],
                [0; 3],
            ),
            (
                &format!("{pci}:06.0/nvme/nvme0/nvme0n1"),
                "nvme",
                [0, 0, 6, 0],
                [0; 3],
            ),
            ("virtual/block/loop0", "unknown", [-1; 4], [0; 3]),
        ];
        let all: Vec<(&str, &[(&str, &str)])> =
            disks.iter().map(|(path, ..)| (*path, &[][..])).collect();
        let root = sysfs(&all)?;
        for (slot, driver) in [("1f.2", "ahci"), ("01.1", "ata_piix"), ("06.0", "nvme")] {
            let device = root.path().join("devices").join(format!("{pci}:{slot}"));
            symlink(
                format!("../../bus/pci/drivers/{driver}"),
                device.join("driver"),
            )?;
        }
        for (path, bus, [domain, pci_bus, slot, function], [channel, target, unit]) in disks {
            let name = path.rsplit('/').next().unwrap_or_default();
            let expected = json!({
                "pci-controller": { "domain": domain, "bus": pci_bus, "slot": slot, "function": function },
                "bus-type": bus, "bus": channel, "target": target, "unit": unit, "dev": format!("/dev/{name}"),
            });
            assert_eq!(address(&root.path().join("block"), name), Some(expected));
        }
        Ok(())
    }

    #[test]
    fn disks_with_a_medium_and_their_partitions_are_listed() -> Outcome {
        let disk = "pci0000:00/0000:00:04.0/virtio1/block/vda";
        let root = sysfs(&[
            (
                disk,
                &[("size", "2048\n"), ("serial", "data\n"), ("device/x", "")],
            ),
            (
                &format!("{disk}/vda1"),
                &[("size", "1024\n"), ("partition", "1\n")],
            ),
            ("virtual/block/loop0", &[("size", "0\n")]),
            ("virtual/block/zram0", &[("size", "8\n")]),
        ])?;
        let address = |dev: &str| {
            json!({
                "pci-controller": { "domain": 0, "bus": 0, "slot": 4, "function": 0 },
                "bus-type": "virtio", "bus": 0, "target": 0, "unit": 0, "dev": dev, "serial": "data",
            })
        };
        let block = root.path().join("block");
        assert_eq!(
            listed(&block),
            json!([
                { "name": "/dev/vda", "partition": false, "dependencies": [], "address": address("/dev/vda") },
                { "name": "/dev/vda1", "partition": true, "dependencies": ["/dev/vda"], "address": address("/dev/vda1") },
                { "name": "/dev/zram0", "partition": false, "dependencies": [] },
            ])
        );
        let mount = Mount {
            path: "/persistent".into(),
            device: "/dev/vda1".into(),
            file_system: "btrfs".into(),
            read_only: false,
        };
        assert_eq!(
            file_system(&mount, None, &block),
            json!({ "name": "vda1", "mountpoint": "/persistent", "type": "btrfs", "disk": [address("/dev/vda1")] })
        );
        Ok(())
    }

    #[test]
    fn room_is_told_in_bytes() -> Outcome {
        let mount = Mount {
            path: "/".into(),
            device: "/dev/none".into(),
            file_system: "ext4".into(),
            read_only: false,
        };
        let room = statvfs("/")?;
        let told = file_system(&mount, Some(&room), Path::new("/nonexistent"));
        let number = |name: &str| told.get(name).and_then(Value::as_u64).ok_or("no number");
        assert!(number("used-bytes")? <= number("total-bytes")?);
        assert!(number("total-bytes")? <= number("total-bytes-privileged")?);
        assert_eq!(told.get("disk"), Some(&json!([])));
        Ok(())
    }
}
