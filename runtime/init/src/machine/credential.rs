//! Credentials in systemd's convention (systemd.system-credentials(7), smbios-type-11(7)). No I/O here.

/// What the strings of SMBIOS begin with.
const TEXT: &[u8] = b"io.systemd.credential:";
const BINARY: &[u8] = b"io.systemd.credential.binary:";
/// The longest name: that of a file.
const LONGEST_NAME: usize = 255;

/// A name and what is to be known under it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// Also the file's name.
    pub name: String,
    /// Any bytes.
    pub value: Vec<u8>,
}

/// Why there is none.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It would be no file of its directory.
    #[error(
        "the credential's name \"{0}\" is not of letters, digits, \".\", \"_\", \"-\" and \"@\", 255 at most, the first no \".\""
    )]
    Name(String),
    /// There is no `=`.
    #[error("the credential \"{0}\" has no value")]
    NoValue(String),
    /// Its value is not what it says.
    #[error("the value of the credential \"{0}\" is no Base64")]
    NoBase64(String),
}

impl Credential {
    /// One with any value, if the name will do.
    ///
    /// # Errors
    ///
    /// It will not.
    pub fn new(name: &[u8], value: Vec<u8>) -> Result<Self, Error> {
        match std::str::from_utf8(name) {
            Ok(text) if is_valid(text) => Ok(Self {
                name: text.to_owned(),
                value,
            }),
            _ => Err(Error::Name(shown(name))),
        }
    }

    /// Reads one of SMBIOS's strings; `None` if it is something else.
    pub fn parse(text: &[u8]) -> Option<Result<Self, Error>> {
        if let Some(rest) = text.strip_prefix(BINARY) {
            return Some(split(rest).and_then(|(name, value)| {
                let value = base64(value).ok_or_else(|| Error::NoBase64(shown(name)))?;
                Self::new(name, value)
            }));
        }
        let rest = text.strip_prefix(TEXT)?;
        Some(split(rest).and_then(|(name, value)| Self::new(name, value.to_vec())))
    }
}

fn split(text: &[u8]) -> Result<(&[u8], &[u8]), Error> {
    let end = text
        .iter()
        .position(|byte| *byte == b'=')
        .ok_or_else(|| Error::NoValue(shown(text)))?;
    let (name, value) = text.split_at(end);
    Ok((name, value.get(1..).unwrap_or_default()))
}

fn is_valid(name: &str) -> bool {
    (1..=LONGEST_NAME).contains(&name.len())
        && !name.starts_with('.')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-@".contains(&byte))
}

/// For the log: the beginning, without what a terminal would take for a command.
fn shown(name: &[u8]) -> String {
    let text = String::from_utf8_lossy(name);
    text.chars()
        .take(60)
        .map(|character| {
            if character.is_control() {
                '?'
            } else {
                character
            }
        })
        .collect()
}

/// RFC 4648, section 4; the padding may be missing.
pub fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let end = text.len()
        - text
            .iter()
            .rev()
            .take(2)
            .take_while(|byte| **byte == b'=')
            .count();
    let digits = text.get(..end)?;
    let mut bytes = Vec::with_capacity(digits.len() / 4 * 3 + 2);
    for group in digits.chunks(4) {
        let mut bits = 0u32;
        for digit in group {
            bits = bits << 6 | u32::from(sextet(*digit)?);
        }
        // Bits of the last digit that belong to no byte must be zero.
        let (count, spare) = match group.len() {
            4 => (3, 0),
            3 => (2, 2),
            2 => (1, 4),
            _ => return None,
        };
        if bits & ((1 << spare) - 1) != 0 {
            return None;
        }
        let group = (bits >> spare).to_be_bytes();
        bytes.extend(group.get(4 - count..)?);
    }
    Some(bytes)
}

fn sextet(digit: u8) -> Option<u8> {
    Some(match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(text: &str) -> Option<Result<(String, Vec<u8>), String>> {
        Credential::parse(text.as_bytes()).map(|result| {
            result
                .map(|credential| (credential.name, credential.value))
                .map_err(|error| error.to_string())
        })
    }

    #[test]
    fn text_and_binary() {
        assert_eq!(
            parsed("io.systemd.credential:db-password=a=b c"),
            Some(Ok(("db-password".into(), b"a=b c".to_vec())))
        );
        assert_eq!(
            parsed("io.systemd.credential.binary:key@1=AP8="),
            Some(Ok(("key@1".into(), vec![0, 255])))
        );
        assert_eq!(parsed("io.systemd.stub.kernel-cmdline-extra=quiet"), None);
        assert_eq!(parsed(""), None);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let wrong = |text: &str, sentence: &str| {
            assert_eq!(parsed(text), Some(Err(sentence.into())), "{text}");
        };
        let name = |name: &str| {
            format!(
                "the credential's name \"{name}\" is not of letters, digits, \".\", \"_\", \"-\" and \"@\", 255 at most, the first no \".\""
            )
        };
        wrong(
            "io.systemd.credential:../etc/passwd=x",
            &name("../etc/passwd"),
        );
        wrong("io.systemd.credential:=x", &name(""));
        wrong("io.systemd.credential:.hidden=x", &name(".hidden"));
        wrong("io.systemd.credential:a\u{1b}b=x", &name("a?b"));
        wrong(
            "io.systemd.credential:lonely",
            "the credential \"lonely\" has no value",
        );
        wrong(
            "io.systemd.credential.binary:key=###",
            "the value of the credential \"key\" is no Base64",
        );
    }

    #[test]
    fn the_examples_of_the_rfc() {
        for (text, bytes) in [
            ("", ""),
            ("Zg==", "f"),
            ("Zm8=", "fo"),
            ("Zm9v", "foo"),
            ("Zm9vYg==", "foob"),
            ("Zm9vYmE=", "fooba"),
            ("Zm9vYmFy", "foobar"),
            ("Zm9vYg", "foob"),
        ] {
            assert_eq!(
                base64(text.as_bytes()).as_deref(),
                Some(bytes.as_bytes()),
                "{text}"
            );
        }
        for text in [
            "Z", "Zg===", "Zh==", "Zm9=", "Zm 9", "=", "====", "Zg==Zg==",
        ] {
            let decoded = base64(text.as_bytes());
            assert!(decoded.is_none_or(|bytes| bytes.is_empty()), "{text}");
        }
    }

    /// The plain way round.
    fn encoded(bytes: &[u8]) -> String {
        const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut text = String::new();
        for group in bytes.chunks(3) {
            let bits = group
                .iter()
                .fold(0u32, |bits, byte| bits << 8 | u32::from(*byte))
                << (8 * (3 - group.len()));
            for place in 0..4 {
                let digit = DIGITS.get((bits >> (18 - 6 * place)) as usize & 63);
                text.push(if place > group.len() {
                    '='
                } else {
                    char::from(*digit.unwrap_or(&b'?'))
                });
            }
        }
        text
    }

    proptest! {
        #[test]
        fn bytes_come_back(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            prop_assert_eq!(base64(encoded(&bytes).as_bytes()), Some(bytes));
        }

        #[test]
        fn any_bytes_are_read_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..100), binary: bool) {
            let _ = base64(&bytes);
            let text = [if binary { BINARY } else { TEXT }, &bytes].concat();
            if let Some(Ok(credential)) = Credential::parse(&text) {
                prop_assert!(!credential.name.contains('/') && credential.name != "..");
            }
        }
    }
}
