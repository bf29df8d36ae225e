//! Who may ask the machine to stop: the power button, Ctrl-Alt-Del, and signals to PID 1.

mod acpi;
pub mod firmware;
pub(crate) mod genetlink;
pub(crate) mod keys;
pub mod watchdog;

use std::time::Duration;

use nix::sys::reboot::set_cad_enabled;
use tinyboot::status::Action;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::helper;
use crate::uevent::Hub;

/// One press is reported by ACPI and by the input layer at almost the same time; a person needs longer for two.
const SAME_PRESS: Duration = Duration::from_millis(150);

/// Somebody asks the machine to stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What is to happen.
    pub action: Action,
    /// Who asks, as the log and the status say it.
    pub reason: &'static str,
}

/// Listens to everybody who may ask, and has `requests` say it. Each of them may be absent.
pub fn start(uevents: &Hub, requests: mpsc::UnboundedSender<Request>) {
    forward(
        SignalKind::interrupt(),
        Request {
            action: Action::Reboot,
            reason: "Ctrl-Alt-Del",
        },
        requests.clone(),
    );
    forward(
        SignalKind::terminate(),
        Request {
            action: Action::PowerOff,
            reason: "SIGTERM",
        },
        requests.clone(),
    );
    for (number, action) in [
        (helper::POWER_OFF, Action::PowerOff),
        (helper::REBOOT, Action::Reboot),
    ] {
        let reason = "the kernel: temperature or hypervisor";
        let request = Request { action, reason };
        forward(SignalKind::from_raw(number), request, requests.clone());
    }
    // Without this the kernel reboots at once at Ctrl-Alt-Del; now it sends SIGINT to PID 1.
    if let Err(error) = set_cad_enabled(false) {
        log::error!(
            "power: Ctrl-Alt-Del reboots without a shutdown: {}",
            error.desc()
        );
    }
    let (presses, pressed) = mpsc::unbounded_channel();
    tokio::spawn({
        let presses = presses.clone();
        async move {
            if let Err(error) = acpi::run(presses).await {
                log::warn!("power: ACPI events are not heard any more: {error}");
            }
        }
    });
    tokio::spawn(keys::run(uevents.subscribe(), presses));
    tokio::spawn(button(pressed, requests));
}

fn forward(kind: SignalKind, request: Request, requests: mpsc::UnboundedSender<Request>) {
    let mut stream = match signal(kind) {
        Ok(stream) => stream,
        Err(error) => return log::error!("power: {} is not heard: {error}", request.reason),
    };
    tokio::spawn(async move {
        while stream.recv().await.is_some() && requests.send(request.clone()).is_ok() {}
    });
}

async fn button(
    mut pressed: mpsc::UnboundedReceiver<()>,
    requests: mpsc::UnboundedSender<Request>,
) {
    let mut last: Option<Instant> = None;
    while pressed.recv().await.is_some() {
        let now = Instant::now();
        if last
            .replace(now)
            .is_some_and(|last| now - last < SAME_PRESS)
        {
            continue;
        }
        if requests
            .send(Request {
                action: Action::PowerOff,
                reason: "power button",
            })
            .is_err()
        {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_press_that_is_reported_twice_is_one_request() {
        let (presses, pressed) = mpsc::unbounded_channel();
        let (requests, mut receiver) = mpsc::unbounded_channel();
        tokio::spawn(button(pressed, requests));
        for (pause, count) in [(0, 2), (2000, 2), (2000, 1)] {
            tokio::time::advance(Duration::from_millis(pause)).await;
            for _ in 0..count {
                assert!(presses.send(()).is_ok());
            }
            let request = receiver.recv().await;
            assert_eq!(
                request,
                Some(Request {
                    action: Action::PowerOff,
                    reason: "power button"
                })
            );
        }
        drop(presses);
        assert_eq!(receiver.recv().await, None);
    }
}
