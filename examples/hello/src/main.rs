//! A machine that says what it is: the example of a program for tinyboot.
//!
//! It says what it has found, counts its boots on the persistent disk, fetches a page if it is told to, and serves a
//! page about itself until it is asked to stop. Environment:
//!
//! - `HELLO_PORT`: where the page is served; 80 unless set, 8080 on an ordinary machine.
//! - `HELLO_URL`: a page to fetch once there is a network.
//! - `SSL_CERT_FILE`: the certificates to trust; tinyboot sets it.

#![forbid(unsafe_code)]

mod boots;
mod fetch;
mod http;
mod page;
mod report;
mod say;
mod serve;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tinyboot::Machine;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use crate::page::Page;
use crate::say::{say, warn};

/// How long the end waits for work that does not stop by itself; well within the grace period of 10 s.
const PATIENCE: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            say(format_args!("The tokio runtime cannot be built: {error}."));
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(run());
    // A download may be in the middle of a blocking call, and nobody waits for it any more.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(format_args!("{error}"));
            ExitCode::FAILURE
        }
    }
}

/// Ends when the machine is to stop, or with an error when the program cannot do what it is for.
async fn run() -> Result<(), Box<dyn std::error::Error>> {
    let machine = tinyboot::configure()?;
    let page = Arc::new(Page::new(machine.clone()));

    // Only what listens is ready. A client that comes before the first answer is possible waits in the kernel's queue.
    let listener = serve::listen(serve::port(&machine)?).await?;
    say(format_args!(
        "listening on port {}",
        listener.local_addr()?.port()
    ));
    warn(machine.notify_ready());

    let tasks = TaskTracker::new();
    tasks.spawn(report::follow(machine.clone()));
    tasks.spawn(boots::count(machine.clone(), page.clone()));
    if let Some(url) = fetch::url()? {
        tasks.spawn(fetch::fetch(machine.clone(), url));
    }
    tasks.close();
    tokio::join!(
        serve::serve(listener, machine.token(), page),
        stopping(&machine)
    );

    let _ = timeout(PATIENCE, tasks.wait()).await;
    finish(&machine).await;
    Ok(())
}

/// Says at once that the end has begun: what is open is still to be finished.
async fn stopping(machine: &Machine) {
    machine.token().cancelled().await;
    warn(machine.notify_stopping());
    match machine.action() {
        Some(action) => say(format_args!("stopping: {action}")),
        None => say(format_args!("stopping: a signal came, the machine goes on")),
    }
}

/// The last words, on the disk first.
async fn finish(machine: &Machine) {
    let action = machine
        .action()
        .map_or("none".to_owned(), |action| format!("{action:?}"));
    if let Some(directory) = machine.persistent() {
        let line = format!("stopped in order, action {action}");
        warn(boots::blocking(move || boots::append(&directory, &line)).await);
    }
    say(format_args!("stopped in order"));
}
