//! Which addresses a task's HTTP requests may go to, once a name has been resolved. A name is somebody else's word for
//! an address: its owner may point it at this machine, its network or the cloud's metadata service, so only the
//! operator opens those. Knows nothing of resolvers and connections.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::network::Network;

/// How the operator's grant names the host that an address was found for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NamedBy {
    /// By this very address: the operator's explicit word.
    Literal,
    /// By a name, or by a pattern of names.
    Name,
}

/// Why no connection is made to an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forbidden {
    /// A cloud hands out credentials there.
    Metadata,
    /// Not on the public Internet: what the range is for, and who says so.
    SpecialPurpose { purpose: &'static str, rfc: &'static str },
}

impl fmt::Display for Forbidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Metadata => f.write_str("a cloud's metadata service"),
            Self::SpecialPurpose { purpose, rfc } => write!(f, "{purpose}, {rfc}"),
        }
    }
}

/// Whether a request may be sent to this address.
///
/// `networks` are those of `host.allow.http.networks`: they open special-purpose ranges for names. A metadata service is
/// reached only where the grant has its literal address and a network has it, too.
///
/// # Errors
/// What the address is.
pub fn check(address: IpAddr, named_by: NamedBy, networks: &[Network]) -> Result<(), Forbidden> {
    // An address that carries another is where packets for that one go; both have to be allowed.
    let carried = carried(address).map(IpAddr::V4);
    let is_open = |address: IpAddr| networks.iter().any(|network| network.contains(address));
    let is_open_as_either = is_open(address) || carried.is_some_and(is_open);
    if is_metadata(address) || carried.is_some_and(is_metadata) {
        let is_meant = named_by == NamedBy::Literal && is_open_as_either;
        return if is_meant { Ok(()) } else { Err(Forbidden::Metadata) };
    }
    if named_by == NamedBy::Literal {
        return Ok(());
    }
    for address in [Some(address), carried].into_iter().flatten() {
        if let Some(forbidden) = special_purpose(address).filter(|_| !is_open_as_either) {
            return Err(forbidden);
        }
    }
    Ok(())
}

/// Addresses at which clouds give a machine's credentials to whoever asks.
const METADATA: [IpAddr; 9] = [
    // AWS, Azure, Google Cloud and others; AWS by IPv6; Google Cloud by IPv6.
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
    // AWS ECS tasks; AWS EKS pods, by either family.
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 23)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23)),
    // Azure, Alibaba Cloud, Oracle Cloud.
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
];

fn is_metadata(address: IpAddr) -> bool {
    METADATA.contains(&address)
}

/// A range of addresses by its first one and the length of its prefix, what it is for, and who says so.
type Range<A> = (A, u32, &'static str, &'static str);

/// IANA's IPv4 Special-Purpose Address Registry, without the entries that are globally reachable; and multicast.
const V4: [Range<Ipv4Addr>; 16] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8, "this network", "RFC 791"),
    (Ipv4Addr::new(10, 0, 0, 0), 8, "private use", "RFC 1918"),
    (Ipv4Addr::new(100, 64, 0, 0), 10, "shared address space (carrier-grade NAT)", "RFC 6598"),
    (Ipv4Addr::new(127, 0, 0, 0), 8, "loopback", "RFC 1122"),
    (Ipv4Addr::new(169, 254, 0, 0), 16, "link-local", "RFC 3927"),
    (Ipv4Addr::new(172, 16, 0, 0), 12, "private use", "RFC 1918"),
    (Ipv4Addr::new(192, 0, 0, 0), 24, "IETF protocol assignments", "RFC 6890"),
    (Ipv4Addr::new(192, 0, 2, 0), 24, "documentation", "RFC 5737"),
    (Ipv4Addr::new(192, 88, 99, 0), 24, "6to4 relay anycast (deprecated)", "RFC 7526"),
    (Ipv4Addr::new(192, 168, 0, 0), 16, "private use", "RFC 1918"),
    (Ipv4Addr::new(198, 18, 0, 0), 15, "benchmarking", "RFC 2544"),
    (Ipv4Addr::new(198, 51, 100, 0), 24, "documentation", "RFC 5737"),
    (Ipv4Addr::new(203, 0, 113, 0), 24, "documentation", "RFC 5737"),
    (Ipv4Addr::new(224, 0, 0, 0), 4, "multicast", "RFC 5771"),
    (Ipv4Addr::new(255, 255, 255, 255), 32, "limited broadcast", "RFC 919"),
    (Ipv4Addr::new(240, 0, 0, 0), 4, "reserved", "RFC 1112"),
];

