//! `/iso` and `/persistent`: finds them as devices come, mounts them, and says when nothing more is waited for.
//!
//! Storage has settled when both are mounted, or when the deadline has passed, or when there is nothing left that could
//! bring them: all drivers are loaded, each device was looked at, no disk is on its way, and on a machine with USB, which
//! finds devices in its own time, nothing has moved for a while ([`outlook`]). The choice among several devices is made at
//! that time, so that it does not depend on which of them was quicker. What comes later is mounted if its place is still
//! empty.
//!
//! Where the settings ask for it and there is no file system for `/persistent`, one is made on a blank disk ([`create`]), but
//! only when all devices are known: a disk that is late may be the one that has been there before. The steps are those
//! of [`search`].
//!
//! An initramfs that brings the image's files itself ([`image`]) has `/iso` mounted at once, and no medium is asked for it.
//!
//! Reading and mounting happen on threads of their own: a device that hangs holds up nothing but itself.

pub(crate) mod choose;
mod closure;
mod create;
pub(crate) mod gpt;
mod grow;
mod image;
mod mount;
mod outlook;
mod owner;
pub(crate) mod probe;
mod search;
mod slot;
mod sysfs;
mod template;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sys_mount::UnmountFlags;
use tinyboot::status;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::drivers::Progress;
use crate::settings;
use crate::status::Board;
use crate::threads;
use crate::uevent::{Event, Subscription, Uevent};
use choose::Found;
use create::Blank;
use mount::Options;
use outlook::{Awaited, Watch};
use probe::{FileSystem, Kind};
use search::{Search, Step};
use slot::{Change, Place, Slot};

/// How often the conditions that no event announces are looked at while they matter.
const GLANCE: Duration = Duration::from_millis(50);

/// What storage needs from the rest of init.
pub struct Surroundings {
    /// Where the result is published.
    pub board: Board,
    /// Devices that come and go.
    pub uevents: Subscription,
    /// How far the drivers are.
    pub drivers: watch::Receiver<Progress>,
    /// Told where `/persistent` is as long as it can be written.
    pub persistent: watch::Sender<Option<PathBuf>>,
    /// The group that may write to `/persistent`, if not root alone.
    pub group: Option<u32>,
}

