//! What is done about the two places: mounting, unmounting, and telling others.

use std::io;
use std::path::Path;

use tinyboot::status;
use tokio::time::Instant;

use super::mount::{self, Job};
use super::probe::{FileSystem, Kind};
use super::slot::{Change, Place, Slot};
use super::{Report, Storage, closure, grow, image, optical, owner};
use crate::threads;

/// A `/persistent` that can be written.
pub struct Writable {
    device: String,
    kind: Kind,
    /// How many errors the file system had counted when it was mounted.
    errors: Option<u64>,
    /// A thread looks whether it can be written still.
    checking: bool,
}

impl Storage {
    /// Mounts the files that the initramfs has, if it has any.
    pub(super) fn mount_image(&mut self) {
        let path = Path::new(image::PATH);
        if !path.exists() {
            return;
        }
        self.iso = Slot::Mounting("loop".into());
        let (reports, options) = (self.reports.clone(), self.options.clone());
        threads::DISKS.run(move || {
            let mut job = Job {
                place: Place::Iso,
                name: "loop-control".into(),
                file_system: FileSystem {
                    kind: Kind::Iso9660,
                    ..FileSystem::created()
                },
                after_another: false,
            };
            // The device stays open until it is mounted: then the mount keeps its file.
            let device = image::attach(path);
            let result = match &device {
                Ok(device) => {
                    job.name.clone_from(&device.name);
                    mount::mount(&job, &options)
                }
                Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
            };
            let _ = reports.send(Report::Mounted { job, result });
        });
    }

    pub(super) fn mount(&mut self, place: Place, name: String) {
        let Some(device) = self.found.get(&name) else {
            return;
        };
        let file_system = device.file_system.clone();
        let before = self.before.get(&name);
        let job = Job {
            place,
            after_another: before.is_some_and(|before| before.file_system != file_system),
            name: name.clone(),
            file_system,
        };
        self.mentioned.insert(name.clone());
        *self.slot(place) = Slot::Mounting(name);
        let (reports, may_grow, group) = (self.reports.clone(), self.grow, self.group);
        let options = self.options.clone();
        threads::DISKS.run(move || {
            let result = mount::mount(&job, &options);
            if place == Place::Persistent && matches!(result, Ok(false)) {
                grow::fill_disk(&job.name, job.file_system.kind, place.path(), may_grow);
                if let Some(group) = group {
                    owner::hand_over(place.path(), group);
                }
            }
            let _ = reports.send(Report::Mounted { job, result });
        });
    }

    pub(super) fn mounted(&mut self, job: &Job, result: io::Result<bool>) {
        let (place, name, kind) = (job.place, &job.name, job.file_system.kind);
        let path = place.path();
        let change = self.slot(place).answered(name, result.is_ok());
        match result {
            Ok(_) if change == Change::Vacate => self.vacate(place),
            Err(_) if change != Change::Clear => {}
            Ok(read_only) => {
                self.retries.forget(name);
                self.before.remove(name);
                let addition = if read_only { ", read-only" } else { "" };
                log::info!(
                    "storage: {} is {kind} on /dev/{name}{addition}",
                    path.display()
                );
                let mount = status::Mount {
                    path: path.to_owned(),
                    device: Path::new("/dev").join(name),
                    file_system: kind.name().to_owned(),
                    read_only,
                };
                self.publish(place, Some(mount));
                if place == Place::Persistent && !read_only {
                    self.writable = Some(Writable {
                        device: name.clone(),
                        kind,
                        errors: mount::errors(name),
                        checking: false,
                    });
                }
            }
            Err(error) => {
                let cause = error.to_string();
                if self
                    .retries
                    .failed(name, Some(place), &cause, Instant::now())
                {
                    log::error!(
                        "storage: the {kind} on /dev/{name} cannot be mounted on {}: {cause}; it is left as it is, and tried again later",
                        path.display()
                    );
                }
                self.found.remove(name);
                self.mentioned.insert(name.clone());
                self.publish(place, None);
            }
        }
    }

    /// The device of a place, or its medium, is gone.
    pub(super) fn lose(&mut self, place: Place, name: &str, how: &str) {
        let path = place.path().display();
        match self.slot(place).removed(name) {
            Change::Vacate => {
                log::error!("storage: {how} while {path} was on it");
                self.vacate(place);
            }
            _ => log::error!("storage: {how} while it was mounted on {path}"),
        }
    }

