//! Every range of the registries at both of its ends, and each way to write an IPv4 address as an IPv6 one.

use super::*;
use proptest::prelude::*;

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn networks(list: &[&str]) -> Vec<Network> {
    list.iter().map(|text| text.parse().expect("a network")).collect()
}

/// What a name that resolves to this address runs into.
fn named(address: &str, open: &[&str]) -> Result<(), String> {
    check(ip(address), NamedBy::Name, &networks(open)).map_err(|forbidden| forbidden.to_string())
}

#[test]
fn each_range_is_refused_from_its_first_to_its_last_address_and_what_is_beside_it_is_not() {
    for (first, last, before, after, purpose) in [
        ("0.0.0.0", "0.255.255.255", None, Some("1.0.0.0"), "this network"),
        ("10.0.0.0", "10.255.255.255", Some("9.255.255.255"), Some("11.0.0.0"), "private use"),
        ("100.64.0.0", "100.127.255.255", Some("100.63.255.255"), Some("100.128.0.0"), "shared address space"),
        ("127.0.0.0", "127.255.255.255", Some("126.255.255.255"), Some("128.0.0.0"), "loopback"),
        ("169.254.0.0", "169.254.255.255", Some("169.253.255.255"), Some("169.255.0.0"), "link-local"),
        ("172.16.0.0", "172.31.255.255", Some("172.15.255.255"), Some("172.32.0.0"), "private use"),
        ("192.0.0.0", "192.0.0.255", Some("191.255.255.255"), Some("192.0.1.0"), "IETF protocol"),
        ("192.0.2.0", "192.0.2.255", Some("192.0.1.255"), Some("192.0.3.0"), "documentation"),
        ("192.88.99.0", "192.88.99.255", Some("192.88.98.255"), Some("192.88.100.0"), "6to4 relay"),
        ("192.168.0.0", "192.168.255.255", Some("192.167.255.255"), Some("192.169.0.0"), "private use"),
        ("198.18.0.0", "198.19.255.255", Some("198.17.255.255"), Some("198.20.0.0"), "benchmarking"),
        ("198.51.100.0", "198.51.100.255", Some("198.51.99.255"), Some("198.51.101.0"), "documentation"),
        ("203.0.113.0", "203.0.113.255", Some("203.0.112.255"), Some("203.0.114.0"), "documentation"),
        ("224.0.0.0", "239.255.255.255", Some("223.255.255.255"), None, "multicast"),
        ("240.0.0.0", "255.255.255.254", None, None, "reserved"),
        ("255.255.255.255", "255.255.255.255", None, None, "limited broadcast"),
        ("::", "::", None, None, "unspecified"),
        ("::1", "::1", None, None, "loopback"),
        ("::2", "::ffff:ffff", None, None, "IPv4-compatible"),
        ("64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff", None, None, "local-use"),
        ("100::", "100::ffff:ffff:ffff:ffff", None, None, "discard-only"),
        ("100:0:0:1::", "1fff::", None, None, "reserved"),
        ("2001::", "2001::ffff:ffff", None, None, "Teredo"),
        ("2001:2::", "2001:2:0:ffff:ffff:ffff:ffff:ffff", None, None, "benchmarking"),
        ("2001:1::", "2001:1ff:ffff::", None, Some("2001:200::"), "IETF protocol"),
        ("2001:db8::", "2001:db8:ffff::1", Some("2001:db7:ffff::"), Some("2001:db9::"), "documentation"),
        ("2002:808:808::", "2002:101:101::1", None, Some("2003::"), "6to4"),
        ("3fff::", "3fff:fff::1", Some("3ffe:ffff::"), Some("3fff:1000::"), "documentation"),
        ("4000::", "5eff::", None, None, "reserved"),
        ("5f00::", "5f00:ffff::1", None, None, "segment routing"),
        ("6000::", "fbff::", None, None, "reserved"),
        ("fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", None, None, "unique local"),
        ("fe80::", "febf:ffff::1", None, None, "link-local"),
        ("fec0::", "feff::", None, None, "reserved"),
        ("ff00::", "ffff::1", None, None, "multicast"),
    ] {
        for inside in [first, last] {
            let told = named(inside, &[]).expect_err(inside);
            assert!(told.starts_with(purpose) && told.contains("RFC "), "{inside}: {told}");
        }
        for beside in [before, after].into_iter().flatten() {
            assert_eq!(named(beside, &[]), Ok(()), "{beside}");
        }
    }
}

