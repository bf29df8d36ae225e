//! Where the lines go: `udp://host:port` or `tcp://host:port`.

use std::fmt;

/// A receiver of syslog messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Which transport.
    pub transport: Transport,
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// How messages travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A datagram each (RFC 5426).
    Udp,
    /// A stream (RFC 6587).
    Tcp,
}

impl Target {
    /// Reads a setting; an IPv6 address stands in brackets, and a port may be left out: 514 for UDP, 601 for TCP.
    pub fn parse(text: &str) -> Option<Self> {
        let (transport, rest) = match text.split_once("://")? {
            ("udp", rest) => (Transport::Udp, rest),
            ("tcp", rest) => (Transport::Tcp, rest),
            _ => return None,
        };
        let (host, port) = match rest.strip_prefix('[') {
            Some(rest) => rest.split_once(']')?,
            None => rest.split_at_checked(rest.find(':').unwrap_or(rest.len()))?,
        };
        let port = match port.strip_prefix(':') {
            Some(port) => port.parse().ok().filter(|port| *port != 0)?,
            None if !port.is_empty() => return None,
            None if transport == Transport::Udp => 514,
            None => 601,
        };
        let is_named = !host.is_empty() && !host.contains(['/', '@', '[', ']', ' ']);
        is_named.then(|| Self {
            transport,
            host: host.to_owned(),
            port,
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.transport {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
        };
        let Self { host, port, .. } = self;
        if host.contains(':') {
            write!(f, "{scheme}://[{host}]:{port}")
        } else {
            write!(f, "{scheme}://{host}:{port}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_may_be_left_out_and_what_not() {
        let shown = |text: &str| Target::parse(text).map(|target| target.to_string());
        for (text, expected) in [
            ("udp://10.0.0.1", Some("udp://10.0.0.1:514")),
            ("tcp://logs.example.org", Some("tcp://logs.example.org:601")),
            ("tcp://[fe80::1]", Some("tcp://[fe80::1]:601")),
            ("udp://[::1]:5514", Some("udp://[::1]:5514")),
            ("udp://a:65536", None),
            ("udp://a:0", None),
            ("udp://a:", None),
            ("udp://", None),
            ("udp://a/b", None),
            ("udp://[::1]x", None),
            ("http://a", None),
            ("a:514", None),
        ] {
            assert_eq!(shown(text).as_deref(), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_harm_and_shown_as_it_is_read(text in "(udp|tcp)?(://)?\\[?.{0,20}\\]?(:[0-9]{0,6})?") {
            if let Some(target) = Target::parse(&text) {
                prop_assert_eq!(Target::parse(&target.to_string()), Some(target));
            }
        }
    }
}
