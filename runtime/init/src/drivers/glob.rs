//! The patterns of `modules.alias`: `*`, `?` and `[a-z]`, as fnmatch(3) without flags reads them.

/// Whether the whole of `text` matches `pattern`. The effort is at most the product of the lengths.
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where to go on when something behind the last star did not match: the star takes one byte more.
    let mut retry: Option<(usize, usize)> = None;
    while let Some(byte) = text.get(t) {
        let rest = pattern.get(p..).unwrap_or_default();
        let taken = match rest {
            [b'*', ..] => {
                retry = Some((p + 1, t));
                p += 1;
                continue;
            }
            [b'?', ..] => Some(1),
            [b'[', inner @ ..] => class(inner, *byte),
            [b'\\', literal, ..] => (literal == byte).then_some(2),
            [literal, ..] => (literal == byte).then_some(1),
            [] => None,
        };
        match (taken, retry) {
            (Some(length), _) => {
                p += length;
                t += 1;
            }
            (None, Some((after_star, from))) => {
                retry = Some((after_star, from + 1));
                p = after_star;
                t = from + 1;
            }
            (None, None) => return false,
        }
    }
    pattern
        .get(p..)
        .unwrap_or_default()
        .iter()
        .all(|byte| *byte == b'*')
}

/// Matches one byte against what follows `[`; the length of the whole class if it is in it. A class without an end
/// matches nothing.
fn class(inner: &[u8], byte: u8) -> Option<usize> {
    let negated = matches!(inner, [b'!' | b'^', ..]);
    let start = usize::from(negated);
    let mut at = start;
    let mut found = false;
    loop {
        match inner.get(at..)? {
            // The first one is a member of the class, not its end.
            [b']', ..] if at > start => break,
            [low, b'-', high, ..] if *high != b']' => {
                found |= (*low..=*high).contains(&byte);
                at += 3;
            }
            [member, ..] => {
                found |= *member == byte;
                at += 1;
            }
            [] => return None,
        }
    }
    (found != negated).then_some(at + 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(pattern: &str, text: &str) -> bool {
        matches(pattern.as_bytes(), text.as_bytes())
    }

    #[test]
    fn patterns_as_depmod_writes_them() {
        let nic = "pci:v00008086d000010D3sv00008086sd0000A01Fbc02sc00i00";
        assert!(check("pci:v00008086d000010D3sv*sd*bc*sc*i*", nic));
        assert!(!check("pci:v00008086d000010D4sv*sd*bc*sc*i*", nic));
        assert!(check("pci:v*d*sv*sd*bc02sc00i*", nic));
        assert!(check(
            "usb:v*p*d*dc*dsc*dp*ic08isc06ip50in*",
            "usb:v46F4p0001d0000dc00dsc00dp00ic08isc06ip50in00"
        ));
        assert!(check(
            "usb:v0421p0019d059[2-9]dc*",
            "usb:v0421p0019d0595dc00"
        ));
        assert!(!check(
            "usb:v0421p0019d059[2-9]dc*",
            "usb:v0421p0019d0591dc00"
        ));
    }

    #[test]
    fn the_corners() {
        assert!(check("", ""));
        assert!(check("*", ""));
        assert!(!check("?", ""));
        assert!(check("a*b*c", "aXbXbXc"));
        assert!(check("[!a]b", "cb"));
        assert!(!check("[!a]b", "ab"));
        assert!(check("[]]", "]"));
        assert!(!check("[a", "a"));
        assert!(check(r"\*", "*"));
    }

    proptest! {
        #[test]
        fn a_text_matches_itself_with_any_part_replaced_by_a_star(text in "[a-zA-Z0-9:]{0,30}", from in 0usize..30, to in 0usize..30) {
            let (from, to) = (from.min(to).min(text.len()), from.max(to).min(text.len()));
            let pattern = format!("{}*{}", text.get(..from).unwrap_or(""), text.get(to..).unwrap_or(""));
            prop_assert!(check(&text, &text));
            prop_assert!(check(&pattern, &text));
        }

        #[test]
        fn any_pattern_ends(pattern in proptest::collection::vec(any::<u8>(), 0..60), text in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = matches(&pattern, &text);
        }
    }
}
