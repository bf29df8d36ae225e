//! What sysfs says about block devices, and about those that are still to come.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::outlook::{Coming, Sight};
use super::probe::{self, FileSystem};

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

/// Reads the device's first bytes and says what is there. Blocks as long as the hardware does.
///
/// # Errors
///
/// The device cannot be opened or read.
pub fn read(name: &str) -> io::Result<Option<FileSystem>> {
    let mut bytes = Vec::new();
    File::open(Path::new("/dev").join(name))?
        .take(probe::LENGTH as u64)
        .read_to_end(&mut bytes)?;
    Ok(probe::probe(&bytes))
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

/// Has the kernel look every two seconds whether a medium was put in or taken out.
pub fn watch_media() -> io::Result<()> {
    fs::write("/sys/module/block/parameters/events_dfl_poll_msecs", "2000")
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
