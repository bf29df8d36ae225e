//! Messages, with the library's codec for a second opinion.

use super::*;
use dhcproto::v6::{DhcpOption, Message, OptionCode};
use dhcproto::{Decodable as _, Decoder};
use proptest::prelude::*;

const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
const ADDRESS: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x15);
const SERVER: &[u8] = b"\x00\x03server";

fn request(kind: u8) -> Request<'static> {
    Request {
        kind,
        xid: 0xff01_0203,
        elapsed: 7,
        association: Some(Some(ADDRESS)),
        server: Some(SERVER),
        rapid: kind == kind::SOLICIT,
    }
}

fn codes(message: &Message) -> Vec<u16> {
    message
        .opts()
        .iter()
        .map(|it| u16::from(OptionCode::from(it)))
        .collect()
}

#[test]
fn what_is_sent_is_what_the_library_reads() -> Result<(), dhcproto::error::DecodeError> {
    let identity = Identity::of(MAC);
    let read = |kind| Message::decode(&mut Decoder::new(&encode(&identity, &request(kind))));
    let message = read(kind::RENEW)?;
    assert_eq!(
        (u8::from(message.msg_type()), message.xid_num()),
        (5, 0x01_0203)
    );
    assert_eq!(codes(&message), [1, 2, 3, 6, 8]);
    let duid = [[0, 3, 0, 1].as_slice(), &MAC].concat();
    let options = message.opts();
    assert_eq!(
        options.get(OptionCode::ClientId),
        Some(&DhcpOption::ClientId(duid))
    );
    assert_eq!(
        options.get(OptionCode::ServerId),
        Some(&DhcpOption::ServerId(SERVER.to_vec()))
    );
    assert_eq!(
        options.get(OptionCode::ElapsedTime),
        Some(&DhcpOption::ElapsedTime(7))
    );
    let association = match options.get(OptionCode::IANA) {
        Some(DhcpOption::IANA(it)) => Some((
            it.id,
            it.t1,
            it.t2,
            it.opts.get(OptionCode::IAAddr).cloned(),
        )),
        _ => None,
    };
    let address = dhcproto::v6::IAAddr {
        addr: ADDRESS,
        preferred_life: 0,
        valid_life: 0,
        opts: Default::default(),
    };
    assert_eq!(
        association,
        Some((0x0012_3456, 0, 0, Some(DhcpOption::IAAddr(address))))
    );
    assert_eq!(
        codes(&read(kind::SOLICIT)?),
        [1, 2, 3, 6, 8, 14],
        "with rapid commit"
    );
    assert_eq!(
        codes(&read(kind::CONFIRM)?),
        [1, 2, 3, 8],
        "nothing is wanted"
    );
    let wanted = match read(kind::INFORMATION_REQUEST)?.opts().get(OptionCode::ORO) {
        Some(DhcpOption::ORO(it)) => it.opts.iter().map(|it| u16::from(*it)).collect(),
        _ => Vec::new(),
    };
    assert_eq!(wanted, [23, 24, 56, 31, 32, 83]);
    Ok(())
}

#[test]
fn replies_for_others_and_of_nobody_are_not_ours() {
    let identity = Identity::of(MAC);
    let good = fake::reply(kind::REPLY, 9, &identity, SERVER, &[]);
    assert!(Reply::decode(&good, &identity).is_some_and(|it| it.xid == 9 && !it.advertise));
    let other = Identity::of([1; 6]);
    let long = [0; LONGEST_DUID + 1];
    for (bytes, why) in [
        (
            fake::reply(kind::REPLY, 9, &other, SERVER, &[]),
            "another client",
        ),
        (
            fake::reply(kind::SOLICIT, 9, &identity, SERVER, &[]),
            "a client's message",
        ),
        (
            fake::reply(10, 9, &identity, SERVER, &[]),
            "Reconfigure, which was not allowed",
        ),
        (
            fake::reply(kind::REPLY, 9, &identity, &[], &[]),
            "an empty server identifier",
        ),
        (
            fake::reply(kind::REPLY, 9, &identity, &long, &[]),
            "a long server identifier",
        ),
        (
            good.get(..good.len() - 1).unwrap_or_default().to_vec(),
            "cut",
        ),
        ([good.as_slice(), &[0, 23, 0]].concat(), "half an option"),
        (
            good.get(..18).unwrap_or_default().to_vec(),
            "no server identifier",
        ),
        (
            [
                good.get(..4).unwrap_or_default(),
                good.get(18..).unwrap_or_default(),
            ]
            .concat(),
            "no client",
        ),
        (Vec::new(), "nothing"),
    ] {
        assert_eq!(Reply::decode(&bytes, &identity), None, "{why}");
    }
}

#[test]
fn addresses_that_no_server_has_are_left_out() {
    let local = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
    let list = [
        Ipv6Addr::UNSPECIFIED,
        Ipv6Addr::LOCALHOST,
        Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1),
        std::net::Ipv4Addr::LOCALHOST.to_ipv6_mapped(),
        local,
        ADDRESS,
    ];
    let bytes = list.map(|it| it.octets()).concat();
    let option = fake::option(option::DNS, &bytes);
    let read = |bytes: &[u8]| Options::read(bytes).map(|it| it.addresses(option::DNS));
    assert_eq!(read(&option), Some(vec![local, ADDRESS]));
    let odd = fake::option(option::DNS, bytes.get(1..).unwrap_or_default());
    assert_eq!(read(&odd), Some(Vec::new()));
    let octets = |number| Ipv6Addr::from_bits(ADDRESS.to_bits() + number).octets();
    let octets: Vec<u8> = (0..4000).flat_map(octets).collect();
    let many = fake::option(option::DNS, &octets);
    assert_eq!(read(&many).map(|it| it.len()), Some(MOST_ADDRESSES));
    assert!(can_be_given(&ADDRESS) && !list.iter().take(5).any(can_be_given));
}

#[test]
fn time_servers_of_the_newer_option_come_before_the_older() {
    let older = fake::option(option::SNTP, &ADDRESS.octets());
    let server = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x123);
    let parts = [
        fake::option(3, b"\x03ntp\x07example\x00"),
        fake::option(2, &Ipv6Addr::new(0xff05, 0, 0, 0, 0, 0, 0, 0x101).octets()),
        fake::option(1, &server.octets()),
    ];
    let newer = fake::option(option::NTP, &parts.concat());
    let both = [older.clone(), newer].concat();
    assert_eq!(
        Options::read(&both).map(Options::time_servers),
        Some(vec![server])
    );
    let names = fake::option(option::NTP, &parts[0]);
    let both = [older, names].concat();
    assert_eq!(
        Options::read(&both).map(Options::time_servers),
        Some(vec![ADDRESS])
    );
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), code: u16) {
        let identity = Identity::of(MAC);
        let _ = Reply::decode(&bytes, &identity);
        let mut reply = fake::reply(kind::REPLY, 1, &identity, SERVER, &[]);
        reply.extend_from_slice(&bytes);
        if let Some(reply) = Reply::decode(&reply, &identity) {
            let _ = (reply.preference(), reply.options.status(), reply.options.number(code));
            prop_assert!(reply.options.addresses(code).len() <= MOST_ADDRESSES);
            prop_assert!(reply.options.time_servers().len() <= MOST_ADDRESSES);
        }
    }
}
