//! Loads the drivers that the machine's devices ask for, and those of devices that come later.
//!
//! A thread of its own loads: finit_module(2) returns when the driver has looked at its devices, which takes as long as
//! the hardware does.

mod glob;
pub(crate) mod tables;

use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use nix::errno::Errno;
use nix::kmod::{ModuleInitFlags, finit_module};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::settings;
use crate::uevent::{Event, Subscription};
use crate::{hardening, helper};
use tables::Tables;

/// The program that the kernel calls when it wants a module, and the place where that is set. It is init again: see
/// [`helper`].
const HELPER: &str = "/init";
const HELPER_SETTING: &str = "/proc/sys/kernel/modprobe";

/// True once the kernel takes no more modules.
static SEALED: AtomicBool = AtomicBool::new(false);

/// How far the loading has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// All devices that were there at the start have been gone through, also those that appeared behind a new driver.
    pub coldplugged: bool,
    /// How many devices that came since are still waiting for their turn.
    pub waiting: usize,
}

impl Progress {
    /// Nothing is left to be loaded for the devices that are there.
    pub fn is_idle(self) -> bool {
        self.coldplugged && self.waiting == 0
    }
}

/// Has the kernel take no more modules, unless the settings ask for hot-plugging: to be called before the app starts.
/// If drivers are being loaded still, it is done as soon as they are, and the app does not wait for that: with one that hangs
/// it is never done.
pub async fn seal(settings: &settings::Drivers, mut progress: watch::Receiver<Progress>) {
    if settings.hot_plug {
        return;
    }
    let idle = progress.borrow_and_update().is_idle();
    let work = async move {
        // An error would be the end of the loading, which leaves nothing to wait for either.
        let _ = progress.wait_for(|progress| progress.is_idle()).await;
        match hardening::refuse_modules() {
            Ok(()) => {
                SEALED.store(true, Ordering::Relaxed);
                helper::limit_to_nothing();
            }
            Err(error) => {
                log::error!("drivers: the loading of modules cannot be switched off: {error}");
            }
        }
    };
    if idle {
        work.await;
    } else {
        tokio::spawn(work);
    }
}

enum Job {
    All,
    Device(String),
}

/// Starts the loading of drivers for what is there and for what `uevents` reports, until `stop` is cancelled.
/// Without modules in the image all is done at once.
pub fn start(mut uevents: Subscription, stop: CancellationToken) -> watch::Receiver<Progress> {
    let (progress, watcher) = watch::channel(Progress::default());
    let (directory, tables) = tables();
    if tables.is_empty() {
        progress.send_replace(Progress {
            coldplugged: true,
            waiting: 0,
        });
        return watcher;
    }
    if let Err(error) = fs::write(HELPER_SETTING, HELPER) {
        log::info!("drivers: the kernel cannot ask for modules itself: {error}");
    }
    let (jobs, queue) = mpsc::channel();
    let loader = Loader {
        directory,
        tables,
        tried: BTreeSet::new(),
        progress: progress.clone(),
    };
    if let Err(error) = thread::Builder::new()
        .name("drivers".into())
        .spawn(move || loader.work(&queue))
    {
        log::error!("drivers: no thread to load modules: {error}");
        progress.send_replace(Progress {
            coldplugged: true,
            waiting: 0,
        });
        return watcher;
    }
    let submit = move |jobs: &Sender<Job>, job| {
        progress.send_modify(|progress| progress.waiting += 1);
        jobs.send(job).is_ok()
    };
    submit(&jobs, Job::All);
    tokio::spawn(async move {
        loop {
            let event = tokio::select! {
                () = stop.cancelled() => return,
                event = uevents.next() => event,
            };
            let job = match event {
                Event::Device(uevent)
                    if uevent.action == "add" && !uevent.field("MODALIAS").is_empty() =>
                {
                    Job::Device(uevent.field("MODALIAS").to_owned())
                }
                Event::Device(_) => continue,
                Event::Lost => Job::All,
            };
            if !submit(&jobs, job) {
                return;
            }
        }
    });
    watcher
}

