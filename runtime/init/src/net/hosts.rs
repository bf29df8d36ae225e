//! The machine's own name in `/etc/hosts`, so that it resolves although no DNS server knows it.

/// The end of the line that is init's; whatever else is in the file stays.
const MARK: &str = " # this machine, by tinyboot-init";

/// The file's text with the machine's name, of which `old` is the text until now. As in Debian the name has a loopback address
/// of its own: it holds with any lease and without one, and the other way round 127.0.0.1 is `localhost` alone.
pub fn text(old: &str, name: &str) -> String {
    let mut text = String::new();
    for line in old.lines().filter(|line| !line.ends_with(MARK)) {
        text += line;
        text.push('\n');
    }
    if name != "localhost" {
        let short = name.split('.').next().filter(|short| *short != name);
        let short = short.map(|short| format!(" {short}")).unwrap_or_default();
        text += &format!("127.0.1.1 {name}{short}{MARK}\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCALHOST: &str = "127.0.0.1 localhost\n::1 localhost\n";

    #[test]
    fn the_name_is_added_once_and_replaced() {
        let first = text(LOCALHOST, "box");
        assert_eq!(first, format!("{LOCALHOST}127.0.1.1 box{MARK}\n"));
        assert_eq!(text(&first, "box"), first);
        let full = text(&first, "kiosk.example.org");
        let line = format!("127.0.1.1 kiosk.example.org kiosk{MARK}\n");
        assert_eq!(full, format!("{LOCALHOST}{line}"));
        assert_eq!(text(&full, "localhost"), LOCALHOST);
    }

    #[test]
    fn lines_of_others_stay() {
        let own = format!("{}10.0.0.7 database", text(LOCALHOST, "box"));
        let changed = text(&own, "kiosk");
        assert_eq!(
            changed,
            format!("{LOCALHOST}10.0.0.7 database\n127.0.1.1 kiosk{MARK}\n")
        );
    }
}