    /// Unmounts what is in a place whose device is gone.
    fn vacate(&mut self, place: Place) {
        self.publish(place, None);
        let has_store = place == Place::Iso && self.options.closure.is_some();
        let reports = self.reports.clone();
        threads::DISKS.run(move || {
            if has_store {
                closure::leave();
            }
            let held = mount::detach(place.path());
            let _ = reports.send(Report::Left(place));
            // With it the kernel gives up the file system, if the app has no file of it.
            drop(held);
        });
    }

    /// Somebody asks for the medium of a drive, by its button or from the hypervisor: it is given back if nobody needs it.
    pub(super) fn release(&mut self, name: &str) {
        let is_iso = match self.in_use(name) {
            None => false,
            Some(Place::Iso) if self.options.closure.is_none() => true,
            Some(place) => {
                let needs = match place {
                    Place::Iso => "the program lies on it",
                    Place::Persistent => "/persistent is on it",
                };
                return log::warn!(
                    "storage: /dev/{name} is asked for its medium and keeps it: {needs}"
                );
            }
        };
        if is_iso && self.iso.release().is_none() {
            return;
        }
        let (reports, name) = (self.reports.clone(), name.to_owned());
        threads::DISKS.run(move || {
            let unmounted = if is_iso {
                optical::unmount(Place::Iso.path())
            } else {
                Ok(())
            };
            let done = unmounted.is_ok();
            match unmounted.and_then(|()| optical::eject(&name)) {
                Ok(()) => {
                    log::info!("storage: /dev/{name} was asked for its medium and gives it back")
                }
                Err(error) => {
                    log::warn!("storage: /dev/{name} is asked for its medium and keeps it: {error}")
                }
            }
            let _ = reports.send(Report::Released(name, is_iso && done));
        });
    }

    pub(super) fn released(&mut self, name: &str, unmounted: bool) {
        if unmounted {
            self.iso.left();
            self.publish(Place::Iso, None);
            self.found.remove(name);
            // The drive may have kept it. It is told apart by another number.
            self.look_at(name);
        } else if self.iso == Slot::Leaving {
            if self.inventory.identity(name).is_some() {
                self.iso.stays(name);
                self.look_at(name);
            } else {
                self.vacate(Place::Iso);
            }
        }
    }

    /// Whether [`Self::check`] has something to do.
    pub(super) fn has_to_check(&self) -> bool {
        self.writable.is_some() || self.iso.device().is_some_and(optical::is_drive)
    }

    /// Looks for changes that nobody announces.
    pub(super) fn check(&mut self) {
        if let Some(name) = self.iso.device().filter(|name| optical::is_drive(name))
            && !self.asking
        {
            self.asking = true;
            let (reports, name) = (self.reports.clone(), name.to_owned());
            threads::DISKS.run(move || {
                optical::ask(&name);
                let _ = reports.send(Report::Asked);
            });
        }
        let Some(writable) = self.writable.as_mut().filter(|writable| !writable.checking) else {
            return;
        };
        writable.checking = true;
        let (device, errors) = (writable.device.clone(), writable.errors);
        let reports = self.reports.clone();
        threads::DISKS.run(move || {
            let read_only = mount::is_read_only(Place::Persistent.path(), &device, errors);
            let _ = reports.send(Report::Checked(device, read_only));
        });
    }

    pub(super) fn checked(&mut self, name: &str, read_only: bool) {
        let Some(writable) = self.writable.as_mut().filter(|it| it.device == name) else {
            return;
        };
        writable.checking = false;
        if !read_only {
            return;
        }
        log::error!(
            "storage: /persistent cannot be written any more: the {} on /dev/{name} has an error",
            writable.kind
        );
        let mount = self.board.snapshot().storage.persistent;
        self.publish(
            Place::Persistent,
            mount.map(|mount| status::Mount {
                read_only: true,
                ..mount
            }),
        );
    }

    /// Tells others what is mounted there.
    fn publish(&mut self, place: Place, mount: Option<status::Mount>) {
        let writable = mount
            .as_ref()
            .filter(|mount| !mount.read_only)
            .map(|mount| mount.path.clone());
        match place {
            Place::Iso => self.board.update(|status| status.storage.iso = mount),
            Place::Persistent => {
                if writable.is_none() {
                    self.writable = None;
                }
                self.board
                    .update(|status| status.storage.persistent = mount);
                self.persistent.send_replace(writable);
            }
        }
    }
}
