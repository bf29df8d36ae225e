//! The kernel's command line, `/proc/cmdline` (Documentation/admin-guide/kernel-parameters.rst). No I/O here.

/// What a parameter that is meant for init begins with.
const PREFIX: &str = "tinyboot.";

/// Each `tinyboot.KEY=VALUE` in order, without the prefix; a parameter without a value says `true`, as with the kernel's
/// own switches. Spaces may stand between double quotes, which are taken off where the kernel takes them off: around a
/// value and around a whole parameter.
pub fn settings(line: &str) -> impl Iterator<Item = (&str, &str)> {
    parameters(line).filter_map(|parameter| {
        let bare = parameter.strip_prefix('"').map(without_quote);
        let setting = bare.unwrap_or(parameter).strip_prefix(PREFIX)?;
        let (key, value) = setting.split_once('=').unwrap_or((setting, "true"));
        let value = value.strip_prefix('"').map_or(value, without_quote);
        Some((key, value))
    })
}

fn without_quote(text: &str) -> &str {
    text.strip_suffix('"').unwrap_or(text)
}

/// The line's parts between spaces that are not quoted.
pub fn parameters(line: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    line.split(move |character: char| {
        quoted ^= character == '"';
        !quoted && character.is_ascii_whitespace()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_meant_for_init_is_found() {
        let line = concat!(
            "console=ttyS0 quiet tinyboot.app.gracePeriod=30 tinybooter.x=1 tinyboot.storage.grow ",
            "tinyboot.app.arguments=\"--name=a b\" \"tinyboot.network.hostName=with space\" ",
            "tinyboot.app.environment={\"A\":\"b c\",\"D\":\"\"} tinyboot.clock.servers=a,b\n"
        );
        let expected = [
            ("app.gracePeriod", "30"),
            ("storage.grow", "true"),
            ("app.arguments", "--name=a b"),
            ("network.hostName", "with space"),
            ("app.environment", r#"{"A":"b c","D":""}"#),
            ("clock.servers", "a,b"),
        ];
        assert_eq!(settings(line).collect::<Vec<_>>(), expected);
    }

    proptest! {
        #[test]
        fn any_line_is_read_without_harm(line in "[tinyboot.=\" a-c\n]{0,80}|.{0,80}") {
            for (key, _) in settings(&line) {
                prop_assert!(line.contains(key));
            }
        }

        #[test]
        fn a_quoted_value_arrives_whole(value in "[a-z0-9=.,/ -]{0,40}", before in "[a-z= ]{0,20}") {
            let line = format!("{before} tinyboot.a.b=\"{value}\" quiet");
            prop_assert_eq!(settings(&line).collect::<Vec<_>>(), [("a.b", value.as_str())]);
        }
    }
}