#[test]
fn the_public_internet_is_reached() {
    for address in ["8.8.8.8", "1.1.1.1", "52.94.0.1", "2600:1f18::1", "2a00:1450::1", "2620:4f:8000::1"] {
        assert_eq!(named(address, &[]), Ok(()), "{address}");
    }
}

#[test]
fn an_address_that_carries_another_is_judged_by_both() {
    // Mapped, translated, local translation, 6to4, compatible; of 10.0.0.1.
    for inside in ["::ffff:10.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b:1::10.0.0.1", "2002:a00:1::", "::10.0.0.1"] {
        assert!(named(inside, &[]).is_err(), "{inside}");
        assert_eq!(named(inside, &["10.0.0.0/8"]), Ok(()), "{inside}");
        assert!(named(inside, &["11.0.0.0/8"]).is_err(), "{inside}");
    }
    // Teredo carries it with every bit flipped.
    assert_eq!(named("2001:0:0:0:0:0:f5ff:fffe", &["10.0.0.0/8"]), Ok(()));
    // What DNS64 makes of a public address, where there is no IPv4.
    assert_eq!(named("64:ff9b::8.8.8.8", &[]), Ok(()));
    assert!(named("::ffff:8.8.8.8", &[]).is_err(), "no resolver has a reason to answer so");
    assert!(named("64:ff9b::127.0.0.1", &[]).is_err());
}

#[test]
fn a_network_opens_its_own_addresses_to_names_and_no_others() {
    assert_eq!(named("10.1.2.3", &["10.0.0.0/8"]), Ok(()));
    assert_eq!(named("fd12::1", &["10.0.0.0/8", "fd12::/16"]), Ok(()));
    assert!(named("192.168.0.1", &["10.0.0.0/8"]).is_err());
    assert_eq!(named("127.0.0.1", &["127.0.0.0/8"]), Ok(()));
}

#[test]
fn a_literal_address_is_the_operators_word() {
    for address in ["127.0.0.1", "10.0.0.1", "::1", "fe80::1", "8.8.8.8", "::ffff:127.0.0.1"] {
        assert_eq!(check(ip(address), NamedBy::Literal, &[]), Ok(()), "{address}");
    }
}

#[test]
fn a_metadata_service_takes_a_literal_grant_and_a_network() {
    for address in [
        "169.254.169.254",
        "fd00:ec2::254",
        "fd20:ce::254",
        "169.254.170.2",
        "169.254.170.23",
        "fd00:ec2::23",
        "168.63.129.16",
        "100.100.100.200",
        "192.0.0.192",
        "::ffff:169.254.169.254",
        "64:ff9b::169.254.169.254",
        "64:ff9b:1::169.254.169.254",
        "2002:a9fe:a9fe::1",
        "::169.254.169.254",
        "2001::5601:5601",
    ] {
        let everything = networks(&["0.0.0.0/0", "::/0"]);
        assert_eq!(check(ip(address), NamedBy::Name, &everything), Err(Forbidden::Metadata), "{address}");
        assert_eq!(check(ip(address), NamedBy::Literal, &[]), Err(Forbidden::Metadata), "{address}");
        assert_eq!(check(ip(address), NamedBy::Literal, &everything), Ok(()), "{address}");
    }
    let link_local = networks(&["169.254.0.0/16"]);
    assert_eq!(check(ip("169.254.169.254"), NamedBy::Literal, &link_local), Ok(()));
}

proptest! {
    /// The standard library knows some of the ranges.
    #[test]
    fn nothing_that_is_local_by_the_standard_library_is_reached_by_a_name(bits: u32) {
        let v4 = Ipv4Addr::from_bits(bits);
        let is_local = v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_multicast()
            || v4.is_broadcast() || v4.is_documentation() || v4.is_unspecified();
        let reached = check(IpAddr::V4(v4), NamedBy::Name, &[]).is_ok();
        prop_assert!(!(is_local && reached), "{}", v4);
        let translated = IpAddr::V6(format!("64:ff9b::{v4}").parse().expect("an address"));
        prop_assert_eq!(check(translated, NamedBy::Name, &[]).is_ok(), reached);
        prop_assert!(check(IpAddr::V6(v4.to_ipv6_mapped()), NamedBy::Name, &[]).is_err());
    }

    #[test]
    fn a_network_with_everything_opens_everything_but_metadata(bits: u128) {
        let everything = networks(&["0.0.0.0/0", "::/0"]);
        let address = IpAddr::V6(Ipv6Addr::from_bits(bits));
        let checked = check(address, NamedBy::Name, &everything);
        prop_assert!(matches!(checked, Ok(()) | Err(Forbidden::Metadata)));
    }
}
