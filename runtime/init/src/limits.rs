//! Init's own resource limits (getrlimit(2)). A program of the same user id may change them by prlimit(2); init takes back
//! those that it started with when it lacks something.

use std::sync::OnceLock;

use nix::libc;

/// How many kinds of limits the kernel has (`RLIM_NLIMITS`).
const KINDS: usize = 16;

static FIRST: OnceLock<[Option<libc::rlimit>; KINDS]> = OnceLock::new();

/// Remembers the limits as they are.
pub fn remember() {
    let _ = FIRST.set(std::array::from_fn(get));
}

/// Sets the limits as they were. True if one of them was another one.
pub fn restore() -> bool {
    let first = FIRST.get().into_iter().flatten().enumerate();
    let mut changed = false;
    for (kind, limit) in first {
        let (Some(limit), Some(now)) = (limit, get(kind)) else {
            continue;
        };
        if (limit.rlim_cur, limit.rlim_max) != (now.rlim_cur, now.rlim_max) {
            changed |= set(kind, limit);
        }
    }
    if changed {
        log::warn!("init: its resource limits were changed; they are as before again");
    }
    changed
}

fn get(kind: usize) -> Option<libc::rlimit> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    let kind = libc::__rlimit_resource_t::try_from(kind).ok()?;
    // SAFETY: the kernel writes one `struct rlimit` at the address of `limit`.
    (unsafe { libc::getrlimit(kind, &raw mut limit) } == 0).then_some(limit)
}

fn set(kind: usize, limit: &libc::rlimit) -> bool {
    let Ok(kind) = libc::__rlimit_resource_t::try_from(kind) else {
        return false;
    };
    // SAFETY: the limit outlives the call, which reads it.
    unsafe { libc::setrlimit(kind, &raw const *limit) == 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_was_changed_is_set_back() {
        const CORE: usize = libc::RLIMIT_CORE as usize;
        remember();
        let before = get(CORE).map(|limit| limit.rlim_cur);
        let Some(now) = get(CORE) else { return };
        let other = libc::rlimit {
            rlim_cur: if now.rlim_cur == 0 { now.rlim_max } else { 0 },
            ..now
        };
        assert!(set(CORE, &other));
        assert!(restore());
        assert_eq!(get(CORE).map(|limit| limit.rlim_cur), before);
        assert!(!restore());
    }
}
