//! A line as a syslog message (RFC 5424), and messages as a stream (RFC 6587). No I/O and no clock here.

use std::fmt::Write as _;
use std::time::Duration;

use super::super::{Record, Source};
use crate::clock::Date;

/// What receivers should take (RFC 5426, section 3.2); what is longer is cut.
const LONGEST: usize = 2048;
/// The end of what was cut.
const CUT: &str = "...";
/// That of the year 9999.
const LAST_SECOND: i64 = 253_402_300_799;
/// `user-level` and `daemon`; the kernel's own is 0.
const USER: u8 = 1;
const DAEMON: u8 = 3;

/// What does not change from line to line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The machine's name.
    pub host: String,
    /// The image's name, which stands for the app.
    pub app: String,
}

/// Makes the message. `time` is the record's time since 1970, `synchronized` whether a time server has confirmed it.
pub fn format(record: &Record, origin: &Origin, time: Duration, synchronized: bool) -> Vec<u8> {
    let (facility, name) = match record.source {
        Source::Kernel => (0, "kernel"),
        Source::Kmsg => (USER, "kmsg"),
        Source::Init => (DAEMON, "tinyboot"),
        Source::App => (USER, origin.app.as_str()),
    };
    let priority = facility * 8 + record.severity.min(7);
    let mut message = format!("<{priority}>1 ");
    timestamp(&mut message, time);
    message.push(' ');
    word(&mut message, &origin.host, 255);
    message.push(' ');
    word(&mut message, name, 48);
    let process = if record.source == Source::Init {
        "1"
    } else {
        "-"
    };
    // RFC 5424, section 7.1: how far the time can be trusted.
    let _ = write!(
        message,
        " {process} - [timeQuality tzKnown=\"1\" isSynced=\"{}\"] ",
        u8::from(synchronized)
    );
    message.push_str(&record.text);
    if message.len() > LONGEST {
        let end = (0..=LONGEST - CUT.len())
            .rev()
            .find(|end| message.is_char_boundary(*end));
        message.truncate(end.unwrap_or(0));
        message.push_str(CUT);
    }
    message.into_bytes()
}

/// Puts the length in front, so that a receiver knows where a message in a stream ends (RFC 6587, section 3.4.1).
pub fn counted(message: &[u8]) -> Vec<u8> {
    let mut frame = format!("{} ", message.len()).into_bytes();
    frame.extend_from_slice(message);
    frame
}

/// RFC 3339 in UTC with microseconds, or `-` for what does not fit into its four digits of a year.
fn timestamp(message: &mut String, time: Duration) {
    match i64::try_from(time.as_secs()) {
        Ok(seconds) if seconds <= LAST_SECOND => {
            let date = Date::of(seconds).to_string();
            // Writing to a String cannot fail.
            let _ = write!(
                message,
                "{}.{:06}Z",
                date.trim_end_matches('Z'),
                time.subsec_micros()
            );
        }
        _ => message.push('-'),
    }
}

/// A field of printable ASCII without blanks, `-` for nothing.
fn word(message: &mut String, text: &str, longest: usize) {
    if text.is_empty() {
        message.push('-');
    }
    let printable = |c: char| if c.is_ascii_graphic() { c } else { '_' };
    message.extend(text.chars().take(longest).map(printable));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(source: Source, severity: u8, text: &str) -> Record {
        Record {
            at: Duration::ZERO,
            source,
            severity,
            text: text.to_owned(),
        }
    }

    fn text(record: &Record) -> String {
        let origin = Origin {
            host: "kiosk".into(),
            app: "hello".into(),
        };
        let time = Duration::from_micros(1_788_608_700_000_123);
        String::from_utf8_lossy(&format(record, &origin, time, true)).into_owned()
    }

    #[test]
    fn a_message_has_the_fields_of_the_rfc() {
        assert_eq!(
            text(&record(Source::App, 6, "grüße")),
            "<14>1 2026-09-05T11:45:00.000123Z kiosk hello - - [timeQuality tzKnown=\"1\" isSynced=\"1\"] grüße"
        );
        assert!(text(&record(Source::Kernel, 3, "")).starts_with("<3>1 "));
        assert!(text(&record(Source::Init, 4, "")).contains(" kiosk tinyboot 1 - ["));
    }

    #[test]
    fn what_is_missing_is_a_hyphen() {
        let message = format(
            &record(Source::App, 6, "x"),
            &Origin::default(),
            Duration::MAX,
            false,
        );
        assert_eq!(
            String::from_utf8_lossy(&message),
            "<14>1 - - - - - [timeQuality tzKnown=\"1\" isSynced=\"0\"] x"
        );
    }

    #[test]
    fn a_message_that_was_cut_says_so() {
        let long = text(&record(Source::App, 6, &"ü".repeat(1500)));
        assert!(long.len() > LONGEST - 2 && long.len() <= LONGEST);
        assert!(long.ends_with("ü..."), "{long}");
        let fits = text(&record(Source::App, 6, &"x".repeat(1000)));
        assert!(fits.ends_with("xx"), "{fits}");
    }

    #[test]
    fn a_stream_has_the_length_in_front() {
        assert_eq!(counted("grün".as_bytes()), "5 grün".as_bytes());
    }

    proptest! {
        #[test]
        fn whatever_it_is_about_a_message_keeps_its_form(
            source in prop_oneof![Just(Source::Init), Just(Source::App), Just(Source::Kernel), Just(Source::Kmsg)],
            severity in any::<u8>(), seconds in any::<u64>(), host in ".{0,300}", app in ".{0,80}", said in ".{0,3000}",
        ) {
            let origin = Origin { host, app };
            let message = format(&record(source, severity, &said), &origin, Duration::from_secs(seconds), false);
            prop_assert!(message.len() <= LONGEST);
            let message = String::from_utf8(message);
            prop_assert!(message.is_ok());
            let message = message.unwrap_or_default();
            let fields: Vec<&str> = message.splitn(7, ' ').collect();
            prop_assert_eq!(fields.len(), 7);
            let priority = fields.first().and_then(|field| field.strip_prefix('<')?.strip_suffix(">1")?.parse::<u8>().ok());
            prop_assert!(priority.is_some_and(|priority| priority <= 191));
            prop_assert!(fields.iter().take(6).all(|field| !field.is_empty() && field.is_ascii()));
        }
    }
}
