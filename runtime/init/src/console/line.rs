//! Text for the console: one event is one line, and no byte of it can change the terminal's state.

use std::fmt::Write as _;
use std::time::Duration;

/// How many bytes of input one console line shows at most; a longer line goes on in the next one.
pub const LONGEST: usize = 1000;
/// The beginning of such a next one: a program's words may be another one's, who is not to choose how a line of the log begins.
const CONTINUED: &[u8] = b"... ";
/// How many characters a colour's numbers have at most.
const PARAMETERS: usize = 40;

/// Makes the line `[   12.345678] source: text` of seconds since boot, ended by a line feed, from [`escaped`] text.
pub fn render(since_boot: Duration, source: &str, text: &str) -> Vec<u8> {
    format!(
        "[{:5}.{:06}] {source}: {text}\n",
        since_boot.as_secs(),
        since_boot.subsec_micros()
    )
    .into_bytes()
}

/// Text that is one line, looks like what it is and does nothing to a terminal. Control characters and bytes that are not UTF-8
/// become `\x1b`, invisible characters and others than ASCII's `\u{9b}`; a tab stays a tab. Colours are left out: programs have
/// them by default, and they say nothing.
pub fn escaped(mut text: &[u8]) -> String {
    let mut line = String::with_capacity(text.len());
    loop {
        let colour = (0..text.len())
            .find_map(|at| Some((at, at + colour(text.get(at..)?).ok().filter(|it| *it > 0)?)));
        let Some((begin, end)) = colour else { break };
        show(&mut line, text.get(..begin).unwrap_or_default());
        text = text.get(end..).unwrap_or_default();
    }
    show(&mut line, text);
    line
}

fn show(line: &mut String, text: &[u8]) {
    for chunk in text.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\t' => line.push('\t'),
                c if c.is_ascii_control() => escape(line, c as u8),
                c if c.is_control() || is_invisible(c) => line.extend(c.escape_unicode()),
                c => line.push(c),
            }
        }
        chunk.invalid().iter().for_each(|byte| escape(line, *byte));
    }
}

/// Characters that have no glyph and change which ones are seen, and in which order: direction marks, separators of lines, joiners,
/// fillers, tags. They are Unicode's `Default_Ignorable_Code_Point`, line and paragraph separators, and annotation marks, but for the
/// variation selectors, which choose between two forms of one character.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180e}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e00ff}' | '\u{e01f0}'..='\u{e0fff}')
}

/// The length of the colour sequence (`SGR`, ECMA-48) that the text begins with, 0 for none; an error if the text ends in one.
fn colour(text: &[u8]) -> Result<usize, ()> {
    let Some(rest) = text.strip_prefix(b"\x1b") else {
        return Ok(0);
    };
    let Some((b'[', rest)) = rest.split_first() else {
        return if rest.is_empty() { Err(()) } else { Ok(0) };
    };
    let parameters = rest
        .iter()
        .take_while(|byte| matches!(byte, b'0'..=b'9' | b';' | b':'))
        .count();
    match rest.get(parameters) {
        _ if parameters > PARAMETERS => Ok(0),
        Some(b'm') => Ok(parameters + 3),
        Some(_) => Ok(0),
        None => Err(()),
    }
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
            let mut tail = CONTINUED.to_vec();
            tail.extend(self.rest.drain(cut..));
            lines.push(std::mem::replace(&mut self.rest, tail));
        }
    }
}

fn split_at_line_feed(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().position(|byte| *byte == b'\n')?;
    Some((bytes.get(..at)?, bytes.get(at + 1..)?))
}

