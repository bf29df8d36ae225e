//! A filter of the app's system calls (Documentation/userspace-api/seccomp_filter.rst), as a program for the kernel's BPF.

use nix::errno::Errno;
use nix::libc::{self, c_ulong, sock_filter, sock_fprog};

use crate::settings::{Sandbox, SystemCalls};

/// `AUDIT_ARCH_X86_64` of linux/audit.h.
const ARCHITECTURE: u32 = 0xc000_003e;
/// Offsets in `seccomp_data` (linux/seccomp.h).
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const ARGUMENTS: u32 = 16;

/// `__X32_SYSCALL_BIT`.
const X32: u32 = 1 << 30;

const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const IF_AT_LEAST: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const NOT_PERMITTED: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
/// What libraries take as the hint to try an older call.
const UNKNOWN: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;

/// A filter.
#[derive(Debug)]
pub struct Filter(Vec<sock_filter>);

impl Filter {
    /// Refuses the calls that the settings do not allow, and those with which an app could do what a capability that it does
    /// not have is there for, though the kernel asks for none. `None` if nothing is refused.
    pub fn new(sandbox: &Sandbox) -> Option<Self> {
        let has = |names: &[&str]| names.iter().any(|name| sandbox.kept().has(name));
        let mut rules = Vec::new();
        // Counters of the processor: a large part of the kernel.
        if !has(&["CAP_PERFMON", "CAP_SYS_ADMIN"]) {
            rules.push((libc::SYS_perf_event_open, None));
        }
        // A serial port can be made to reach any other I/O port.
        if !has(&["CAP_SYS_RAWIO"]) {
            rules.push((libc::SYS_ioctl, Some((1, libc::TIOCSSERIAL as u32))));
        }
        // Of two processes of root none has to ask before it makes the other slow, and one of them is init.
        if sandbox.user == 0 && !has(&["CAP_SYS_NICE"]) {
            for number in [
                libc::SYS_sched_setscheduler,
                libc::SYS_sched_setparam,
                libc::SYS_sched_setattr,
                libc::SYS_sched_setaffinity,
            ] {
                rules.push((number, Some((0, 1))));
            }
            rules.push((libc::SYS_setpriority, Some((1, 1))));
            rules.push((libc::SYS_setpriority, Some((0, libc::PRIO_USER))));
        }
        (!rules.is_empty() || sandbox.system_calls.is_some())
            .then(|| Self::of(&rules, sandbox.system_calls.as_ref()))
    }

    /// `rules` are calls that are refused, for some of them only with this value of the argument of this number.
    fn of(rules: &[(i64, Option<(u32, u32)>)], allowed: Option<&SystemCalls>) -> Self {
        let one = |code, k, jt, jf| sock_filter { code, jt, jf, k };
        let mut program = vec![
            one(LOAD, ARCH, 0, 0),
            one(IF_EQUAL, ARCHITECTURE, 1, 0),
            one(RETURN, UNKNOWN, 0, 0),
            one(LOAD, NUMBER, 0, 0),
        ];
        // The numbers of another table of calls (x32), which the kernel does not have.
        program.extend([one(IF_AT_LEAST, X32, 0, 1), one(RETURN, UNKNOWN, 0, 0)]);
        for (number, argument) in rules {
            // Numbers of calls are small.
            let number = *number as u32;
            match argument {
                None => program.extend([
                    one(IF_EQUAL, number, 0, 1),
                    one(RETURN, NOT_PERMITTED, 0, 0),
                ]),
                // The kernel looks at the lower half of these arguments alone.
                Some((argument, value)) => program.extend([
                    one(IF_EQUAL, number, 0, 4),
                    one(LOAD, ARGUMENTS + argument * 8, 0, 0),
                    one(IF_EQUAL, *value, 0, 1),
                    one(RETURN, NOT_PERMITTED, 0, 0),
                    one(LOAD, NUMBER, 0, 0),
                ]),
            }
        }
        if let Some(allowed) = allowed {
            // Runs of allowed numbers, upwards. The kernel asks the filter about each number once and remembers those that it
            // always allows.
            let mut number = 0;
            while number < SystemCalls::END {
                let begin = number;
                while allowed.has(number) {
                    number += 1;
                }
                if number > begin {
                    program.extend([
                        one(IF_AT_LEAST, begin, 1, 0),
                        one(RETURN, NOT_PERMITTED, 0, 0),
                        one(IF_AT_LEAST, number, 1, 0),
                        one(RETURN, ALLOW, 0, 0),
                    ]);
                }
                number += 1;
            }
            program.extend([
                one(IF_AT_LEAST, SystemCalls::first_unknown(), 1, 0),
                one(RETURN, NOT_PERMITTED, 0, 0),
                one(RETURN, UNKNOWN, 0, 0),
            ]);
        } else {
            program.push(one(RETURN, ALLOW, 0, 0));
        }
        Self(program)
    }

