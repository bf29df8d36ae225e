//! Generic netlink messages, as far as listening to ACPI needs them (Documentation/userspace-api/netlink/intro.rst;
//! `drivers/acpi/event.c`). No I/O here.

/// Controller family: it tells the numbers of the others.
const GENL_ID_CTRL: u16 = 16;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
const CTRL_ATTR_MCAST_GROUPS: u16 = 7;
const CTRL_ATTR_MCAST_GRP_NAME: u16 = 1;
const CTRL_ATTR_MCAST_GRP_ID: u16 = 2;
const NLM_F_REQUEST: u16 = 1;
const NETLINK_HEADER: usize = 16;
const GENERIC_HEADER: usize = 4;
/// The two top bits of an attribute's type are flags.
const TYPE_MASK: u16 = 0x3fff;

const ACPI_FAMILY: &str = "acpi_event";
const ACPI_GROUP: &[u8] = b"acpi_mc_group";
const ACPI_CMD_EVENT: u8 = 1;
const ACPI_ATTR_EVENT: u16 = 1;

/// The numbers that the kernel gave to ACPI's family and to its multicast group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Family {
    /// The type of its messages.
    pub id: u16,
    /// The group that gets the events.
    pub group: u32,
}

/// `struct acpi_genl_event`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcpiEvent {
    /// `button/power`, `ac_adapter`, …
    pub class: String,
    /// The device: `LNXPWRBN:00`.
    pub device: String,
    /// What happened; for a button 0x80 is a press.
    pub kind: u32,
    /// For a button a counter of its presses, and no action.
    pub data: u32,
}

/// Asks which numbers ACPI's family has.
pub fn family_request() -> Vec<u8> {
    let mut name = ACPI_FAMILY.as_bytes().to_vec();
    name.push(0);
    let mut message = Vec::new();
    put_attribute(&mut message, CTRL_ATTR_FAMILY_NAME, &name);
    let body = [&[CTRL_CMD_GETFAMILY, 1, 0, 0], message.as_slice()].concat();
    netlink(GENL_ID_CTRL, NLM_F_REQUEST, &body)
}

/// Reads the answer; `None` when it is another message or an error.
pub fn family(message: &[u8]) -> Option<Family> {
    let (kind, body) = netlink_body(message)?;
    if kind != GENL_ID_CTRL {
        return None;
    }
    let attributes = body.get(GENERIC_HEADER..)?;
    let id = attribute(attributes, CTRL_ATTR_FAMILY_ID)?;
    let groups = attribute(attributes, CTRL_ATTR_MCAST_GROUPS)?;
    let group = Attributes(groups).find_map(|(_, group)| {
        let name = attribute(group, CTRL_ATTR_MCAST_GRP_NAME)?;
        (name.strip_suffix(&[0]).unwrap_or(name) == ACPI_GROUP)
            .then(|| attribute(group, CTRL_ATTR_MCAST_GRP_ID))?
    })?;
    Some(Family {
        id: u16::from_ne_bytes(id.try_into().ok()?),
        group: u32::from_ne_bytes(group.try_into().ok()?),
    })
}

/// Reads one event of the family; `None` for all other messages.
pub fn acpi_event(message: &[u8], family: Family) -> Option<AcpiEvent> {
    let (kind, body) = netlink_body(message)?;
    if kind != family.id || *body.first()? != ACPI_CMD_EVENT {
        return None;
    }
    let event = attribute(body.get(GENERIC_HEADER..)?, ACPI_ATTR_EVENT)?;
    Some(AcpiEvent {
        class: text(event.get(..20)?),
        device: text(event.get(20..35)?),
        kind: u32::from_ne_bytes(event.get(36..40)?.try_into().ok()?),
        data: u32::from_ne_bytes(event.get(40..44)?.try_into().ok()?),
    })
}

fn text(bytes: &[u8]) -> String {
    let end = bytes
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(bytes.len());
    String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned()
}

fn netlink(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    let length = (NETLINK_HEADER + body.len()) as u32;
    let mut message = length.to_ne_bytes().to_vec();
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    // Sequence and port: one request, and the kernel fills in the port.
    message.extend([0; 8]);
    message.extend(body);
    message
}