/// The last place up to [`LONGEST`] that does not cut a colour or a UTF-8 sequence, if there is one among the last few.
fn boundary(bytes: &[u8]) -> usize {
    let within_colour = (LONGEST - PARAMETERS - 2..LONGEST).find(|at| {
        let text = bytes.get(*at..).unwrap_or_default();
        colour(text).map_or(true, |length| at + length > LONGEST)
    });
    within_colour
        .or_else(|| {
            (LONGEST - 3..=LONGEST)
                .rev()
                .find(|at| bytes.get(*at).is_some_and(|byte| byte & 0xc0 != 0x80))
        })
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
    fn what_nobody_sees_is_shown() {
        // Each range's ends; `what` is in the order of letters, whatever a terminal would make of it.
        for mark in [
            '\u{ad}',
            '\u{61c}',
            '\u{180e}',
            '\u{200b}',
            '\u{200d}',
            '\u{200e}',
            '\u{200f}',
            '\u{2028}',
            '\u{2029}',
            '\u{202e}',
            '\u{2060}',
            '\u{2066}',
            '\u{2069}',
            '\u{206f}',
            '\u{3164}',
            '\u{feff}',
            '\u{fff9}',
            '\u{e0001}',
            '\u{e0041}',
            '\u{e007f}',
        ] {
            assert_eq!(
                escaped(format!("wh{mark}at").as_bytes()),
                format!("wh{}at", mark.escape_unicode())
            );
        }
        for seen in [
            "grüße",
            "שלום",
            "日本語",
            "❤\u{fe0f}",
            "नमस्ते",
            "№ 5\u{a0}km",
        ] {
            assert_eq!(escaped(seen.as_bytes()), seen);
        }
    }

    #[test]
    fn colours_are_left_out_and_other_sequences_shown() {
        let coloured =
            b"\x1b[2m10:00\x1b[0m \x1b[32m INFO\x1b[m \x1b[1;38;5;208mx\x1b[38:2::1:2:3my";
        assert_eq!(escaped(coloured), "10:00  INFO xy");
        for (text, shown) in [
            (&b"\x1b[2J"[..], "\\x1b[2J"),
            (b"\x1b[?25lm", "\\x1b[?25lm"),
            (b"\x1b]0;m\x07", "\\x1b]0;m\\x07"),
            (b"\x1b[31", "\\x1b[31"),
            (b"\x1b", "\\x1b"),
            (b"\x1b\x1b[1m[31m", "\\x1b[31m"),
            (b"[31m", "[31m"),
        ] {
            assert_eq!(escaped(text), shown);
        }
        let endless = format!("\x1b[{}m", "1;".repeat(100));
        assert!(escaped(endless.as_bytes()).starts_with("\\x1b[1;"));
    }

    #[test]
    fn a_colour_is_one_whatever_the_reads_and_the_lines_cut() {
        let colour = b"\x1b[1;38;5;208m";
        for before in LONGEST - 20..LONGEST + 20 {
            let mut splitter = Splitter::default();
            let text = [&b"x".repeat(before)[..], colour, &b"y".repeat(900), b"\n"].concat();
            let lines: Vec<Vec<u8>> = text
                .iter()
                .flat_map(|byte| splitter.push(&[*byte]))
                .collect();
            let shown: String = lines.iter().map(|line| escaped(line)).collect();
            assert_eq!(
                shown.replace("... ", ""),
                format!("{}{}", "x".repeat(before), "y".repeat(900))
            );
            assert!(lines.iter().all(|line| line.len() <= LONGEST));
        }
    }

    #[test]
    fn what_a_line_goes_on_with_is_no_line_of_its_own() {
        let mut splitter = Splitter::default();
        let lines = splitter.push(&[&b"x".repeat(LONGEST)[..], b"login: root\n"].concat());
        assert_eq!(lines, [b"x".repeat(LONGEST), b"... login: root".to_vec()]);
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
            let continued = lines.iter().filter(|line| line.starts_with(CONTINUED)).count();
            let said = strip(lines.concat());
            prop_assert!(said.len() <= strip(pieces.concat()).len() + continued * CONTINUED.len());
            let plain = |bytes: Vec<u8>| -> Vec<u8> { bytes.into_iter().filter(|byte| !b". ".contains(byte)).collect() };
            prop_assert_eq!(plain(said), plain(strip(pieces.concat())));
        }

        #[test]
        fn a_rendered_line_is_one_line_of_text(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let line = render(Duration::ZERO, "app", &escaped(&bytes));
            let line = String::from_utf8(line);
            prop_assert!(line.is_ok_and(|line| line.ends_with('\n') && line.trim_end_matches('\n').chars().all(|c| c == '\t' || !c.is_control())));
        }
    }
}
