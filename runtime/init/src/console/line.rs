//! Text for the console: one event is one line, and no byte of it can change the terminal's state.

use std::fmt::Write as _;
use std::time::Duration;

/// How many bytes of input one console line shows at most; a longer line goes on in the next one.
pub const LONGEST: usize = 1000;

/// Makes the line `[   12.345678] source: text` of seconds since boot, ended by a line feed, from [`escaped`] text.
pub fn render(since_boot: Duration, source: &str, text: &str) -> Vec<u8> {
    format!(
        "[{:5}.{:06}] {source}: {text}\n",
        since_boot.as_secs(),
        since_boot.subsec_micros()
    )
    .into_bytes()
}

/// Text that is one line and does nothing to a terminal: control characters and bytes that are not UTF-8 become `\x1b`, others
/// than ASCII `\u{9b}`; a tab stays a tab.
pub fn escaped(text: &[u8]) -> String {
    let mut line = String::with_capacity(text.len());
    for chunk in text.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\t' => line.push('\t'),
                c if c.is_ascii_control() => escape(&mut line, c as u8),
                c if c.is_control()
                    || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}') =>
                {
                    line.extend(c.escape_unicode());
                }
                c => line.push(c),
            }
        }
        chunk
            .invalid()
            .iter()
            .for_each(|byte| escape(&mut line, *byte));
    }
    line
}

fn escape(line: &mut String, byte: u8) {
    // Writing to a String cannot fail.
    let _ = write!(line, "\\x{byte:02x}");
}

/// Cuts a stream of bytes into lines of at most [`LONGEST`] bytes.
#[derive(Debug, Default)]
pub struct Splitter {
    rest: Vec<u8>,
}

impl Splitter {
    /// Takes what was read and returns the lines that it completes, without their line ends.
    pub fn push(&mut self, mut bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut lines = Vec::new();
        while let Some((head, tail)) = split_at_line_feed(bytes) {
            self.append(head, &mut lines);
            let mut line = std::mem::take(&mut self.rest);
            if line.last() == Some(&b'\r') {
                line.pop();
            }
            lines.push(line);
            bytes = tail;
        }
        self.append(bytes, &mut lines);
        lines
    }

    /// The last line, if the stream ended without a line feed.
    pub fn finish(self) -> Option<Vec<u8>> {
        (!self.rest.is_empty()).then_some(self.rest)
    }

    fn append(&mut self, bytes: &[u8], lines: &mut Vec<Vec<u8>>) {
        self.rest.extend_from_slice(bytes);
        while self.rest.len() > LONGEST {
            let cut = boundary(&self.rest);
            let tail = self.rest.split_off(cut);
            lines.push(std::mem::replace(&mut self.rest, tail));
        }
    }
}

fn split_at_line_feed(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().position(|byte| *byte == b'\n')?;
    Some((bytes.get(..at)?, bytes.get(at + 1..)?))
}

/// The last place up to [`LONGEST`] that does not cut a UTF-8 sequence, if there is one among the last four.
fn boundary(bytes: &[u8]) -> usize {
    (LONGEST - 3..=LONGEST)
        .rev()
        .find(|at| bytes.get(*at).is_some_and(|byte| byte & 0xc0 != 0x80))
        .unwrap_or(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(bytes: &[u8]) -> String {
        String::from_utf8_lossy(&render(
            Duration::new(12, 345_678_901),
            "app",
            &escaped(bytes),
        ))
        .into_owned()
    }

    #[test]
    fn a_line_has_time_and_source() {
        assert_eq!(
            text("grüße\t1".as_bytes()),
            "[   12.345678] app: grüße\t1\n"
        );
    }

    #[test]
    fn what_a_terminal_would_obey_is_shown() {
        assert_eq!(
            text(b"\x1b[2J\xff\r"),
            "[   12.345678] app: \\x1b[2J\\xff\\x0d\n"
        );
        assert_eq!(
            text("\u{9b}1m\u{202e}".as_bytes()),
            "[   12.345678] app: \\u{9b}1m\\u{202e}\n"
        );
    }

    #[test]
    fn lines_end_with_either_line_end() {
        let mut splitter = Splitter::default();
        assert_eq!(
            splitter.push(b"one\r\ntwo\n\nthr"),
            [b"one".to_vec(), b"two".to_vec(), b"".to_vec()]
        );
        assert_eq!(splitter.push(b"ee"), Vec::<Vec<u8>>::new());
        assert_eq!(splitter.finish(), Some(b"three".to_vec()));
    }

    #[test]
    fn a_long_line_is_cut_between_characters() {
        let mut splitter = Splitter::default();
        let lines = splitter.push("ü".repeat(1200).as_bytes());
        assert!(
            lines
                .iter()
                .all(|line| line.len() <= LONGEST && std::str::from_utf8(line).is_ok())
        );
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_no_line_is_too_long(pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..3000), 0..4)) {
            let mut splitter = Splitter::default();
            let mut lines: Vec<Vec<u8>> = pieces.iter().flat_map(|piece| splitter.push(piece)).collect();
            lines.extend(splitter.finish());
            prop_assert!(lines.iter().all(|line| line.len() <= LONGEST));
            let strip = |bytes: Vec<u8>| -> Vec<u8> { bytes.into_iter().filter(|byte| !b"\r\n".contains(byte)).collect() };
            prop_assert_eq!(strip(lines.concat()), strip(pieces.concat()));
        }

        #[test]
        fn a_rendered_line_is_one_line_of_text(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let line = render(Duration::ZERO, "app", &escaped(&bytes));
            let line = String::from_utf8(line);
            prop_assert!(line.is_ok_and(|line| line.ends_with('\n') && line.trim_end_matches('\n').chars().all(|c| c == '\t' || !c.is_control())));
        }
    }
}