/// Finds and mounts storage until `stop` is cancelled. What is mounted then stays so.
pub async fn run(
    settings: settings::Storage,
    volume_id: Option<String>,
    surroundings: Surroundings,
    stop: CancellationToken,
) {
    if let Err(error) = sysfs::watch_media() {
        log::info!("storage: a medium that is put in later may go unnoticed: {error}");
    }
    let (reports, mut inbox) = mpsc::unbounded_channel();
    let Surroundings {
        board,
        mut uevents,
        mut drivers,
        persistent,
        group,
    } = surroundings;
    let options = Options {
        closure: settings.closure.clone(),
        compress: settings.compress.clone(),
        discard: settings.discard,
    };
    let mut storage = Storage {
        volume_id,
        options,
        board,
        persistent,
        reports,
        found: Found::new(),
        probing: BTreeSet::new(),
        again: BTreeSet::new(),
        mentioned: BTreeSet::new(),
        iso: Slot::Empty,
        data: Slot::Empty,
        phase: Phase::Collecting,
        moved: Instant::now(),
        // A new file system is as small as can be.
        grow: settings.grow || settings.create,
        search: Search::new(settings.create, &stop),
        group,
    };
    let deadline = Instant::now() + Duration::from_secs(settings.deadline.into());
    storage.mount_image();
    storage.look_at_all();
    let mut glance = tokio::time::interval(GLANCE);
    loop {
        let progress = *drivers.borrow_and_update();
        storage.advance(progress, Instant::now() >= deadline);
        let settled = storage.phase == Phase::Settled;
        let watch = storage.watch(progress);
        tokio::select! {
            () = stop.cancelled() => return,
            event = uevents.next() => storage.event(&event),
            Some(report) = inbox.recv() => storage.report(report),
            Ok(()) = drivers.changed(), if watch.drivers => {
                storage.moved = Instant::now();
                // A driver that has just returned has its disks in sysfs; their messages may still be in the queue.
                storage.look_at_all();
            }
            () = sleep_until(deadline), if !settled => {}
            _ = glance.tick(), if watch.time => {}
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// More may be coming: nothing is chosen.
    Collecting,
    /// What is there is chosen from; the app waits until it is mounted.
    Choosing,
    /// The app does not wait any more.
    Settled,
}

enum Report {
    Probed(String, io::Result<Option<FileSystem>>),
    Mounted {
        place: Place,
        name: String,
        kind: Kind,
        result: io::Result<bool>,
    },
    /// All spare disks were looked through; these are blank.
    LookedThrough(Vec<(String, Blank)>),
    /// The blank disk was written to, and has a new file system if it is named.
    Created(Option<String>),
}

struct Storage {
    volume_id: Option<String>,
    /// How file systems are mounted. What the app needs of the medium is among it: with it, no other medium will do.
    options: Options,
    board: Board,
    persistent: watch::Sender<Option<PathBuf>>,
    reports: mpsc::UnboundedSender<Report>,
    found: Found,
    /// Devices whose first bytes are being read.
    probing: BTreeSet<String>,
    /// Those among them that changed meanwhile.
    again: BTreeSet<String>,
    /// Devices that the log has said something about already.
    mentioned: BTreeSet<String>,
    iso: Slot,
    data: Slot,
    phase: Phase,
    moved: Instant,
    /// Whether `/persistent` is to fill its disk.
    grow: bool,
    /// For a blank disk: given up when there was a disk that may be `/persistent`.
    search: Search<Blank>,
    /// The group that may write to `/persistent`, if not root alone.
    group: Option<u32>,
}

impl Storage {
    fn event(&mut self, event: &Event) {
        let uevent: &Uevent = match event {
            Event::Lost => return self.look_at_all(),
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
            "add" => self.look_at(name),
            "change" if self.in_use(name).is_none() => self.look_at(name),
            "remove" => self.gone(name),
            _ => {}
        }
    }

    fn in_use(&self, name: &str) -> Option<Place> {
        if self.iso.device() == Some(name) {
            Some(Place::Iso)
        } else {
            (self.data.device() == Some(name)).then_some(Place::Persistent)
        }
    }

    fn look_at_all(&mut self) {
        let names = sysfs::block_devices();
        let unknown: Vec<_> = names
            .iter()
            .filter(|name| !self.found.contains_key(*name))
            .collect();
        unknown.into_iter().for_each(|name| self.look_at(name));
    }

    fn look_at(&mut self, name: &str) {
        if !self.probing.insert(name.to_owned()) {
            self.again.insert(name.to_owned());
            return;
        }
        let (name, reports) = (name.to_owned(), self.reports.clone());
        threads::DISKS.run(move || {
            let result = sysfs::read(&name);
            // The receiver lives as long as storage does.
            let _ = reports.send(Report::Probed(name, result));
        });
    }

    fn gone(&mut self, name: &str) {
        self.found.remove(name);
        self.mentioned.remove(name);
        self.search.gone(name);
        let Some(place) = self.in_use(name) else {
            return;
        };
        let path = place.path().display();
        match self.slot(place).removed(name) {
            Change::Vacate => {
                log::error!("storage: /dev/{name} was taken away while {path} was on it");
                self.vacate(place);
            }
            _ => log::error!("storage: /dev/{name} was taken away while it was mounted on {path}"),
        }
    }

    /// Unmounts what is in a place whose device is gone.
    fn vacate(&mut self, place: Place) {
        self.publish(place, None);
        // What the app has open fails with EIO; what it opens from now on meets the empty place.
        if let Err(error) = sys_mount::unmount(place.path(), UnmountFlags::DETACH) {
            log::error!(
                "storage: {} cannot be unmounted: {error}",
                place.path().display()
            );
        }
        if place == Place::Iso && self.options.closure.is_some() {
            closure::leave();
        }
    }

    fn slot(&mut self, place: Place) -> &mut Slot {
        match place {
            Place::Iso => &mut self.iso,
            Place::Persistent => &mut self.data,
        }
    }

    /// Tells others what is mounted there.
    fn publish(&self, place: Place, mount: Option<status::Mount>) {
        let writable = mount
            .as_ref()
            .filter(|mount| !mount.read_only)
            .map(|mount| mount.path.clone());
        match place {
            Place::Iso => self.board.update(|status| status.storage.iso = mount),
            Place::Persistent => {
                self.board
                    .update(|status| status.storage.persistent = mount);
                self.persistent.send_replace(writable);
            }
        }
    }

    fn report(&mut self, report: Report) {
        match report {
            Report::Probed(name, result) => self.probed(&name, result),
            Report::Mounted {
                place,
                name,
                kind,
                result,
            } => self.mounted(place, name, kind, result),
            Report::LookedThrough(blank) => self.search.looked_through(blank),
            Report::Created(name) => {
                self.search.written(name.is_some());
                if let Some(name) = name {
                    self.found.insert(name, FileSystem::created());
                }
            }
        }
    }

    fn probed(&mut self, name: &str, result: io::Result<Option<FileSystem>>) {
        self.probing.remove(name);
        if self.again.remove(name) {
            return self.look_at(name);
        }
        match result {
            Ok(Some(file_system)) => {
                if file_system.label == choose::LABEL {
                    self.search.give_up();
                }
                if file_system.devices != 1
                    && file_system.label == choose::LABEL
                    && self.mentioned.insert(name.to_owned())
                {
                    log::warn!(
                        "storage: /dev/{name} is one of {} devices of a btrfs; only a file system on one device is mounted",
                        file_system.devices
                    );
                }
                self.found.insert(name.to_owned(), file_system);
            }
            Ok(None) => drop(self.found.remove(name)),
            Err(error) => {
                self.found.remove(name);
                // An empty drive is a normal state.
                if error.raw_os_error() != Some(nix::libc::ENOMEDIUM) {
                    self.search.give_up();
                    if self.mentioned.insert(name.to_owned()) {
                        log::warn!("storage: /dev/{name} cannot be read: {error}");
                    }
                }
            }
        }
    }

    fn mounted(&mut self, place: Place, name: String, kind: Kind, result: io::Result<bool>) {
        let path = place.path();
        let change = self.slot(place).answered(&name, result.is_ok());
        match result {
            Ok(_) if change == Change::Vacate => self.vacate(place),
            Err(_) if change != Change::Clear => {}
            Ok(read_only) => {
                let addition = if read_only { ", read-only" } else { "" };
                log::info!(
                    "storage: {} is {kind} on /dev/{name}{addition}",
                    path.display()
                );
                let mount = status::Mount {
                    path: path.to_owned(),
                    device: Path::new("/dev").join(&name),
                    file_system: kind.name().to_owned(),
                    read_only,
                };
                self.publish(place, Some(mount));
            }
            Err(error) => {
                log::error!(
                    "storage: the {kind} on /dev/{name} cannot be mounted on {}: {error}; it is left as it is",
                    path.display()
                );
                self.found.remove(&name);
                self.mentioned.insert(name);
                self.publish(place, None);
            }
        }
    }

    /// Goes on to the next phase when its time has come, and fills the empty places.
    fn advance(&mut self, drivers: Progress, overdue: bool) {
        if self.phase == Phase::Collecting && (overdue || self.all_is_known(drivers)) {
            self.phase = Phase::Choosing;
        }
        if self.phase == Phase::Collecting {
            return;
        }
        if self.iso == Slot::Empty
            && let Some(name) = choose::iso(
                &self.found,
                self.volume_id.as_deref(),
                self.options.closure.is_none(),
            )
            .map(str::to_owned)
        {
            self.mount(Place::Iso, name);
        }
        if self.data == Slot::Empty
            && let Some(name) = choose::persistent(&self.found)
                .first()
                .map(|name| (*name).to_owned())
        {
            self.mount(Place::Persistent, name);
        }
        if self.data == Slot::Empty && self.search.is_open() && self.all_is_known(drivers) {
            self.search_on();
        }
        let creating = self.search.is_under_way();
        self.board
            .update(|status| status.storage.creating = creating);
        self.mention_others();
        let mounting =
            self.iso.unanswered().is_some() || self.data.unanswered().is_some() || creating;
        if self.phase == Phase::Choosing && (overdue || !mounting) {
            self.phase = Phase::Settled;
            if self.iso == Slot::Empty {
                log::info!("storage: no iso9660 was found; /iso is empty");
            }
            if self.data == Slot::Empty {
                log::warn!(
                    "storage: no file system labelled \"tinyboot\" was found; /persistent refuses writes until one appears"
                );
            }
            let mounting = [&self.iso, &self.data].map(Slot::unanswered);
            let probing = self.probing.iter().map(String::as_str);
            for name in mounting.into_iter().flatten().chain(probing) {
                log::warn!(
                    "storage: /dev/{name} has not answered yet; the app does not wait for it"
                );
            }
            if creating {
                log::info!(
                    "storage: the app does not wait until it is known whether a disk is blank"
                );
            }
            self.board.update(|status| status.storage.settled = true);
        }
    }

    fn all_is_known(&self, drivers: Progress) -> bool {
        self.awaited(drivers) == Awaited::Nothing
    }

    /// What has to be waited for until all devices are known.
    fn awaited(&self, drivers: Progress) -> Awaited {
        let has_iso = self.iso != Slot::Empty
            || choose::iso(&self.found, self.volume_id.as_deref(), false).is_some();
        let complete = has_iso && !choose::persistent(&self.found).is_empty();
        let (reading, calm) = (!self.probing.is_empty(), self.moved.elapsed());
        outlook::awaited(drivers, reading, complete, calm, sysfs::sight)
    }

    /// What can change what [`Self::advance`] does, besides events and reports.
    fn watch(&self, drivers: Progress) -> Watch {
        let settled = self.phase == Phase::Settled;
        let open = self.data == Slot::Empty && self.search.is_open();
        Watch::new(settled, open, || self.awaited(drivers))
    }

    fn mount_image(&mut self) {
        let path = Path::new(image::PATH);
        if !path.exists() {
            return;
        }
        self.iso = Slot::Mounting("loop".into());
        let (reports, options) = (self.reports.clone(), self.options.clone());
        threads::DISKS.run(move || {
            let kind = Kind::Iso9660;
            // The device stays open until it is mounted: then the mount keeps its file.
            let device = image::attach(path);
            let (name, result) = match device {
                Ok(device) => {
                    let result = mount::mount(Place::Iso, &device.name, kind, &options);
                    (device.name, result)
                }
                Err(error) => ("loop-control".into(), Err(error)),
            };
            let _ = reports.send(Report::Mounted {
                place: Place::Iso,
                name,
                kind,
                result,
            });
        });
    }

    fn mount(&mut self, place: Place, name: String) {
        let Some(kind) = self.found.get(&name).map(|file_system| file_system.kind) else {
            return;
        };
        self.mentioned.insert(name.clone());
        *self.slot(place) = Slot::Mounting(name.clone());
        let (reports, may_grow, group) = (self.reports.clone(), self.grow, self.group);
        let options = self.options.clone();
        threads::DISKS.run(move || {
            let result = mount::mount(place, &name, kind, &options);
            if place == Place::Persistent && matches!(result, Ok(false)) {
                grow::fill_disk(&name, kind, place.path(), may_grow);
                if let Some(group) = group {
                    owner::hand_over(place.path(), group);
                }
            }
            let _ = reports.send(Report::Mounted {
                place,
                name,
                kind,
                result,
            });
        });
    }

    /// Takes the next step to a file system on a blank disk, among those that nothing is known of.
    fn search_on(&mut self) {
        let spare: Vec<_> = sysfs::block_devices()
            .into_iter()
            .filter(|name| !self.found.contains_key(name) && sysfs::is_spare(name))
            .collect();
        let (reports, token) = (self.reports.clone(), self.search.token());
        match self.search.next(&spare) {
            Step::Nothing => {}
            Step::LookThrough(names) => drop(threads::DISKS.run(move || {
                let blank = create::look_through(&names, &token);
                let _ = reports.send(Report::LookedThrough(blank));
            })),
            // Also those whose messages are in the queue.
            Step::Confirm => self.look_at_all(),
            Step::Write(disk) => drop(threads::DISKS.run(move || {
                let _ = reports.send(Report::Created(create::fill(disk, &token)));
            })),
            Step::Several(names) => log::warn!(
                "storage: /dev/{} are blank; none of them becomes /persistent, since nothing says which one",
                names.join(", /dev/")
            ),
        }
    }

    fn mention_others(&mut self) {
        let Slot::Mounted(chosen) = &self.data else {
            return;
        };
        for name in choose::persistent(&self.found) {
            if name != chosen.as_str() && self.mentioned.insert(name.to_owned()) {
                log::warn!(
                    "storage: /dev/{name} also has a file system labelled \"tinyboot\"; /persistent stays on /dev/{chosen}"
                );
            }
        }
    }
}
