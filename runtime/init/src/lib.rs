//! PID 1 of a machine that is one program. The boot, in order:
//!
//! 1. [`console`]: every line of init and of the app goes to each console of the machine.
//! 2. [`mounts`]: the pseudo file systems, and the empty places for what storage brings. Then watchdogs are armed, and
//!    [`hardening`] sets the kernel's switches.
//! 3. [`settings`]: what the image asks for, and what this [`machine`] is told besides. The clock is never before the image's floor from here on.
//! 4. [`drivers`]: modules for the devices that are there and for those that come.
//! 5. At the same time: [`storage`], each link ([`net`]), the [`clock`], who may stop the machine ([`power`]), and what the
//!    hypervisor asks ([`agent`]).
//! 6. [`app`]: started when storage and links have settled, told to stop when somebody asks.
//! 7. [`shutdown`]: kill, sync, unmount, power off or reboot. [`previous`] tells the next boot how this one ended.
//!
//! A step that fails is logged and the boot goes on. A fault of init itself is logged, and the machine restarts.

#![allow(
    rustdoc::private_intra_doc_links,
    reason = "it is read with its private parts, and no other crate uses it but its fuzz targets"
)]
#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        reason = "a test may panic without a thread"
    )
)]

mod agent;
mod app;
mod clock;
mod console;
mod drivers;
mod files;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod hardening;
mod helper;
mod limits;
mod machine;
mod mounts;
mod net;
mod own_files;
mod power;
mod previous;
mod priority;
mod settings;
mod shutdown;
mod status;
mod storage;
mod threads;
mod uevent;

use std::convert::Infallible;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use power::watchdog::Armed;
use settings::Settings;
use status::Board;
use tinyboot::status::{Action, Status};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// Boots the machine as PID 1; as another process it is the kernel's [`helper`].
pub fn main() -> ExitCode {
    if std::process::id() != 1 {
        return helper::run(std::env::args());
    }
    std::panic::set_hook(Box::new(shutdown::panicked));
    let Err(error) = boot();
    log::error!("init cannot run: {error}");
    shutdown::leave(Action::Reboot)
}

fn boot() -> io::Result<Infallible> {
    hardening::guard();
    console::start()?;
    mounts::pseudo();
    threads::start()?;
    priority::raise();
    shutdown::prepare();
    let watchdogs = power::watchdog::arm();
    hardening::set();
    power::firmware::prepare();
    console::open_active();
    console::keep();
    let (settings, value) = settings::load(Path::new(settings::PATH));
    let settings = machine::customise(settings, value);
    let source = clock::start(&settings.clock);
    // Its pool stays empty: `threads` does what blocks.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(1)
        .build()?;
    runtime.block_on(live(settings, source, watchdogs))
}

async fn live(
    settings: Settings,
    time_source: &str,
    watchdogs: Vec<Armed>,
) -> io::Result<Infallible> {
    let stop = CancellationToken::new();
    let mut status = Status {
        name: settings.name.clone(),
        ..Status::default()
    };
    status.clock.source = time_source.into();
    let board = Board::new(status);
    let uevents = uevent::Hub::new();
    tokio::spawn(power::watchdog::run(watchdogs, uevents.subscribe()));
    let (restore, restored) = watch::channel(());
    tokio::spawn(console::kernel::run(restore));
    match uevent::socket() {
        Ok(socket) => drop(tokio::spawn(uevents.clone().run(socket, stop.clone()))),
        Err(error) => log::error!("drivers: devices that come later go unnoticed: {error}"),
    }
    let built_in = storage::devices();
    let drivers = drivers::start(uevents.subscribe(), stop.clone());

    let (persistent, persistent_path) = watch::channel(None);
    let surroundings = storage::Surroundings {
        board: board.clone(),
        uevents: uevents.subscribe(),
        built_in,
        drivers: drivers.clone(),
        persistent: persistent.clone(),
        group: Some(settings.app.user()).filter(|user| *user != 0),
    };
    let storage = storage::run(
        settings.storage.clone(),
        settings.volume_id.clone(),
        surroundings,
        stop.clone(),
    );
    tokio::spawn(previous::run(board.clone(), persistent_path.clone()));
    let (pause, pauses) = watch::channel(());
    let net = net::run(
        settings.clone(),
        board.clone(),
        persistent_path.clone(),
        pauses,
        stop.clone(),
    );
    let clock = clock::run(
        settings.clock.clone(),
        board.clone(),
        persistent_path.clone(),
        pause,
        restored,
        stop.clone(),
    );
    let syslog = console::syslog::start(
        settings.log.clone(),
        settings.name.clone(),
        board.clone(),
        stop.clone(),
    );
    let publisher = board.clone();
    let publisher_stop = stop.clone();
    let (asking, mut requests) = mpsc::unbounded_channel();
    let (freezing, frozen) = watch::channel(false);
    power::start(&uevents, asking.clone());
    let mut tasks = vec![
        tokio::spawn(async move {
            publisher
                .publish(Path::new(tinyboot::status::PATH), publisher_stop)
                .await
        }),
        tokio::spawn(storage),
        tokio::spawn(net),
        tokio::spawn(clock),
        tokio::spawn(syslog),
    ];
    if settings.control.agent {
        let surroundings = agent::Surroundings {
            board: board.clone(),
            uevents: uevents.subscribe(),
            requests: asking,
            persistent,
            frozen: freezing,
            clock: settings.clock.clone(),
        };
        tasks.push(tokio::spawn(agent::run(surroundings, stop.clone())));
    }

    let surroundings = app::Surroundings {
        board: board.clone(),
        drivers,
        persistent: persistent_path.clone(),
        frozen,
    };
    let ending = app::supervise(&settings, surroundings, &mut requests).await;
    let record = async {
        let persistent = persistent_path.borrow().clone();
        previous::stopped(&board.snapshot(), persistent).await;
    };
    shutdown::run(ending, &mut requests, || stop.cancel(), tasks, record).await
}
