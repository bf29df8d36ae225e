//! The ways in which a program ends, and what it does when it is asked to.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use crate::{commands, journal, say};

/// What SIGTERM leads to: seconds of work before the end, or `IGNORE`.
static ON_TERMINATION: AtomicU32 = AtomicU32::new(0);
const IGNORE: u32 = u32::MAX;

/// SIGTERM starts what `on_termination` chose instead of ending the process. To be called before the first thread.
pub fn take_over_termination() {
    // SAFETY: a zeroed set is memory for sigemptyset to fill in.
    let mut signals: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: the three calls read and write the set above and nothing else.
    unsafe {
        libc::sigemptyset(&raw mut signals);
        libc::sigaddset(&raw mut signals, libc::SIGTERM);
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const signals, std::ptr::null_mut());
    }
    thread::spawn(move || {
        loop {
            let mut signal = 0;
            // SAFETY: waits for a blocked signal of the set and stores its number.
            if unsafe { libc::sigwait(&raw const signals, &raw mut signal) } == 0 {
                terminated(ON_TERMINATION.load(Ordering::SeqCst));
            }
        }
    });
}

fn terminated(work: u32) {
    say("asked to stop");
    let durable = journal::durable();
    if durable.iter().any(|count| *count > 0) {
        say(&format!("durable {}", journal::words(durable)));
    }
    match work {
        IGNORE => {
            thread::sleep(Duration::from_secs(2));
            say("still here");
        }
        0 => std::process::exit(0),
        seconds => {
            thread::sleep(Duration::from_secs(seconds.into()));
            match commands::run("write /persistent/finished yes") {
                Ok(_) => say("work finished"),
                Err(error) => say(&format!("work failed: {error}")),
            }
            std::process::exit(0);
        }
    }
}

/// Chooses what SIGTERM leads to: `ignore`, or a number of seconds of work whose result is written at the end.
pub fn on_termination(choice: &str) -> io::Result<String> {
    let value = if choice == "ignore" {
        IGNORE
    } else {
        choice.parse().map_err(io::Error::other)?
    };
    ON_TERMINATION.store(value, Ordering::SeqCst);
    Ok(String::new())
}

/// Ends the process in the named way.
pub fn end(way: &str) -> io::Result<String> {
    match way {
        // The default hook prints, and then the whole process is to end, not this thread alone.
        "panic" => {
            let _ = thread::spawn(|| panic!("the test asked for it")).join();
            std::process::exit(101);
        }
        "abort" => std::process::abort(),
        "segfault" => {
            // SAFETY: none, on purpose: the test is about what follows when a program writes where it must not.
            unsafe { std::ptr::without_provenance_mut::<u8>(8).write_volatile(1) };
            Err(io::Error::other(
                "writing to address 8 did not end the process",
            ))
        }
        "kill" => {
            // SAFETY: sends a signal to this process itself.
            unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
            Err(io::Error::other("SIGKILL did not end the process"))
        }
        status => std::process::exit(status.parse().map_err(io::Error::other)?),
    }
}

/// Leaves `count` processes behind whose parent has gone; they end after a second.
pub fn orphans(count: u32) -> io::Result<String> {
    for _ in 0..count {
        // SAFETY: the child makes only calls that are allowed between fork and exec in a process with threads.
        let child = unsafe { libc::fork() };
        if child == 0 {
            // SAFETY: as above; both processes end here by _exit.
            unsafe {
                if libc::fork() == 0 {
                    libc::sleep(1);
                }
                libc::_exit(0);
            }
        }
        // SAFETY: waits for the child just made; nothing is stored.
        if child < 0 || unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) } != child {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(String::new())
}

/// How many children run at the same time.
const BATCH: u32 = 50;

/// Has `count` children, each of which leaves a process behind that ends at once, and ends with a status of its own.
/// An error if another status than that is waited for, or none.
pub fn children(count: u32) -> io::Result<String> {
    let mut left = count;
    while left > 0 {
        let mut batch = Vec::new();
        for _ in 0..left.min(BATCH) {
            let status = left.rem_euclid(251) as libc::c_int;
            left -= 1;
            // SAFETY: the child makes only calls that are allowed between fork and exec in a process with threads.
            let child = unsafe { libc::fork() };
            if child == 0 {
                // SAFETY: as above; both processes end here by _exit.
                unsafe {
                    match libc::fork() {
                        -1 => libc::_exit(255),
                        0 => libc::_exit(0),
                        _ => libc::_exit(status),
                    }
                }
            }
            if child < 0 {
                return Err(io::Error::last_os_error());
            }
            batch.push((child, status));
        }
        for (child, expected) in batch {
            let mut status = 0;
            // SAFETY: waits for one child and stores a number.
            if unsafe { libc::waitpid(child, &raw mut status, 0) } != child {
                return Err(io::Error::last_os_error());
            }
            if !libc::WIFEXITED(status) || libc::WEXITSTATUS(status) != expected {
                return Err(io::Error::other(format!(
                    "a child that ended with status {expected} was waited for as {status:#x}"
                )));
            }
        }
    }
    Ok(String::new())
}
