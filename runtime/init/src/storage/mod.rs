//! `/iso` and `/persistent`: finds them as devices come, mounts them, and says when nothing more is waited for.
//!
//! Storage has settled when both are mounted from devices of built-in drivers that no other device could displace
//! ([`choose::certain`]), or when the deadline has passed, or when there is nothing left that could bring them: all drivers are loaded, each device was looked at, no disk is on its way, and on a machine with USB, which
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
//! A device counts as another one as soon as it has another medium ([`inventory`]): what was mounted from the one before is
//! unmounted. What could not be read or mounted is tried again later. Of several disks for `/persistent` the settings may
//! say which one is meant ([`which`]).
//!
//! Reading, mounting and unmounting happen on threads of their own: a device that hangs holds up nothing but itself.

pub(crate) mod choose;
mod closure;
mod create;
mod devices;
pub(crate) mod gpt;
mod grow;
mod image;
mod inventory;
mod mount;
mod optical;
mod outlook;
mod owner;
mod places;
pub(crate) mod probe;
mod search;
mod slot;
mod sysfs;
mod template;
pub(crate) mod which;

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::drivers::Progress;
use crate::settings;
use crate::status::Board;
use crate::threads;
use crate::uevent::Subscription;
use choose::{Certain, Device, Found};
use create::Blank;
use inventory::{Inventory, Retries};
use mount::{Job, Options};
use outlook::{Awaited, Watch};
use probe::FileSystem;
use search::{Search, Step};
use slot::{Place, Slot};
use sysfs::Look;
use which::Which;

/// How often the conditions that no event announces are looked at while they matter.
const GLANCE: Duration = Duration::from_millis(50);
/// How often it is looked at whether `/persistent` can be written still, and whether a disc is in its drive.
const CHECK: Duration = Duration::from_secs(10);

/// What storage needs from the rest of init.
pub struct Surroundings {
    /// Where the result is published.
    pub board: Board,
    /// Devices that come and go.
    pub uevents: Subscription,
    /// The block devices that were there before a module was loaded: [`mod@devices`].
    pub built_in: BTreeSet<String>,
    /// How far the drivers are.
    pub drivers: watch::Receiver<Progress>,
    /// Told where `/persistent` is as long as it can be written.
    pub persistent: watch::Sender<Option<PathBuf>>,
    /// The group that may write to `/persistent`, if not root alone.
    pub group: Option<u32>,
}

