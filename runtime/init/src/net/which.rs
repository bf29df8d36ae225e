//! Which links init looks after. This is the one definition of it, for the links' tasks and for the app's start, which waits for
//! them: Ethernet links with hardware that are no ports of another link, and those of the program's making that are named.

use futures_util::TryStreamExt as _;
use rtnetlink::packet_route::link::{
    InfoKind, InfoPortKind, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage,
};

use super::{Error, ipv6, worker};

/// What the kernel says of an Ethernet link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    pub index: u32,
    pub name: String,
    pub mac: [u8; 6],
    pub carrier: bool,
    /// How often the carrier went. The kernel joins what happens within a second into one message.
    pub losses: u32,
    pub mtu: u32,
    pub place: Place,
    /// True when init looks after it no longer, though it is still there.
    pub left: bool,
    pub ipv6: ipv6::Shown,
}

/// Where a link belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// It has hardware.
    Hardware,
    /// Software made it: a bridge, a VLAN, one end of a veth pair.
    Made(InfoKind),
    /// It is a port of another link, such as a bridge, which has the addresses instead.
    Port(Option<InfoPortKind>),
}

/// Reads a message about a link. `None` for links that are not Ethernet.
pub fn ethernet(message: &LinkMessage) -> Option<Info> {
    let (mut name, mut kind, mut port, mut controlled) = (None, None, None, false);
    let mut mtu = 1500;
    let mut losses = 0;
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(it) => name = Some(it.clone()),
            LinkAttribute::Mtu(it) => mtu = *it,
            LinkAttribute::CarrierDownCount(it) => losses = *it,
            LinkAttribute::Controller(_) => controlled = true,
            LinkAttribute::LinkInfo(parts) => {
                for part in parts {
                    match part {
                        LinkInfo::Kind(it) => kind = Some(it.clone()),
                        LinkInfo::PortKind(it) => port = Some(it.clone()),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    if message.header.link_layer_type != LinkLayerType::Ether {
        return None;
    }
    let place = match kind {
        _ if controlled => Place::Port(port),
        // A switch's ports are hardware, although software names their kind.
        None | Some(InfoKind::Dsa) => Place::Hardware,
        Some(kind) => Place::Made(kind),
    };
    Some(Info {
        index: message.header.index,
        name: name?,
        mac: mac(message)?,
        carrier: message.header.flags.contains(LinkFlags::LowerUp),
        losses,
        mtu,
        place,
        left: false,
        ipv6: ipv6::Shown::default(),
    })
}

/// A link's hardware address, if it has one as Ethernet has it.
pub fn mac(message: &LinkMessage) -> Option<[u8; 6]> {
    message.attributes.iter().find_map(|it| match it {
        LinkAttribute::Address(it) => <[u8; 6]>::try_from(it.as_slice()).ok(),
        _ => None,
    })
}

/// The names of the links with hardware that are there now: each gets a task, if it has none yet. Takes as long as a driver that
/// brings up another link.
///
/// # Errors
///
/// As for the network's task.
pub async fn hardware() -> Result<Vec<String>, Error> {
    let requests = worker::Requests::open().map_err(Error::Netlink)?;
    let listed = requests.handle.link().get().execute();
    let listed: Vec<LinkMessage> = listed.try_collect().await.map_err(Error::List)?;
    let links = listed.iter().filter_map(ethernet);
    let links = links.filter(|link| link.place == Place::Hardware);
    Ok(links.map(|link| link.name).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(attributes: Vec<LinkAttribute>) -> LinkMessage {
        let mut message = LinkMessage::default();
        message.header.link_layer_type = LinkLayerType::Ether;
        message.attributes = attributes;
        message.attributes.push(LinkAttribute::IfName("x".into()));
        message
            .attributes
            .push(LinkAttribute::Address(vec![2, 0, 0, 0, 0, 9]));
        message
    }

    fn place(attributes: Vec<LinkAttribute>) -> Option<Place> {
        ethernet(&message(attributes)).map(|link| link.place)
    }

    #[test]
    fn hardware_is_what_software_did_not_make() {
        let kind = |kind| LinkAttribute::LinkInfo(vec![LinkInfo::Kind(kind)]);
        assert_eq!(place(vec![]), Some(Place::Hardware));
        assert_eq!(place(vec![kind(InfoKind::Dsa)]), Some(Place::Hardware));
        for made in [InfoKind::Bridge, InfoKind::Dummy, InfoKind::MacVlan] {
            assert_eq!(place(vec![kind(made.clone())]), Some(Place::Made(made)));
        }
    }

    #[test]
    fn ports_and_other_layers_are_told_apart() {
        let port = LinkInfo::PortKind(InfoPortKind::Bridge);
        // Hyper-V's virtual functions are ports without a kind.
        for (parts, kind) in [(vec![port], Some(InfoPortKind::Bridge)), (vec![], None)] {
            let attributes = vec![LinkAttribute::Controller(3), LinkAttribute::LinkInfo(parts)];
            assert_eq!(place(attributes), Some(Place::Port(kind)));
        }
        let mut other = message(vec![]);
        other.header.link_layer_type = LinkLayerType::Infiniband;
        assert_eq!(ethernet(&other), None);
    }
}