fn tables() -> (PathBuf, Tables) {
    let directory = nix::sys::utsname::uname()
        .map(|uname| Path::new("/lib/modules").join(uname.release()))
        .unwrap_or_default();
    let read = |name: &str| fs::read_to_string(directory.join(name)).unwrap_or_default();
    let tables = Tables::parse(
        &read("modules.dep"),
        &read("modules.alias"),
        &read("modules.softdep"),
    );
    (directory, tables)
}

/// Loads the module of that name or alias, a file system for instance, as modprobe(8) does.
///
/// # Errors
///
/// The kernel's answer to the last module of those that belong to the name; `ENOENT` when none does.
pub fn load(name: &str) -> Result<(), Errno> {
    let (directory, tables) = tables();
    let mut result = Err(Errno::ENOENT);
    for file in tables
        .drivers(name)
        .into_iter()
        .flat_map(|driver| tables.order(driver))
    {
        result = match insert(&directory.join(file)) {
            Err(Errno::EEXIST) => Ok(()),
            other => other,
        };
    }
    result
}

struct Loader {
    directory: PathBuf,
    tables: Tables,
    /// Names of modules that were loaded or refused: none is tried twice.
    tried: BTreeSet<String>,
    progress: watch::Sender<Progress>,
}

impl Loader {
    fn work(mut self, queue: &Receiver<Job>) {
        while let Ok(job) = queue.recv() {
            match job {
                Job::Device(modalias) => {
                    self.drive(&modalias);
                }
                // A new driver shows devices that need the next one: a controller its disks, a bus its functions.
                Job::All => while self.everything() {},
            }
            self.progress.send_modify(|progress| {
                progress.waiting = progress.waiting.saturating_sub(1);
                progress.coldplugged = true;
            });
        }
    }

    /// Loads what the devices below /sys/devices ask for; true if a module was new.
    fn everything(&mut self) -> bool {
        let mut aliases = BTreeSet::new();
        collect(Path::new("/sys/devices"), &mut aliases);
        aliases.iter().filter(|alias| self.drive(alias)).count() > 0
    }

    fn drive(&mut self, modalias: &str) -> bool {
        let mut files: Vec<String> = Vec::new();
        for driver in self.tables.drivers(modalias) {
            files.extend(self.tables.order(driver).into_iter().map(str::to_owned));
        }
        files.iter().filter(|file| self.load(file)).count() > 0
    }

    fn load(&mut self, file: &str) -> bool {
        let name = tables::name_of(file);
        if !self.tried.insert(name.clone())
            || Path::new("/sys/module")
                .join(&name)
                .join("initstate")
                .exists()
        {
            return false;
        }
        match insert(&self.directory.join(file)) {
            Ok(()) => log::info!("drivers: loaded {name}"),
            // Built in or loaded by the kernel itself meanwhile.
            Err(Errno::EEXIST) => {}
            Err(Errno::EPERM) if SEALED.load(Ordering::Relaxed) => log::warn!(
                "drivers: {name} is not loaded for a device that came after the app's start; the setting drivers.hotPlug allows it"
            ),
            // What a driver says when its hardware is not there.
            Err(Errno::ENODEV) => log::info!("drivers: {name} found no device of its own"),
            Err(error) => log::error!("drivers: {name} cannot be loaded: {}", error.desc()),
        }
        true
    }
}

fn insert(path: &Path) -> Result<(), Errno> {
    let file = File::open(path)
        .map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))?;
    finit_module(file, &CString::default(), ModuleInitFlags::empty())
}

fn collect(directory: &Path, aliases: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        // Links lead to the same devices by other ways.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect(&entry.path(), aliases);
        } else if entry.file_name() == "modalias" {
            let alias = fs::read_to_string(entry.path()).unwrap_or_default();
            if !alias.trim().is_empty() {
                aliases.insert(alias.trim().to_owned());
            }
        }
    }
}