/// The block devices that are there.
pub fn devices() -> BTreeSet<String> {
    sysfs::block_devices().into_iter().collect()
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
        built_in,
        mut drivers,
        persistent,
        group,
    } = surroundings;
    let mut storage = Storage::new(
        &settings, volume_id, board, persistent, reports, group, &stop,
    );
    storage.built_in = built_in;
    let deadline = Instant::now() + Duration::from_secs(settings.deadline.into());
    storage.mount_image();
    storage.look_at_all();
    let mut glance = tokio::time::interval(GLANCE);
    let mut check = tokio::time::interval(CHECK);
    check.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let progress = *drivers.borrow_and_update();
        storage.advance(progress, Instant::now() >= deadline);
        let settled = storage.phase == Phase::Settled;
        let watch = storage.watch(progress);
        let retry = storage.retries.next();
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
            _ = check.tick(), if storage.has_to_check() => storage.check(),
            () = sleep_until(retry.unwrap_or(deadline)), if retry.is_some() => storage.try_again(),
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
    Looked(String, Look),
    Mounted {
        job: Job,
        result: io::Result<bool>,
    },
    /// What was mounted there is not any more.
    Left(Place),
    /// The drive was asked to give its medium back; whether what was mounted on `/iso` is unmounted now.
    Released(String, bool),
    /// The drive with `/iso` was asked for its medium: if that is gone, a message comes.
    Asked,
    /// Whether what is mounted on `/persistent` from this device has become read-only.
    Checked(String, bool),
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
    /// Which disk `/persistent` is to be on, if that is said; the inner one is missing if nobody can understand it.
    which: Option<Option<Which>>,
    found: Found,
    /// Devices of built-in drivers, until they go.
    built_in: BTreeSet<String>,
    inventory: Inventory,
    retries: Retries,
    /// Devices that the log has said something about already.
    mentioned: BTreeSet<String>,
    /// Those that are labelled for `/persistent` and cannot be used, as the log says.
    unusable: BTreeSet<String>,
    iso: Slot,
    data: Slot,
    /// File systems on media that were taken out while they were mounted, by the device that they were in: files of them may
    /// be open still.
    before: Found,
    /// Set while `/persistent` can be written.
    writable: Option<places::Writable>,
    /// A thread asks the drive with `/iso` whether its medium is there.
    asking: bool,
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
    fn new(
        settings: &settings::Storage,
        volume_id: Option<String>,
        board: Board,
        persistent: watch::Sender<Option<PathBuf>>,
        reports: mpsc::UnboundedSender<Report>,
        group: Option<u32>,
        stop: &CancellationToken,
    ) -> Self {
        Self {
            volume_id,
            options: Options {
                closure: settings.closure.clone(),
                compress: settings.compress.clone(),
                discard: settings.discard,
            },
            board,
            persistent,
            reports,
            which: settings.persistent.as_deref().map(Which::parse),
            found: Found::new(),
            built_in: BTreeSet::new(),
            inventory: Inventory::default(),
            retries: Retries::default(),
            mentioned: BTreeSet::new(),
            unusable: BTreeSet::new(),
            iso: Slot::Empty,
            data: Slot::Empty,
            before: Found::new(),
            writable: None,
            asking: false,
            phase: Phase::Collecting,
            moved: Instant::now(),
            // A new file system is as small as can be.
            grow: settings.grow || settings.create,
            search: Search::new(settings.create, stop),
            group,
        }
    }

    fn in_use(&self, name: &str) -> Option<Place> {
        if self.iso.device() == Some(name) {
            Some(Place::Iso)
        } else {
            (self.data.device() == Some(name)).then_some(Place::Persistent)
        }
    }

    fn slot(&mut self, place: Place) -> &mut Slot {
        match place {
            Place::Iso => &mut self.iso,
            Place::Persistent => &mut self.data,
        }
    }

    fn report(&mut self, report: Report) {
        match report {
            Report::Looked(name, look) => self.looked(&name, look),
            Report::Mounted { job, result } => self.mounted(&job, result),
            Report::Left(place) => self.slot(place).left(),
            Report::Released(name, done) => self.released(&name, done),
            Report::Asked => self.asking = false,
            Report::Checked(name, read_only) => self.checked(&name, read_only),
            Report::LookedThrough(blank) => self.search.looked_through(blank),
            Report::Created(name) => {
                self.search.written(name.is_some());
                if let Some(name) = name {
                    let (file_system, disk) = (FileSystem::created(), sysfs::disk(&name));
                    self.found.insert(name, Device { file_system, disk });
                }
            }
        }
    }

    /// What may be `/persistent`, the preferred one first.
    fn candidates(&self) -> Vec<&str> {
        match &self.which {
            None => choose::persistent(&self.found, None),
            Some(Some(which)) => choose::persistent(&self.found, Some(which)),
            Some(None) => Vec::new(),
        }
    }

    /// Goes on to the next phase when its time has come, and fills the empty places.
    fn advance(&mut self, drivers: Progress, overdue: bool) {
        if self.phase == Phase::Collecting {
            if let Some(Certain { iso, persistent }) = self.certain() {
                self.phase = Phase::Choosing;
                if let Some(name) = iso {
                    self.mount(Place::Iso, name);
                }
                self.mount(Place::Persistent, persistent);
            } else if overdue || self.all_is_known(drivers) {
                self.phase = Phase::Choosing;
            }
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
            && let Some(name) = self.candidates().first().map(|name| (*name).to_owned())
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
            self.mention_missing();
            let mounting = [&self.iso, &self.data].map(Slot::unanswered);
            let probing = self.inventory.probing();
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

    /// The choice for which no driver is waited for, once every device of a built-in driver has been read.
    fn certain(&self) -> Option<Certain> {
        let which = match &self.which {
            None => None,
            Some(which) => Some(which.as_ref()?),
        };
        let is_read = !self
            .inventory
            .probing()
            .any(|name| self.built_in.contains(name));
        is_read
            .then(|| {
                choose::certain(
                    &self.found,
                    &self.built_in,
                    self.iso != Slot::Empty,
                    self.volume_id.as_deref(),
                    which,
                )
            })
            .flatten()
    }

    fn all_is_known(&self, drivers: Progress) -> bool {
        self.awaited(drivers) == Awaited::Nothing
    }

    /// What has to be waited for until all devices are known.
    fn awaited(&self, drivers: Progress) -> Awaited {
        let has_iso = self.iso != Slot::Empty
            || choose::iso(&self.found, self.volume_id.as_deref(), false).is_some();
        let complete = has_iso && !self.candidates().is_empty();
        let reading = self.inventory.probing().next().is_some();
        let calm = self.moved.elapsed();
        outlook::awaited(drivers, reading, complete, calm, sysfs::sight)
    }

    /// What can change what [`Self::advance`] does, besides events and reports.
    fn watch(&self, drivers: Progress) -> Watch {
        let settled = self.phase == Phase::Settled;
        let open = self.data == Slot::Empty && self.search.is_open();
        Watch::new(settled, open, || self.awaited(drivers))
    }

    /// Takes the next step to a file system on a blank disk, among those that nothing is known of.
    fn search_on(&mut self) {
        let spare: Vec<_> = sysfs::block_devices()
            .into_iter()
            .filter(|name| !self.found.contains_key(name) && sysfs::is_spare(name))
            .filter(|name| match &self.which {
                None => true,
                Some(Some(which)) => which.means(&sysfs::disk(name), None),
                Some(None) => false,
            })
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

    /// Says which place is empty, unless the log has the reason.
    fn mention_missing(&self) {
        if self.iso == Slot::Empty && !self.retries.concern(Place::Iso) {
            log::info!("storage: no iso9660 was found; /iso is empty");
        }
        let said = self.retries.concern(Place::Persistent) || !self.unusable.is_empty();
        if self.data != Slot::Empty || said {
            return;
        }
        match &self.which {
            None => log::warn!(
                "storage: no file system labelled \"tinyboot\" was found; /persistent refuses writes until one appears"
            ),
            Some(Some(which)) => log::warn!(
                "storage: no file system labelled \"tinyboot\" was found on the disk that storage.persistent asks for, {which}; /persistent refuses writes until it appears"
            ),
            Some(None) => log::error!(
                "storage: storage.persistent cannot be understood; /persistent refuses writes"
            ),
        }
    }

    fn mention_others(&mut self) {
        let (chosen, asked) = match (&self.data, &self.which) {
            (Slot::Mounted(chosen), None) => (Some(chosen), String::new()),
            (Slot::Mounted(chosen), Some(_)) => {
                (Some(chosen), ", as storage.persistent asks for".to_owned())
            }
            (Slot::Empty, Some(Some(which))) if self.phase == Phase::Settled => {
                (None, format!("storage.persistent asks for {which}"))
            }
            _ => return,
        };
        for name in choose::persistent(&self.found, None) {
            if chosen.is_some_and(|chosen| chosen == name)
                || !self.mentioned.insert(name.to_owned())
            {
                continue;
            }
            match chosen {
                Some(chosen) => log::warn!(
                    "storage: /dev/{name} also has a file system labelled \"tinyboot\"; /persistent stays on /dev/{chosen}{asked}"
                ),
                None => log::warn!(
                    "storage: /dev/{name} has a file system labelled \"tinyboot\" and is not used: {asked}"
                ),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uevent::Event;

    fn storage(volume_id: Option<&str>) -> Storage {
        let (reports, _) = mpsc::unbounded_channel();
        Storage::new(
            &settings::Storage::default(),
            volume_id.map(str::to_owned),
            Board::new(tinyboot::status::Status::default()),
            watch::Sender::new(None),
            reports,
            None,
            &CancellationToken::new(),
        )
    }

    #[tokio::test]
    async fn a_driver_at_work_does_not_hold_up_what_is_certain() {
        let mut storage = storage(Some("OURS"));
        storage.iso = Slot::Mounted("/image".into());
        // A name that no machine has.
        let name = "zz9";
        let device = Device {
            file_system: FileSystem::created(),
            disk: which::Disk::default(),
        };
        storage.found.insert(name.to_owned(), device);
        let at_work = Progress::default();
        storage.advance(at_work, false);
        assert_eq!(storage.phase, Phase::Collecting, "a module's device");
        storage.built_in.insert(name.to_owned());
        storage.inventory.begin(name);
        storage.advance(at_work, false);
        assert_eq!(storage.phase, Phase::Collecting, "it is being read");
        storage.inventory.end(name);
        storage.advance(at_work, false);
        assert_eq!(storage.phase, Phase::Choosing);
        assert_eq!(storage.data, Slot::Mounting(name.to_owned()));
    }

    #[tokio::test]
    async fn lost_messages_about_a_disk_that_went_leave_nothing_behind() {
        let mut storage = storage(None);
        // A name that no machine has.
        let name = "zz9";
        let device = Device {
            file_system: FileSystem::created(),
            disk: which::Disk::default(),
        };
        storage.found.insert(name.to_owned(), device);
        storage.inventory.know(name, inventory::Identity::default());
        storage.data = Slot::Mounting(name.to_owned());
        storage.event(&Event::Lost);
        assert_eq!(storage.data, Slot::Lost(name.to_owned()));
        assert!(storage.found.is_empty());
        assert_eq!(storage.inventory.identity(name), None);
    }
}
