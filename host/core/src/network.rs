//! Networks in CIDR notation, as `host.allow.http.networks` has them: how they are written and what they contain. Knows
//! nothing of connections.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// `10.0.0.0/8` or `fd00::/8`. The address is the network's first: no bit behind the prefix is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// Why a text is no network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotANetwork {
    #[error("an address and a prefix with a `/` between, such as 10.0.0.0/8 or fd00::/8")]
    NoPrefix,
    #[error("in front of the `/` stands an IPv4 or IPv6 address without brackets")]
    NoAddress,
    #[error("behind the `/` stands a whole number up to {0}")]
    BadPrefix(u8),
    /// With the network that was probably meant.
    #[error("bits behind the prefix are set; write {0}")]
    HostBits(Network),
}

impl Network {
    /// The first address.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// How many leading bits all of its addresses have in common.
    #[must_use]
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// Whether the address is one of this network. An address of the other family never is, not even one that is mapped:
    /// callers decide what a mapped address stands for.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => masked_v4(address, self.prefix) == network,
            (IpAddr::V6(network), IpAddr::V6(address)) => masked_v6(address, self.prefix) == network,
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl FromStr for Network {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let (address, prefix) = text.split_once('/').ok_or(NotANetwork::NoPrefix)?;
        let address: IpAddr = address.parse().map_err(|_| NotANetwork::NoAddress)?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        // `parse` takes a `+` as well.
        let is_number = !prefix.is_empty() && prefix.bytes().all(|byte| byte.is_ascii_digit());
        let prefix = prefix.parse().ok().filter(|prefix| is_number && *prefix <= most);
        let prefix = prefix.ok_or(NotANetwork::BadPrefix(most))?;
        let first = match address {
            IpAddr::V4(address) => IpAddr::V4(masked_v4(address, prefix)),
            IpAddr::V6(address) => IpAddr::V6(masked_v6(address, prefix)),
        };
        let network = Self { address: first, prefix };
        if first == address { Ok(network) } else { Err(NotANetwork::HostBits(network)) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

fn masked_v4(address: Ipv4Addr, prefix: u8) -> Ipv4Addr {
    let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or_default();
    Ipv4Addr::from_bits(address.to_bits() & mask)
}

fn masked_v6(address: Ipv6Addr, prefix: u8) -> Ipv6Addr {
    let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or_default();
    Ipv6Addr::from_bits(address.to_bits() & mask)
}

#[cfg(test)]
mod tests {
    use super::{Network, NotANetwork};
    use proptest::prelude::*;
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    fn contains(network: &str, address: &str) -> bool {
        let network: Network = network.parse().expect("a network");
        network.contains(address.parse().expect("an address"))
    }

    #[test]
    fn addresses_with_the_same_prefix_are_inside() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("192.168.1.128/25", "192.168.1.255", "192.168.1.127"),
            ("127.0.0.1/32", "127.0.0.1", "127.0.0.2"),
            ("fd00::/8", "fdff::1", "fe00::"),
            ("2001:db8::1/128", "2001:db8::1", "2001:db8::2"),
            ("0.0.0.0/0", "255.255.255.255", "::"),
            ("::/0", "ffff::", "0.0.0.0"),
        ] {
            assert!(contains(network, inside), "{network} {inside}");
            assert!(!contains(network, outside), "{network} {outside}");
        }
    }

    #[test]
    fn a_mapped_address_is_of_its_own_family() {
        assert!(!contains("10.0.0.0/8", "::ffff:10.0.0.1"));
    }

    #[test]
    fn what_is_no_network_is_told_in_words() {
        let reason = |text: &str| text.parse::<Network>().expect_err(text);
        assert_eq!(reason("10.0.0.0"), NotANetwork::NoPrefix);
        for text in ["ten/8", "/8", "[::1]/128", "10.0.0/8", " 10.0.0.0/8"] {
            assert_eq!(reason(text), NotANetwork::NoAddress, "{text}");
        }
        for text in ["10.0.0.0/33", "10.0.0.0/", "10.0.0.0/+8", "10.0.0.0/-1", "10.0.0.0/8 ", "10.0.0.0/255.0.0.0"] {
            assert_eq!(reason(text), NotANetwork::BadPrefix(32), "{text}");
        }
        assert_eq!(reason("::/129"), NotANetwork::BadPrefix(128));
        assert_eq!(reason("10.0.0.1/8").to_string(), "bits behind the prefix are set; write 10.0.0.0/8");
    }

    proptest! {
        #[test]
        fn a_network_is_read_back_as_it_is_shown_and_has_its_own_address(bits: u128, is_v4: bool, prefix in 0_u8..=128) {
            let address = if is_v4 { IpAddr::V4(Ipv4Addr::from_bits(bits as u32)) } else { IpAddr::V6(Ipv6Addr::from_bits(bits)) };
            let prefix = if is_v4 { prefix % 33 } else { prefix };
            let network = match format!("{address}/{prefix}").parse::<Network>() {
                Ok(network) | Err(NotANetwork::HostBits(network)) => network,
                Err(error) => panic!("{address}/{prefix}: {error}"),
            };
            prop_assert!(network.contains(address) && network.contains(network.address()));
            prop_assert_eq!(network.to_string().parse::<Network>(), Ok(network));
        }

        #[test]
        fn any_text_is_answered(text in "[0-9a-f:./+ ]{0,30}") {
            prop_assert!(text.parse::<Network>().is_err() || text.contains('/'));
        }
    }
}
