//! The record of a boot's end, as text. It lies on a disk, so nothing in it is believed to be what init wrote: without I/O.

use tinyboot::status::{Ended, Previous};

use crate::console::escaped;

/// How long a record is: always the same, so that it can be written over on a full disk.
const LENGTH: usize = 1024;
/// How many characters of a text are kept.
const LONGEST: usize = 300;

/// The record of an end, padded with blanks.
pub fn format(previous: &Previous) -> Vec<u8> {
    let short = Previous {
        ended: previous.ended,
        reason: previous.reason.as_deref().map(|text| clean(text, 200)),
        app_exit: previous.app_exit.as_deref().map(|text| clean(text, 80)),
    };
    let mut text = serde_json::to_vec(&short).unwrap_or_default();
    // Of characters that JSON escapes, a text may become too long; the way of the end remains then.
    if text.len() >= LENGTH {
        let bare = Previous {
            ended: previous.ended,
            ..Previous::default()
        };
        text = serde_json::to_vec(&bare).unwrap_or_default();
    }
    text.resize(LENGTH - 1, b' ');
    text.push(b'\n');
    text
}

/// Reads a record. One that makes no sense is that of an end that nobody recorded.
pub fn parse(text: &[u8]) -> Previous {
    let read: Previous = serde_json::from_slice(text).unwrap_or_default();
    Previous {
        ended: read.ended,
        reason: read.reason.as_deref().map(|text| clean(text, LONGEST)),
        app_exit: read.app_exit.as_deref().map(|text| clean(text, LONGEST)),
    }
}

fn clean(text: &str, longest: usize) -> String {
    let start: String = text.chars().take(longest).collect();
    escaped(start.as_bytes()).chars().take(longest).collect()
}

/// Lines of a log that do nothing to a terminal.
pub fn lines(log: &[u8]) -> String {
    let mut text = String::with_capacity(log.len());
    // The first line may be the rest of one.
    for line in log.split(|byte| *byte == b'\n') {
        if !line.is_empty() {
            text.push_str(&escaped(line));
            text.push('\n');
        }
    }
    text
}

/// How the log tells it, after "the boot before this one".
pub fn sentence(previous: &Previous) -> String {
    let mut text = match previous.ended {
        Ended::Stopped => "was stopped in order",
        Ended::InitFault => "ended by a fault of init",
        Ended::KernelPanic => "ended by a panic of the kernel",
        Ended::Watchdog => "was ended by the hardware watchdog",
        Ended::Unknown => "ended without a record: the power went, or the machine was reset",
    }
    .to_owned();
    for (before, part) in [(": ", &previous.reason), ("; the app ", &previous.app_exit)] {
        if let Some(part) = part {
            text.push_str(before);
            text.push_str(part);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ENDS: [Ended; 5] = [
        Ended::Stopped,
        Ended::InitFault,
        Ended::KernelPanic,
        Ended::Watchdog,
        Ended::Unknown,
    ];

    #[test]
    fn a_record_is_read_as_it_was_written() {
        for ended in ENDS {
            let previous = Previous {
                ended,
                reason: Some("the app exited with status 3: reboot".into()),
                app_exit: Some("exited with status 3".into()),
            };
            let text = format(&previous);
            assert_eq!(text.len(), LENGTH);
            assert_eq!(parse(&text), previous);
        }
    }

    #[test]
    fn what_a_later_version_wrote_is_read_as_far_as_it_is_known() {
        let text = br#"{"ended":"abducted","reason":"x","more":1}"#;
        let previous = parse(text);
        assert_eq!(
            (previous.ended, previous.reason.as_deref()),
            (Ended::Unknown, Some("x"))
        );
        assert_eq!(parse(b"many"), Previous::default());
    }

    #[test]
    fn nothing_from_a_disk_reaches_a_terminal() {
        let previous = parse(
            "{\"ended\":\"stopped\",\"reason\":\"\\u001b[2J\\n[ 0.1] kernel: x\"}".as_bytes(),
        );
        let said = sentence(&previous);
        assert!(!said.contains(['\u{1b}', '\n']), "{said:?}");
        assert_eq!(lines(b"a\x1b]0;x\x07\n\nb"), "a\\x1b]0;x\\x07\nb\n");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_and_any_text_is_bounded(bytes in any::<Vec<u8>>(), reason in ".{0,600}", exit in any::<String>()) {
            let read = parse(&bytes);
            prop_assert!(sentence(&read).len() <= 4 * 2 * LONGEST + 200);
            let previous = Previous { ended: Ended::Stopped, reason: Some(reason), app_exit: Some(exit) };
            let text = format(&previous);
            prop_assert_eq!(text.len(), LENGTH);
            prop_assert_eq!(parse(&text).ended, Ended::Stopped);
            let escape = lines(&bytes).contains('\u{1b}');
            prop_assert!(!escape);
        }
    }
}