/// The same of IPv6. What is not in here and not global unicast is reserved; the translation of global IPv4 addresses
/// (RFC 6052) is judged by the address that it carries.
const V6: [Range<Ipv6Addr>; 16] = [
    (Ipv6Addr::LOCALHOST, 128, "loopback", "RFC 4291"),
    (Ipv6Addr::UNSPECIFIED, 128, "unspecified", "RFC 4291"),
    (Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96, "IPv4-mapped", "RFC 4291"),
    (Ipv6Addr::UNSPECIFIED, 96, "IPv4-compatible (deprecated)", "RFC 4291"),
    (Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0), 48, "local-use IPv4/IPv6 translation", "RFC 8215"),
    (Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 0), 64, "discard-only", "RFC 6666"),
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 32, "Teredo", "RFC 4380"),
    (Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 0), 48, "benchmarking", "RFC 5180"),
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23, "IETF protocol assignments", "RFC 2928"),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, "documentation", "RFC 3849"),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, "6to4", "RFC 3056"),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20, "documentation", "RFC 9637"),
    (Ipv6Addr::new(0x5f00, 0, 0, 0, 0, 0, 0, 0), 16, "segment routing", "RFC 9602"),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, "unique local", "RFC 4193"),
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10, "link-local", "RFC 4291"),
    (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8, "multicast", "RFC 4291"),
];

const RESERVED: Forbidden = Forbidden::SpecialPurpose { purpose: "reserved", rfc: "RFC 4291" };
/// All that is given out as global unicast.
const GLOBAL_UNICAST: (Ipv6Addr, u32) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);
const TRANSLATED: (Ipv6Addr, u32) = (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);

fn special_purpose(address: IpAddr) -> Option<Forbidden> {
    let (purpose, rfc) = match address {
        IpAddr::V4(address) => V4.iter().find(|range| is_in_v4(address, range.0, range.1)).map(|r| (r.2, r.3)),
        IpAddr::V6(address) => match V6.iter().find(|range| is_in_v6(address, range.0, range.1)) {
            Some(range) => Some((range.2, range.3)),
            None => {
                let is_global = [GLOBAL_UNICAST, TRANSLATED].iter().any(|(first, len)| is_in_v6(address, *first, *len));
                return (!is_global).then_some(RESERVED);
            }
        },
    }?;
    Some(Forbidden::SpecialPurpose { purpose, rfc })
}

/// The IPv4 address that packets for this one end at.
fn carried(address: IpAddr) -> Option<Ipv4Addr> {
    let IpAddr::V6(address) = address else { return None };
    let [.., a, b, c, d] = address.octets();
    let last = Ipv4Addr::new(a, b, c, d);
    let [s0, s1, s2, .., s7] = address.segments();
    let of = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    match (s0, s1) {
        (0x2002, _) => Some(of(s1, s2)),
        // Teredo has its client's address, with every bit flipped.
        (0x2001, 0) => Some(Ipv4Addr::from_bits(!last.to_bits())),
        // By /96, as the well-known prefix; the other lengths of RFC 6052 are not told apart from it.
        (0x64, 0xff9b) if s2 <= 1 => Some(last),
        _ if is_in_v6(address, Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96) => Some(last),
        // The first two of the compatible ones are the unspecified address and loopback.
        _ if is_in_v6(address, Ipv6Addr::UNSPECIFIED, 96) && (last.to_bits() >> 16 != 0 || s7 > 1) => Some(last),
        _ => None,
    }
}

fn is_in_v4(address: Ipv4Addr, first: Ipv4Addr, prefix: u32) -> bool {
    (address.to_bits() ^ first.to_bits()).leading_zeros() >= prefix
}

fn is_in_v6(address: Ipv6Addr, first: Ipv6Addr, prefix: u32) -> bool {
    (address.to_bits() ^ first.to_bits()).leading_zeros() >= prefix
}

#[cfg(test)]
mod tests;
