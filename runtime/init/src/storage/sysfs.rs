//! What sysfs says about block devices, and about those that are still to come.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::inventory::{Identity, There};
use super::outlook::{Coming, Sight};
use super::probe::{self, Contents};
use super::which::Disk;

/// The name of the partition that `nix/disk.nix` makes for `/persistent`, and the id of the GPT that it makes it in, as the
/// table has it: 74696E79-626F-4F74-8000-000000000002 (UEFI 2.10, table 5.5).
const OWN_PARTITION: &str = "PARTNAME=tinyboot";
const OWN_TABLE: &[u8; 16] = b"\x79nit\x6fb\x74O\x80\0\0\0\0\0\0\x02";

/// The block devices that are there, sorted; without memory disks, and without loop devices, which are the app's own.
pub fn block_devices() -> Vec<String> {
    let mut names: Vec<String> = entries("/sys/class/block")
        .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
        .filter(|name| is_medium(name))
        .collect();
    names.sort();
    names
}

/// Whether a device of this name can hold what init looks for.
pub fn is_medium(name: &str) -> bool {
    !["ram", "zram", "loop", "fd"]
        .iter()
        .any(|kind| name.strip_prefix(kind).is_some_and(is_number))
}

/// Whether this is a whole disk that can be written, is built in, has no partitions, and that nothing lies on.
pub fn is_spare(name: &str) -> bool {
    is_spare_below(&Path::new("/sys/class/block").join(name))
}