    /// Has the kernel use it for this process and all that it starts, for ever. Makes system calls only.
    ///
    /// # Errors
    ///
    /// What prctl(2) says. Without CAP_SYS_ADMIN it wants no_new_privs.
    pub fn install(&self) -> nix::Result<()> {
        let program = sock_fprog {
            len: self.0.len() as u16,
            filter: self.0.as_ptr().cast_mut(),
        };
        let (mode, none): (c_ulong, c_ulong) = (libc::SECCOMP_MODE_FILTER.into(), 0);
        // SAFETY: the kernel reads as many instructions as there are, and changes none.
        Errno::result(unsafe {
            libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program, none, none)
        })
        .map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel's answer to a call with its first two arguments.
    fn run(filter: &Filter, arch: u32, number: i64, arguments: [u32; 2]) -> Option<u32> {
        let (mut at, mut value) = (0, 0);
        loop {
            let step = filter.0.get(at)?;
            at += 1;
            match step.code {
                LOAD => {
                    value = match step.k {
                        NUMBER => number as u32,
                        ARCH => arch,
                        16 => arguments[0],
                        24 => arguments[1],
                        _ => return None,
                    }
                }
                RETURN => return Some(step.k),
                code => {
                    let holds = match code {
                        IF_EQUAL => value == step.k,
                        IF_AT_LEAST => value >= step.k,
                        _ => return None,
                    };
                    at += usize::from(if holds { step.jt } else { step.jf });
                }
            }
        }
    }

    fn filter(text: &str) -> Result<Option<Filter>, serde_json::Error> {
        Ok(Filter::new(&serde_json::from_str(text)?))
    }

    #[test]
    fn a_missing_capability_closes_what_the_kernel_leaves_open() -> Result<(), serde_json::Error> {
        let serial = libc::TIOCSSERIAL as u32;
        let refused = [
            (libc::SYS_perf_event_open, [0, 0]),
            (libc::SYS_ioctl, [7, serial]),
            (libc::SYS_sched_setscheduler, [1, 0]),
            (libc::SYS_sched_setaffinity, [1, 8]),
            (libc::SYS_setpriority, [0, 1]),
            (libc::SYS_setpriority, [2, 0]),
        ];
        let allowed = [
            (libc::SYS_ioctl, [7, serial - 1]),
            (libc::SYS_ioctl, [serial, 7]),
            (libc::SYS_sched_setscheduler, [2, 0]),
            (libc::SYS_setpriority, [0, 0]),
            (libc::SYS_read, [1, serial]),
        ];
        let none = filter(r#"{"capabilities":[]}"#)?.unwrap_or(Filter(Vec::new()));
        for (number, arguments) in refused {
            let answer = run(&none, ARCHITECTURE, number, arguments);
            assert_eq!(answer, Some(NOT_PERMITTED), "{number}");
        }
        for (number, arguments) in allowed {
            assert_eq!(
                run(&none, ARCHITECTURE, number, arguments),
                Some(ALLOW),
                "{number}"
            );
        }
        assert_eq!(
            run(&none, 0x4000_0003, libc::SYS_read, [0, 0]),
            Some(UNKNOWN)
        );
        assert_eq!(run(&none, ARCHITECTURE, 1 << 30, [0, 0]), Some(UNKNOWN));
        let all = r#"{"capabilities":["CAP_PERFMON","CAP_SYS_RAWIO","CAP_SYS_NICE"]}"#;
        assert!(filter(all)?.is_none());
        Ok(())
    }

    #[test]
    fn the_settings_list_is_what_is_allowed() -> Result<(), serde_json::Error> {
        for list in [
            r#"["@system-service"]"#,
            r#"["~@mount"]"#,
            r#"["read","mseal"]"#,
            r#"[]"#,
        ] {
            let calls: SystemCalls = serde_json::from_str(list)?;
            let rules = [(libc::SYS_perf_event_open, None)];
            let filter = Filter::of(&rules, Some(&calls));
            assert!(filter.0.len() < 4096, "{}", filter.0.len());
            for number in 0..600 {
                let expected = if number >= SystemCalls::first_unknown() {
                    UNKNOWN
                } else if calls.has(number) && i64::from(number) != libc::SYS_perf_event_open {
                    ALLOW
                } else {
                    NOT_PERMITTED
                };
                let answer = run(&filter, ARCHITECTURE, number.into(), [0, 0]);
                assert_eq!(answer, Some(expected), "{number} of {list}");
            }
        }
        Ok(())
    }
}
