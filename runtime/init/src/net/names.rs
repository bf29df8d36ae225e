//! Domain names that others give: as text, and in DNS' own form as the lists of DHCP's option 119 (RFC 3397) and of
//! router advertisements (RFC 8106) have them.

/// As many names of one list are read; no resolver searches more.
pub const MOST: usize = 32;

/// A name that is safe in resolv.conf and as a host name: dot-separated labels of letters, digits, `-` and `_`.
pub fn name(text: &str) -> Option<String> {
    let text = text.trim_end_matches('.');
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    (text.len() <= 253 && text.split('.').all(label)).then(|| text.to_owned())
}

/// Names with spaces between them, each checked by itself, as some servers have them in DHCP's option 15. None if there is a
/// character that no such text has.
pub fn words(text: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    if text.chars().any(char::is_control) {
        return names;
    }
    for name in text.split(' ').filter_map(name) {
        if names.len() < MOST && !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// Reads a list of names in DNS' form (RFC 1035, section 3.1), in which a name may end with a pointer to an earlier one
/// (section 4.1.4). Names that are not safe are left out, as is the root, with which some lists are padded. `None` if the
/// list is malformed.
pub fn list(bytes: &[u8]) -> Option<Vec<String>> {
    let mut names: Vec<String> = Vec::new();
    let mut at = 0;
    while at < bytes.len() && names.len() < MOST {
        let (text, next) = one(bytes, at)?;
        let name = name(&text).filter(|name| !names.contains(name));
        names.extend(name);
        at = next;
    }
    Some(names)
}

/// The name at `start`, and where the next one begins. A pointer has to point to before the part of the name that it
/// ends, so that there are no loops.
fn one(bytes: &[u8], start: usize) -> Option<(String, usize)> {
    let mut text = String::new();
    let (mut part, mut at) = (start, start);
    let mut next = None;
    loop {
        let length = *bytes.get(at)?;
        match length {
            0 => return Some((text, next.unwrap_or(at + 1))),
            1..=63 => {
                let label = bytes.get(at + 1..at + 1 + usize::from(length))?;
                // What is not a letter, digit, `-` or `_` makes the name unsafe, whatever it looks like as text.
                text.extend(label.iter().map(|byte| {
                    if *byte == b'.' {
                        ' '
                    } else {
                        char::from(*byte)
                    }
                }));
                text.push('.');
                at += 1 + usize::from(length);
                if text.len() > 1024 {
                    return None;
                }
            }
            64..=191 => return None,
            192..=255 => {
                let target = usize::from(length & 0x3f) << 8 | usize::from(*bytes.get(at + 1)?);
                next.get_or_insert(at + 2);
                if target >= part {
                    return None;
                }
                (part, at) = (target, target);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names(list: &[&str]) -> Option<Vec<String>> {
        Some(list.iter().map(|name| (*name).to_owned()).collect())
    }

    #[test]
    fn a_list_with_pointers() {
        // The example of RFC 3397, section 2: eng.apple.com, marketing.apple.com.
        let bytes = b"\x03eng\x05apple\x03com\x00\x09marketing\xc0\x04";
        assert_eq!(
            list(bytes),
            names(&["eng.apple.com", "marketing.apple.com"])
        );
        let chained = b"\x01a\x01b\x00\x01c\xc0\x02\x01d\xc0\x05\xc0\x00";
        assert_eq!(list(chained), names(&["a.b", "c.b", "d.c.b"]));
    }

    #[test]
    fn names_between_spaces_are_checked_one_by_one() {
        for (text, expected) in [
            (
                "us-west-2.compute.internal corp.example",
                &["us-west-2.compute.internal", "corp.example"] as &[_],
            ),
            (" a.example.  -b c/d a.example", &["a.example"]),
            ("a\nnameserver 6.6.6.6", &[]),
            ("", &[]),
        ] {
            assert_eq!(Some(words(text)), names(expected), "{text:?}");
        }
        let many: Vec<String> = (0..100).map(|number| format!("d{number}")).collect();
        assert_eq!(words(&many.join(" ")).len(), MOST);
    }

    #[test]
    fn padding_and_repetitions_are_left_out() {
        assert_eq!(list(b""), names(&[]));
        assert_eq!(list(b"\x01a\x00\x01a\x00\x00\x00\x00"), names(&["a"]));
    }

    #[test]
    fn what_could_break_a_file_is_left_out() {
        for label in ["a b", "a\nb", "a.b", "-a", "\u{e9}"] {
            let mut bytes = vec![u8::try_from(label.len()).unwrap_or(0)];
            bytes.extend_from_slice(label.as_bytes());
            bytes.extend_from_slice(b"\x00\x01x\x00");
            assert_eq!(list(&bytes), names(&["x"]), "{label:?}");
        }
        let long: Vec<u8> = (0..5)
            .flat_map(|_| [[63].as_slice(), &[b'a'; 63]].concat())
            .collect();
        assert_eq!(
            list(&[&long, [0].as_slice()].concat()),
            names(&[]),
            "longer than a name can be"
        );
    }

    #[test]
    fn malformed_lists_are_none() {
        for bytes in [
            b"\x03ab".as_slice(),
            b"\x01a",
            b"\x40a\x00",
            b"\xc0",
            b"\xc0\x00",
            b"\x01a\xc0\x00",
            b"\x01a\x00\xc0\x03",
            b"\x01a\x00\xc0\xff",
            b"\xc0\x02\xc0\x00",
        ] {
            assert_eq!(list(bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn a_huge_list_is_cut() {
        let huge: Vec<u8> = (0..20_000_u32)
            .flat_map(|number| {
                let text = number.to_string();
                [
                    &[u8::try_from(text.len()).unwrap_or(1)],
                    text.as_bytes(),
                    &[0],
                ]
                .concat()
            })
            .collect();
        assert_eq!(list(&huge).map(|names| names.len()), Some(MOST));
    }

    proptest! {
        #[test]
        fn no_bytes_give_an_unsafe_name(bytes in proptest::collection::vec(prop_oneof![any::<u8>(), 0_u8..8, Just(0xc0)], 0..200)) {
            for found in list(&bytes).unwrap_or_default() {
                prop_assert_eq!(name(&found), Some(found.clone()));
            }
        }

        #[test]
        fn what_is_encoded_is_read(wanted in proptest::collection::btree_set("[a-z]{1,9}(\\.[a-z0-9]{1,9}){0,3}", 0..8)) {
            let mut bytes = Vec::new();
            for name in &wanted {
                for label in name.split('.') {
                    bytes.push(u8::try_from(label.len()).unwrap_or(0));
                    bytes.extend_from_slice(label.as_bytes());
                }
                bytes.push(0);
            }
            prop_assert_eq!(list(&bytes), Some(wanted.into_iter().collect::<Vec<_>>()));
        }
    }
}