fn is_spare_below(class: &Path) -> bool {
    let entries = || {
        fs::read_dir(class)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
    };
    // What is made of other devices, such as a mapping or an array, has no device of its own.
    class.join("device").exists()
        && !class.join("partition").exists()
        && text(&class.join("ro")) == "0"
        && text(&class.join("removable")) == "0"
        && fs::read_dir(class.join("holders")).is_ok_and(|mut holders| holders.next().is_none())
        && !entries().any(|entry| entry.join("partition").exists())
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// How many sectors have been written to this disk since it is there.
pub fn written(name: &str) -> Option<u64> {
    let stat = text(&Path::new("/sys/class/block").join(name).join("stat"));
    sectors_written(&stat)
}

/// Documentation/block/stat.rst: the seventh number.
fn sectors_written(stat: &str) -> Option<u64> {
    stat.split_ascii_whitespace().nth(6)?.parse().ok()
}

/// What a look at a device tells.
#[derive(Debug)]
pub struct Look {
    /// Which device it was at that time.
    pub identity: Option<Identity>,
    pub disk: Disk,
    /// An error is that it cannot be opened or read.
    pub contents: io::Result<Contents>,
}

/// Looks at a device and reads its first bytes. Blocks as long as the hardware does.
pub fn look(name: &str) -> Look {
    let before = identity(name);
    let contents = read(name);
    let after = identity(name);
    Look {
        identity: after,
        disk: disk(name),
        contents: if before == after {
            contents
        } else {
            // There is another medium, and a message about it to come.
            Err(nix::Error::EAGAIN.into())
        },
    }
}

fn read(name: &str) -> io::Result<Contents> {
    let mut bytes = Vec::new();
    File::open(Path::new("/dev").join(name))?
        .take(probe::LENGTH as u64)
        .read_to_end(&mut bytes)?;
    if bytes.is_empty() {
        return Err(nix::Error::ENOMEDIUM.into());
    }
    Ok(probe::probe(&bytes))
}

/// Which device has the name.
pub fn identity(name: &str) -> Option<Identity> {
    identity_below(&Path::new("/sys/class/block").join(name))
}

fn identity_below(class: &Path) -> Option<Identity> {
    let (disk, start) = if class.join("partition").exists() {
        (class.join(".."), text(&class.join("start")).parse().ok()?)
    } else {
        (class.to_owned(), 0)
    };
    let sequence = text(&disk.join("diskseq")).parse().ok()?;
    Some(Identity { sequence, start })
}

/// Which devices are there.
pub fn there() -> There {
    block_devices()
        .into_iter()
        .filter_map(|name| identity(&name).map(|identity| (name, identity)))
        .collect()
}

/// Facts about the disk that a device is, or is a part of.
pub fn disk(name: &str) -> Disk {
    disk_below(&Path::new("/sys/class/block").join(name), Path::new("/dev"))
}

fn disk_below(class: &Path, dev: &Path) -> Disk {
    let Ok(device) = class.canonicalize() else {
        return Disk::default();
    };
    let is_partition = device.join("partition").exists();
    let disk = match device.parent() {
        Some(parent) if is_partition => parent,
        _ => &device,
    };
    let own = is_partition
        && text(&device.join("uevent"))
            .lines()
            .any(|line| line == OWN_PARTITION)
        && disk
            .file_name()
            .and_then(|name| table_id(&dev.join(name)).ok())
            .is_some_and(|id| &id == OWN_TABLE);
    let mut buses: Vec<String> = disk.ancestors().filter_map(bus).collect();
    buses.sort();
    buses.dedup();
    Disk {
        removable: text(&disk.join("removable")) == "1" || buses.iter().any(|bus| bus == "usb"),
        own,
        serial: serial(disk),
        buses,
    }
}

/// The id of a disk's GPT.
fn table_id(disk: &Path) -> io::Result<[u8; 16]> {
    let mut header = [0; 72];
    File::open(disk)?.read_exact_at(&mut header, 512)?;
    match (header.first_chunk(), header.last_chunk()) {
        (Some(b"EFI PART"), Some(id)) => Ok(*id),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// The bus that a directory of sysfs stands for.
fn bus(directory: &Path) -> Option<String> {
    let name = directory.file_name()?.to_str()?;
    // libata's ports have no bus of their own.
    if name.strip_prefix("ata").is_some_and(is_number) {
        return Some("ata".into());
    }
    let subsystem = fs::read_link(directory.join("subsystem")).ok()?;
    Some(subsystem.file_name()?.to_str()?.to_owned())
}

/// A disk's serial number: its own, that of a SCSI device's page 0x80 (SPC-3, 7.6.9), or that of the nearest device that it
/// belongs to.
fn serial(disk: &Path) -> String {
    let page = fs::read(disk.join("device/vpd_pg80")).unwrap_or_default();
    let page = page
        .get(4..)
        .map(String::from_utf8_lossy)
        .unwrap_or_default();
    let page = page.trim_matches(['\0', ' ']);
    if !page.is_empty() {
        return page.to_owned();
    }
    disk.ancestors()
        .take_while(|directory| directory.file_name().is_some_and(|name| name != "devices"))
        .map(|directory| text(&directory.join("serial")))
        .find(|serial| !serial.is_empty())
        .unwrap_or_default()
}

/// What is there that may bring more disks.
pub fn sight() -> Sight {
    let sys = Path::new("/sys");
    Sight {
        coming: disks_are_coming(sys),
        // Only USB finds in its own time devices that nobody has heard of.
        slow_bus: entries(sys.join("bus/usb/devices")).next().is_some(),
    }
}

/// Whether a device was seen that will be a disk as soon as it has been asked for its capacity: these two work that out
/// after their driver has returned. (The drivers of all other controllers wait for their disks: the kernel ends all of
/// its asynchronous probing before it starts PID 1, and that of a module before finit_module(2) returns.)
fn disks_are_coming(sys: &Path) -> Coming {
    let disks: Vec<PathBuf> = entries(sys.join("class/block"))
        .filter_map(|path| path.canonicalize().ok())
        .collect();
    let without_disk = |path: PathBuf| {
        path.canonicalize()
            .ok()
            .filter(|device| !disks.iter().any(|disk| disk.starts_with(device)))
    };
    // These drivers wait for a disk to spin up; what others drive is no disk.
    let has_disk_driver = |path: &PathBuf| {
        fs::read_link(path.join("driver"))
            .is_ok_and(|driver| driver.ends_with("sd") || driver.ends_with("sr"))
    };
    let asked: Vec<PathBuf> = entries(sys.join("bus/scsi/devices"))
        .filter(has_disk_driver)
        .filter_map(without_disk)
        .collect();
    let usb = entries(sys.join("bus/usb/devices"))
        .filter(|path| text(&path.join("bInterfaceClass")) == "08")
        .filter_map(without_disk)
        .map(|interface| {
            if asked.iter().any(|device| device.starts_with(&interface)) {
                Coming::Surely
            } else {
                Coming::Perhaps
            }
        });
    let nvme = entries(sys.join("class/nvme"))
        .filter_map(without_disk)
        .filter_map(
            |controller| match text(&controller.join("state")).as_str() {
                "dead" => None,
                // It becomes live or dead; the kernel sees to that.
                "new" | "resetting" | "connecting" => Some(Coming::Surely),
                _ => Some(Coming::Perhaps),
            },
        );
    usb.chain(nvme).max().unwrap_or(Coming::None)
}

/// Has the kernel look every two seconds whether a medium was put in or taken out, and leave a drive open that is open when
/// init looks into it.
pub fn watch_media() -> io::Result<()> {
    fs::write("/sys/module/block/parameters/events_dfl_poll_msecs", "2000")?;
    match fs::write("/proc/sys/dev/cdrom/autoclose", "0") {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn entries(directory: impl AsRef<Path>) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
}

fn text(path: &Path) -> String {
    fs::read_to_string(path)
        .unwrap_or_default()
        .trim()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_disk_that_nobody_uses_is_spare() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let class = directory.path();
        for name in ["device", "holders", "queue"] {
            fs::create_dir(class.join(name))?;
        }
        fs::write(class.join("ro"), "0\n")?;
        fs::write(class.join("removable"), "0\n")?;
        assert!(is_spare_below(class));
        for attribute in ["ro", "removable"] {
            fs::write(class.join(attribute), "1\n")?;
            assert!(!is_spare_below(class), "{attribute}");
            fs::write(class.join(attribute), "0\n")?;
        }
        for file in ["holders/dm-0", "partition", "queue/partition"] {
            fs::write(class.join(file), "1\n")?;
            assert!(!is_spare_below(class), "{file}");
            fs::remove_file(class.join(file))?;
        }
        assert!(is_spare_below(class));
        fs::remove_dir(class.join("device"))?;
        assert!(!is_spare_below(class));
        Ok(())
    }

    #[test]
    fn a_disk_is_known_by_number_serial_and_bus() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let sys = directory.path();
        let port = sys.join("devices/pci0/usb1/1-1");
        let disk = port.join("host0/block/sda");
        let part = disk.join("sda1");
        for path in [&part, &sys.join("bus/usb"), &sys.join("bus/scsi")] {
            fs::create_dir_all(path)?;
        }
        std::os::unix::fs::symlink("../../../../bus/usb", port.join("subsystem"))?;
        std::os::unix::fs::symlink("../../../../../bus/scsi", port.join("host0/subsystem"))?;
        for (file, text) in [
            ("removable", "0"),
            ("diskseq", "17"),
            ("sda1/partition", "1"),
            ("sda1/start", "2048"),
        ] {
            fs::write(disk.join(file), format!("{text}\n"))?;
        }
        assert_eq!(
            identity_below(&disk),
            Some(Identity {
                sequence: 17,
                start: 0
            })
        );
        assert_eq!(
            identity_below(&part),
            Some(Identity {
                sequence: 17,
                start: 2048
            })
        );
        assert_eq!(identity_below(&sys.join("none")), None);

        fs::write(port.join("serial"), "of the stick\n")?;
        let expected = Disk {
            removable: true,
            own: false,
            serial: "of the stick".into(),
            buses: vec!["scsi".into(), "usb".into()],
        };
        assert_eq!(disk_below(&part, sys), expected);
        assert_eq!(disk_below(&disk, sys), expected);
        fs::create_dir(disk.join("device"))?;
        fs::write(disk.join("device/vpd_pg80"), b"\0\x80\0\x08  of SCSI")?;
        assert_eq!(disk_below(&part, sys).serial, "of SCSI");

        // The image's own partition, one of another name, and one in another table.
        let mut table = vec![0; 4096];
        table.splice(512..520, *b"EFI PART");
        table.splice(568..584, *OWN_TABLE);
        fs::write(sys.join("sda"), &table)?;
        fs::write(part.join("uevent"), "PARTN=3\nPARTNAME=files\n")?;
        assert!(!disk_below(&part, sys).own);
        fs::write(part.join("uevent"), "PARTN=3\nPARTNAME=tinyboot\n")?;
        assert!(disk_below(&part, sys).own && !disk_below(&disk, sys).own);
        table.splice(568..569, [0]);
        fs::write(sys.join("sda"), &table)?;
        assert!(!disk_below(&part, sys).own);
        Ok(())
    }

    #[test]
    fn only_what_a_driver_is_at_work_on_is_a_disk_for_certain() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let sys = directory.path();
        let coming = || disks_are_coming(sys);
        // A device, and its link in the directory of its kind.
        let add = |kind: &str, device: &str| -> io::Result<PathBuf> {
            let (device, kind) = (sys.join("devices").join(device), sys.join(kind));
            fs::create_dir_all(&device)?;
            fs::create_dir_all(&kind)?;
            let link = kind.join(device.file_name().unwrap_or_default());
            std::os::unix::fs::symlink(&device, link)?;
            Ok(device)
        };
        assert_eq!(coming(), Coming::None);

        let controller = add("class/nvme", "pci0/nvme/nvme0")?;
        for (state, expected) in [
            ("new", Coming::Surely),
            ("connecting", Coming::Surely),
            ("live", Coming::Perhaps),
            ("dead", Coming::None),
        ] {
            fs::write(controller.join("state"), format!("{state}\n"))?;
            assert_eq!(coming(), expected, "{state}");
        }
        fs::write(controller.join("state"), "live\n")?;
        add("class/block", "pci0/nvme/nvme0/nvme0n1")?;
        assert_eq!(coming(), Coming::None);

        let interface = add("bus/usb/devices", "usb1/1-1:1.0")?;
        fs::write(interface.join("bInterfaceClass"), "08\n")?;
        assert_eq!(coming(), Coming::Perhaps, "no driver");
        let disk = add("bus/scsi/devices", "usb1/1-1:1.0/host0/target0/0:0:0:0")?;
        assert_eq!(coming(), Coming::Perhaps, "nothing that has a disk");
        for (driver, expected) in [("ses", Coming::Perhaps), ("sd", Coming::Surely)] {
            let link = disk.join("driver");
            std::os::unix::fs::symlink(format!("../bus/scsi/drivers/{driver}"), &link)?;
            assert_eq!(coming(), expected, "{driver}");
            fs::remove_file(&link)?;
        }
        add(
            "class/block",
            "usb1/1-1:1.0/host0/target0/0:0:0:0/block/sda",
        )?;
        assert_eq!(coming(), Coming::None);
        Ok(())
    }

    #[test]
    fn what_is_written_is_counted_in_sectors() {
        let stat = "     100        0     2048       10        3        1      264       5 0 20 30 0 0 0 0 1 2";
        assert_eq!(sectors_written(stat), Some(264));
        assert_eq!(sectors_written(""), None);
    }

    #[test]
    fn memory_and_loop_devices_are_no_media() {
        for name in ["loop0", "ram15", "zram0", "fd0"] {
            assert!(!is_medium(name), "{name}");
        }
        for name in ["vda", "vda1", "sr0", "nvme0n1p1", "sda", "rama"] {
            assert!(is_medium(name), "{name}");
        }
    }
}
