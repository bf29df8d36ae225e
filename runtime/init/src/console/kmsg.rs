//! One record of `/dev/kmsg` (Documentation/ABI/testing/dev-kmsg).

use std::time::Duration;

/// What the kernel, or a process by way of it, said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// 0 is an emergency, 7 is for debugging.
    pub severity: u8,
    /// Whether the kernel itself said it.
    pub is_kernel: bool,
    /// Time since boot.
    pub at: Duration,
    /// The message, unescaped; it may have several lines.
    pub text: Vec<u8>,
}

/// Reads what one read(2) gave: `priority,sequence,microseconds,flags[,…];text`, then lines that begin with a blank and name the
/// device. Later versions may add to the part before the semicolon.
pub fn parse(record: &[u8]) -> Option<Record> {
    let at = record.iter().position(|byte| *byte == b';')?;
    let (prefix, rest) = record.split_at_checked(at)?;
    let mut fields = std::str::from_utf8(prefix).ok()?.split(',');
    let priority: u32 = fields.next()?.parse().ok()?;
    let microseconds: u64 = fields.nth(1)?.parse().ok()?;
    let text = rest.strip_prefix(b";")?;
    let end = text
        .iter()
        .position(|byte| *byte == b'\n')
        .unwrap_or(text.len());
    Some(Record {
        severity: (priority & 7) as u8,
        is_kernel: priority >> 3 == 0,
        at: Duration::from_micros(microseconds),
        text: unescape(text.get(..end)?),
    })
}

/// Bytes that are no printable ASCII stand there as `\x0a`.
fn unescape(mut text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    while let Some((first, rest)) = text.split_first() {
        let escaped = match rest {
            [b'x', high, low, rest @ ..] if *first == b'\\' => hex(*high)
                .zip(hex(*low))
                .map(|(high, low)| (high << 4 | low, rest)),
            _ => None,
        };
        let (byte, rest) = escaped.unwrap_or((*first, rest));
        bytes.push(byte);
        text = rest;
    }
    bytes
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| value.try_into().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_record_has_priority_time_and_text() {
        let expected = Record {
            severity: 3,
            is_kernel: true,
            at: Duration::from_micros(5_140_900),
            text: b"ata1: failed; twice".to_vec(),
        };
        let record = b"3,339,5140900,-;ata1: failed; twice\n SUBSYSTEM=pci\n DEVICE=+pci:0000\n";
        assert_eq!(parse(record), Some(expected));
        let record = parse(b"14,4,1,c,caller=T1;gr\\xc3\\xbc\\x5c\\xn\\x\n");
        assert_eq!(
            record.map(|record| (record.severity, record.is_kernel, record.text)),
            Some((6, false, b"gr\xc3\xbc\\\\xn\\x".to_vec()))
        );
    }

    #[test]
    fn what_is_no_record_is_none() {
        for text in ["", "3", "3,1,1,-", "x,1,1,-;a", "3,1;a", "-3,1,1,-;a"] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..100), text in "[0-9,;x\\\\ a-f\n]{0,60}") {
            let _ = (parse(&bytes), parse(text.as_bytes()));
        }

        #[test]
        fn what_the_kernel_escapes_is_told(priority in 0u32..192, micros in any::<u64>(), text in proptest::collection::vec(any::<u8>(), 0..80)) {
            let escaped: String = text.iter().map(|byte| match byte {
                b'\\' => "\\x5c".to_owned(),
                b' '..=b'~' => char::from(*byte).to_string(),
                _ => format!("\\x{byte:02x}"),
            }).collect();
            let record = parse(format!("{priority},7,{micros},-,x=y;{escaped}\n A=b\n").as_bytes());
            prop_assert_eq!(record, Some(Record {
                severity: (priority % 8) as u8,
                is_kernel: priority < 8,
                at: Duration::from_micros(micros),
                text,
            }));
        }
    }
}