fn netlink_body(message: &[u8]) -> Option<(u16, &[u8])> {
    let length = u32::from_ne_bytes(message.get(..4)?.try_into().ok()?);
    let kind = u16::from_ne_bytes(message.get(4..6)?.try_into().ok()?);
    Some((
        kind,
        message.get(NETLINK_HEADER..usize::try_from(length).ok()?)?,
    ))
}

fn put_attribute(message: &mut Vec<u8>, kind: u16, value: &[u8]) {
    message.extend(((value.len() + 4) as u16).to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(value);
    message.resize(message.len().next_multiple_of(4), 0);
}

fn attribute(attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    Attributes(attributes).find_map(|(kind, value)| (kind == wanted).then_some(value))
}

/// Attributes one after the other, up to the first that is cut off.
struct Attributes<'a>(&'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let length = usize::from(u16::from_ne_bytes(self.0.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(self.0.get(2..4)?.try_into().ok()?) & TYPE_MASK;
        let value = self.0.get(4..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FAMILY: Family = Family { id: 0x18, group: 5 };

    fn answer() -> Vec<u8> {
        let mut group = Vec::new();
        put_attribute(
            &mut group,
            CTRL_ATTR_MCAST_GRP_ID,
            &FAMILY.group.to_ne_bytes(),
        );
        put_attribute(&mut group, CTRL_ATTR_MCAST_GRP_NAME, b"acpi_mc_group\0");
        let mut groups = Vec::new();
        put_attribute(&mut groups, 1, &group);
        let mut body = vec![1, 2, 0, 0];
        put_attribute(&mut body, CTRL_ATTR_FAMILY_NAME, b"acpi_event\0");
        put_attribute(&mut body, CTRL_ATTR_FAMILY_ID, &FAMILY.id.to_ne_bytes());
        put_attribute(&mut body, CTRL_ATTR_MCAST_GROUPS | 0x8000, &groups);
        netlink(GENL_ID_CTRL, 0, &body)
    }

    fn event(class: &[u8], kind: u32, data: u32) -> Vec<u8> {
        let mut value = vec![0; 44];
        value
            .iter_mut()
            .zip(class)
            .for_each(|(to, from)| *to = *from);
        value.splice(20..31, *b"LNXPWRBN:00");
        value.splice(36..40, kind.to_ne_bytes());
        value.splice(40..44, data.to_ne_bytes());
        let mut body = vec![ACPI_CMD_EVENT, 1, 0, 0];
        put_attribute(&mut body, ACPI_ATTR_EVENT, &value);
        netlink(FAMILY.id, 0, &body)
    }

    #[test]
    fn the_family_is_found() {
        assert_eq!(family(&answer()), Some(FAMILY));
        // NLMSG_ERROR: the kernel has no ACPI.
        assert_eq!(family(&netlink(2, 0, &(-2i32).to_ne_bytes())), None);
    }

    #[test]
    fn a_press_is_read_by_class_and_kind_whatever_the_counter_says() {
        for data in [1, 2, u32::MAX] {
            let expected = AcpiEvent {
                class: "button/power".into(),
                device: "LNXPWRBN:00".into(),
                kind: 0x80,
                data,
            };
            assert_eq!(
                acpi_event(&event(b"button/power", 0x80, data), FAMILY),
                Some(expected)
            );
        }
    }

    #[test]
    fn a_class_of_full_length_has_no_zero() {
        let class = [b'x'; 20];
        assert_eq!(
            acpi_event(&event(&class, 0, 0), FAMILY).map(|event| event.class.len()),
            Some(20)
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(mut bytes in proptest::collection::vec(any::<u8>(), 0..120), cut in 0usize..200, patch in 0usize..80, value: u8) {
            let _ = (family(&bytes), acpi_event(&bytes, FAMILY));
            bytes = answer();
            if let Some(byte) = bytes.get_mut(patch) { *byte = value; }
            bytes.truncate(cut);
            let _ = family(&bytes);
        }
    }
}
