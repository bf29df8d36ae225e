//! What process 1 costs: its memory, descriptors, threads and wake-ups.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use crate::say;

/// Memory in KiB, descriptors and threads of process 1, as `rss 2400 anon 300 fds 20 threads 2`. The kernel counts
/// memory for each CPU and adds it up when 32 pages are together, so that the two first are as exact as that.
pub fn now() -> io::Result<String> {
    let status = fs::read_to_string("/proc/1/status")?;
    let fds = fs::read_dir("/proc/1/fd")?.count();
    let threads = fs::read_dir("/proc/1/task")?.count();
    Ok(format!(
        "rss {} anon {} fds {fds} threads {threads}",
        field(&status, "VmRSS:")?,
        field(&status, "RssAnon:")?,
    ))
}

/// Looks at process 1 for a while that nobody disturbs, and says then how often its threads were given the processor:
/// each time that one waited and woke, or was interrupted by another process.
pub fn idle(seconds: u32) -> io::Result<String> {
    let before = switches()?;
    let begin = Instant::now();
    thread::spawn(move || {
        thread::sleep(Duration::from_secs(seconds.into()));
        let window = begin.elapsed().as_secs_f64();
        match switches().and_then(|after| Ok((after, now()?))) {
            Ok((after, figures)) => {
                let mut total = 0;
                for (thread, (name, count)) in &after {
                    let more = count - before.get(thread).map_or(0, |(_, count)| *count);
                    say(&format!("idle: thread {name} woke {more} times"));
                    total += more;
                }
                say(&format!(
                    "idle: woke {total} times in {window:.1} s, {figures}"
                ));
            }
            Err(error) => say(&format!("idle: error: {error}")),
        }
    });
    Ok(String::new())
}

/// Name and number of context switches of each thread of process 1. A thread that ends between the steps is left out.
fn switches() -> io::Result<BTreeMap<String, (String, u64)>> {
    let mut threads = BTreeMap::new();
    for entry in fs::read_dir("/proc/1/task")? {
        let entry = entry?;
        let Ok(status) = fs::read_to_string(entry.path().join("status")) else {
            continue;
        };
        let count = field(&status, "voluntary_ctxt_switches:")?
            + field(&status, "nonvoluntary_ctxt_switches:")?;
        let name = status.lines().next().unwrap_or_default();
        let name = name.trim_start_matches("Name:").trim().to_owned();
        threads.insert(
            entry.file_name().to_string_lossy().into_owned(),
            (name, count),
        );
    }
    Ok(threads)
}

fn field(status: &str, name: &str) -> io::Result<u64> {
    status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.split_whitespace().next())
        .and_then(|value| value.parse().ok())
        .ok_or_else(|| io::Error::other(format!("there is no number {name}")))
}
