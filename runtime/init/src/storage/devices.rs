//! Devices that come, change and go: each is looked at on a thread, and what is learnt is kept.

use tokio::time::Instant;

use super::choose::{self, Device};
use super::probe::{Contents, FileSystem};
use super::slot::Slot;
use super::sysfs::{self, Look};
use super::which::Disk;
use super::{Report, Storage};
use crate::threads;
use crate::uevent::{Event, Uevent};

impl Storage {
    pub(super) fn event(&mut self, event: &Event) {
        let uevent: &Uevent = match event {
            Event::Lost => return self.take_stock(),
            Event::Device(uevent) => uevent,
        };
        if matches!(uevent.field("SUBSYSTEM"), "usb" | "scsi" | "nvme" | "block") {
            self.moved = Instant::now();
        }
        let name = uevent.field("DEVNAME");
        if uevent.field("SUBSYSTEM") != "block" || !sysfs::is_medium(name) {
            return;
        }
        match uevent.action.as_str() {
            "change" if uevent.field("DISK_EJECT_REQUEST") == "1" => self.release(name),
            "add" | "change" => self.look_at(name),
            "remove" => {
                let sequence = uevent.field("DISKSEQ").parse().ok();
                if self.inventory.concerns(name, sequence) {
                    self.gone(name);
                }
            }
            _ => {}
        }
    }

    /// Messages were lost: finds out what they said.
    fn take_stock(&mut self) {
        for name in self.inventory.gone(&sysfs::there()) {
            self.gone(&name);
        }
        self.look_at_all();
    }

    pub(super) fn look_at_all(&mut self) {
        let names = sysfs::block_devices();
        let unknown: Vec<_> = names
            .iter()
            .filter(|name| !self.found.contains_key(*name))
            .collect();
        unknown.into_iter().for_each(|name| self.look_at(name));
    }

    pub(super) fn look_at(&mut self, name: &str) {
        if !self.inventory.begin(name) {
            return;
        }
        let (name, reports) = (name.to_owned(), self.reports.clone());
        threads::DISKS.run(move || {
            let look = sysfs::look(&name);
            // The receiver lives as long as storage does.
            let _ = reports.send(Report::Looked(name, look));
        });
    }

    /// Makes the attempts that are due, if they can be of use.
    pub(super) fn try_again(&mut self) {
        for name in self.retries.due(Instant::now()) {
            if self.iso == Slot::Empty || self.data == Slot::Empty {
                self.look_at(&name);
            }
        }
    }

    fn gone(&mut self, name: &str) {
        self.found.remove(name);
        self.built_in.remove(name);
        self.before.remove(name);
        self.forget(name);
        if let Some(place) = self.in_use(name) {
            self.lose(place, name, &format!("/dev/{name} was taken away"));
        }
    }

    fn forget(&mut self, name: &str) {
        self.inventory.forget(name);
        self.retries.forget(name);
        self.mentioned.remove(name);
        self.unusable.remove(name);
        self.search.gone(name);
    }

    pub(super) fn looked(&mut self, name: &str, look: Look) {
        if !self.inventory.end(name) {
            return self.look_at(name);
        }
        let before = self.inventory.identity(name);
        // Of a device that went, the kernel's message tells.
        let is_there = look.identity.is_some();
        let other_device = is_there && before.is_some() && before != look.identity;
        let other_medium = match &look.contents {
            Err(error) => error.raw_os_error() == Some(nix::libc::ENOMEDIUM),
            // Not every drive tells; and only a disc's beginning never changes by itself.
            Ok(contents) => {
                let known = self.found.get(name).map(|device| &device.file_system);
                let same = matches!(contents, Contents::One(now) if Some(now) == known);
                self.iso.device() == Some(name) && known.is_some() && !same
            }
        };
        if other_device || (is_there && other_medium) {
            let device = self.found.remove(name);
            self.forget(name);
            if let Some(place) = self.in_use(name) {
                self.lose(
                    place,
                    name,
                    &format!("the medium of /dev/{name} was taken out"),
                );
                self.before
                    .extend(device.map(|device| (name.to_owned(), device)));
            }
        }
        if let Some(identity) = look.identity {
            self.inventory.know(name, identity);
        }
        match look.contents {
            Ok(Contents::One(file_system)) => {
                if self.is_meant(&look.disk, &file_system) {
                    self.search.give_up();
                    if file_system.devices != 1 {
                        self.unusable(
                            name,
                            &format!(
                                "is one of {} devices of a btrfs; only a file system on one device is mounted",
                                file_system.devices
                            ),
                        );
                    }
                }
                let disk = look.disk;
                self.found
                    .insert(name.to_owned(), Device { file_system, disk });
            }
            Ok(Contents::Several(all)) => {
                self.found.remove(name);
                if all.iter().any(|one| self.is_meant(&look.disk, one)) {
                    self.search.give_up();
                    let kinds: Vec<_> = all.iter().map(|one| one.kind.name()).collect();
                    self.unusable(
                        name,
                        &format!(
                            "has the marks of several file systems, {}; it is left as it is, since one of them is a remnant and nothing says which",
                            kinds.join(" and ")
                        ),
                    );
                }
            }
            Ok(Contents::Nothing) => drop(self.found.remove(name)),
            Err(error) => {
                self.found.remove(name);
                match error.raw_os_error() {
                    // An empty drive is a normal state.
                    Some(nix::libc::ENOMEDIUM) => {}
                    Some(nix::libc::EAGAIN) => self.look_at(name),
                    // It went: the message about it is on its way.
                    _ if !is_there => {}
                    _ => {
                        self.search.give_up();
                        let cause = error.to_string();
                        if self.retries.failed(name, None, &cause, Instant::now()) {
                            log::warn!("storage: /dev/{name} cannot be read: {cause}");
                        }
                    }
                }
            }
        }
    }

    /// Whether this is labelled for `/persistent`, on a disk that the settings do not exclude.
    fn is_meant(&self, disk: &Disk, file_system: &FileSystem) -> bool {
        file_system.label == choose::LABEL
            && match &self.which {
                None => true,
                Some(Some(which)) => which.means(disk, Some(&file_system.id)),
                Some(None) => false,
            }
    }

    pub(super) fn unusable(&mut self, name: &str, why: &str) {
        if self.unusable.insert(name.to_owned()) {
            log::warn!("storage: /dev/{name} {why}");
        }
    }
}
