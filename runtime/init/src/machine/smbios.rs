//! SMBIOS structures as the firmware has them in memory (DMTF DSP0134, section 6.1). No I/O here.

/// "OEM Strings", section 7.12.
const OEM_STRINGS: u8 = 11;
const END_OF_TABLE: u8 = 127;
/// Type, length and handle.
const HEADER: usize = 4;

/// The strings of all structures of type 11, in order. A table that breaks off gives what comes before.
pub fn strings(table: &[u8]) -> Vec<&[u8]> {
    let mut strings = Vec::new();
    let mut rest = table;
    while let Some((kind, set, behind)) = structure(rest) {
        match kind {
            END_OF_TABLE => break,
            OEM_STRINGS => {
                strings.extend(set.split(|byte| *byte == 0).filter(|text| !text.is_empty()))
            }
            _ => {}
        }
        rest = behind;
    }
    strings
}

/// The first structure's type and its strings, each but the last with a zero behind it; and what follows it.
fn structure(table: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (kind, length) = (*table.first()?, usize::from(*table.get(1)?));
    if length < HEADER {
        return None;
    }
    // The set of strings ends with two zeros, also when it is empty.
    let set = table.get(length..)?;
    let end = set.windows(2).position(|pair| pair == [0, 0])?;
    Some((kind, set.get(..end)?, set.get(end + 2..)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn made(kind: u8, formatted: &[u8], strings: &[&[u8]]) -> Vec<u8> {
        let mut bytes = vec![kind, (HEADER + formatted.len()) as u8, 0, 1];
        bytes.extend(formatted);
        for text in strings {
            bytes.extend(*text);
            bytes.push(0);
        }
        bytes.resize(bytes.len() + if strings.is_empty() { 2 } else { 1 }, 0);
        bytes
    }

    #[test]
    fn the_strings_of_all_oem_structures() {
        let table = [
            made(0, &[1, 2, 0, 0xe8, 3], &[b"SeaBIOS", b"01/01/2011"]),
            made(11, &[2], &[b"io.systemd.credential:a=b", b"other"]),
            // Zeros in the formatted part are no end.
            made(32, &[0, 0, 0, 0, 0, 0, 0], &[]),
            made(11, &[1], &[b"last"]),
            made(127, &[], &[]),
            made(11, &[1], &[b"behind the end"]),
        ]
        .concat();
        let expected: [&[u8]; 3] = [b"io.systemd.credential:a=b", b"other", b"last"];
        assert_eq!(strings(&table), expected);
    }

    #[test]
    fn a_table_that_breaks_off_gives_what_comes_before() {
        let table = [made(11, &[1], &[b"whole"]), made(11, &[1], &[b"cut"])].concat();
        let whole: [&[u8]; 1] = [b"whole"];
        assert_eq!(
            strings(table.get(..table.len() - 1).unwrap_or_default()),
            whole
        );
        assert_eq!(strings(&[11, 0, 0, 0, 0, 0]), [[0u8; 0]; 0]);
        assert_eq!(strings(&[11]), [[0u8; 0]; 0]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(bytes in proptest::collection::vec(prop_oneof![Just(0), Just(11), Just(4), any::<u8>()], 0..200)) {
            let total: usize = strings(&bytes).iter().map(|text| text.len()).sum();
            prop_assert!(total <= bytes.len());
        }

        #[test]
        fn what_is_put_in_comes_out(texts in proptest::collection::vec("[ -~]{1,30}", 1..6), kinds in proptest::collection::vec(0u8..127, 6)) {
            let mut table = Vec::new();
            for (text, kind) in texts.iter().zip(kinds) {
                if kind != 11 {
                    table.extend(made(kind, &[kind, 0, 0], &[b"not this"]));
                }
                table.extend(made(11, &[1], &[text.as_bytes()]));
            }
            let found: Vec<&[u8]> = strings(&table);
            let expected: Vec<&[u8]> = texts.iter().map(|text| text.as_bytes()).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
