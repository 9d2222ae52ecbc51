//! Origins that a task may send requests to, as `task.grant.http` has them: how they are written and what they cover.
//! Knows nothing of connections.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// `https://api.example.com`, `http://127.0.0.1:8080` or `https://*.example.com`.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpOrigin {
    is_https: bool,
    host: Host,
    /// With the scheme's own in place of none.
    port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Host {
    /// In small letters.
    Name(String),
    /// Any name below this one, which it is not itself.
    Below(String),
    Ip(IpAddr),
}

impl HttpOrigin {
    /// Reads an origin as it is written in a configuration.
    ///
    /// # Errors
    /// What must not be there, or is missing, in words; the text itself is not repeated, it may hold a password.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let (is_https, rest) = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (true, rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (false, rest),
            Some(_) => return Err("the scheme is http or https"),
            None => return Err("it begins with http:// or https://"),
        };
        if rest.contains('@') {
            return Err("no user name and no password belong into it: the task sends its own headers");
        }
        if rest.contains(['?', '#']) {
            return Err("no query belongs into it: a whole origin is granted");
        }
        if rest.contains('/') {
            return Err("no path belongs into it: a whole origin is granted");
        }
        let (host, port) = split_port(rest)?;
        let port = match port {
            Some(port) => port.parse().ok().filter(|port| *port > 0).ok_or("the port is a number from 1 to 65535")?,
            None => default_port(is_https),
        };
        Ok(Self { is_https, host: pattern(host)?, port })
    }

    /// Whether a request by this scheme, to this host as a URL has it and this port, if it names one, is for here.
    #[must_use]
    pub fn covers(&self, scheme: &str, host: &str, port: Option<u16>) -> bool {
        let is_https = scheme.eq_ignore_ascii_case("https");
        if !is_https && !scheme.eq_ignore_ascii_case("http") {
            return false;
        }
        let is_host = match &self.host {
            Host::Name(name) => name.eq_ignore_ascii_case(host),
            Host::Below(name) => {
                let host = host.to_ascii_lowercase();
                let below = host.strip_suffix(name.as_str()).and_then(|rest| rest.strip_suffix('.'));
                below.is_some_and(is_name)
            }
            Host::Ip(ip) => address(host) == Some(*ip),
        };
        is_host && is_https == self.is_https && port.unwrap_or(default_port(is_https)) == self.port
    }

    /// Whether every request that is for `other` is for here too.
    #[must_use]
    pub fn includes(&self, other: &Self) -> bool {
        let is_host = match (&self.host, &other.host) {
            (Host::Below(all), Host::Below(name)) => all == name || is_below(name, all),
            (Host::Below(all), Host::Name(name)) => is_below(name, all),
            (mine, other) => mine == other,
        };
        is_host && self.is_https == other.is_https && self.port == other.port
    }
}

/// Whether a name is one below another, both in small letters.
fn is_below(name: &str, above: &str) -> bool {
    name.strip_suffix(above).and_then(|rest| rest.strip_suffix('.')).is_some_and(|rest| !rest.is_empty())
}

/// As it is written in a configuration.
impl fmt::Debug for HttpOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

impl fmt::Display for HttpOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_https { "https://" } else { "http://" })?;
        match &self.host {
            Host::Name(name) => f.write_str(name)?,
            Host::Below(name) => write!(f, "*.{name}")?,
            Host::Ip(IpAddr::V4(ip)) => write!(f, "{ip}")?,
            Host::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]")?,
        }
        if self.port == default_port(self.is_https) { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

fn default_port(is_https: bool) -> u16 {
    if is_https { 443 } else { 80 }
}

fn split_port(authority: &str) -> Result<(&str, Option<&str>), &'static str> {
    if let Some(end) = authority.find(']') {
        let (host, rest) = authority.split_at(end + 1);
        return match rest.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if rest.is_empty() => Ok((host, None)),
            None => Err("after an IPv6 address comes a port or nothing"),
        };
    }
    match authority.split_once(':') {
        Some((_, port)) if port.contains(':') => Err("an IPv6 address stands in brackets"),
        Some((host, port)) => Ok((host, Some(port))),
        None => Ok((authority, None)),
    }
}

fn pattern(host: &str) -> Result<Host, &'static str> {
    if let Some(name) = host.strip_prefix("*.") {
        if !is_name(name) || is_number(name) {
            return Err("after `*.` comes a host's name");
        }
        return Ok(Host::Below(name.to_ascii_lowercase()));
    }
    if let Some(ip) = address(host) {
        return Ok(Host::Ip(ip));
    }
    if host.contains('*') {
        return Err("`*.` stands at the beginning of the host's name and nowhere else");
    }
    if !is_name(host) {
        return Err("the host is a name or an IP address");
    }
    // A resolver would take it for an address.
    if is_number(host) {
        return Err("an IPv4 address has four numbers up to 255");
    }
    Ok(Host::Name(host.to_ascii_lowercase()))
}

fn address(host: &str) -> Option<IpAddr> {
    match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(ip) => ip.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => host.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    }
}

/// Labels of letters, digits, `-` and `_`, with single dots between them.
fn is_name(text: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    text.split('.').all(is_label)
}

/// Whether the last label begins like a number, as in `127.1` and `0x7f000001`.
fn is_number(name: &str) -> bool {
    name.rsplit('.').next().is_some_and(|label| label.starts_with(|c: char| c.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::HttpOrigin;

    fn origin(text: &str) -> HttpOrigin {
        HttpOrigin::parse(text).unwrap_or_else(|reason| panic!("{text}: {reason}"))
    }

    #[test]
    fn an_origin_includes_what_is_part_of_it() {
        for (all, part, is_included) in [
            ("https://a.b", "https://a.b", true),
            ("https://a.b", "https://A.b:443", true),
            ("https://a.b", "http://a.b", false),
            ("https://a.b", "https://a.b:8443", false),
            ("https://*.b", "https://a.b", true),
            ("https://*.b", "https://x.a.b", true),
            ("https://*.b", "https://*.a.b", true),
            ("https://*.b", "https://*.b", true),
            ("https://*.b", "https://b", false),
            ("https://*.b", "https://ab", false),
            ("https://*.a.b", "https://*.b", false),
            ("https://a.b", "https://*.a.b", false),
            ("http://127.0.0.1:1", "http://127.0.0.1:1", true),
            ("http://127.0.0.1:1", "http://127.0.0.2:1", false),
        ] {
            assert_eq!(origin(all).includes(&origin(part)), is_included, "{all} {part}");
        }
    }

    #[test]
    fn an_origin_is_shown_as_it_is_compared() {
        for (text, shown) in [
            ("https://API.example.com", "https://api.example.com"),
            ("HTTPS://api.example.com:443", "https://api.example.com"),
            ("http://api.example.com:443", "http://api.example.com:443"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("http://[0:0::1]:80", "http://[::1]"),
            ("https://*.example.org", "https://*.example.org"),
            ("http://localhost:1", "http://localhost:1"),
        ] {
            assert_eq!(origin(text).to_string(), shown, "{text}");
        }
    }

    #[test]
    fn what_is_no_origin_is_told_what_is_wrong() {
        for (text, word) in [
            ("api.example.com", "begins with"),
            ("ftp://api.example.com", "scheme"),
            ("https://me:secret@api.example.com", "password"),
            ("https://me@api.example.com/x", "password"),
            ("https://api.example.com/", "path"),
            ("https://api.example.com/v1", "path"),
            ("https://api.example.com?key=1", "query"),
            ("https://api.example.com/v1?key=1", "query"),
            ("https://api.example.com#top", "query"),
            ("https://", "name or an IP"),
            ("https://:443", "name or an IP"),
            ("https://a b", "name or an IP"),
            ("https://api..example.com", "name or an IP"),
            ("https://b\u{fc}cher.example", "name or an IP"),
            ("https://api.example.com:", "port"),
            ("https://api.example.com:0", "port"),
            ("https://api.example.com:65536", "port"),
            ("https://*", "`*.` stands"),
            ("https://api.*.com", "`*.` stands"),
            ("https://*.*.com", "after `*.`"),
            ("https://*.", "after `*.`"),
            ("https://*.127.0.0.1", "after `*.`"),
            ("http://::1", "brackets"),
            ("http://[::1]8080", "after an IPv6"),
            ("http://127.1", "four numbers"),
            ("http://0x7f000001", "four numbers"),
        ] {
            let reason = HttpOrigin::parse(text).expect_err(text);
            assert!(reason.contains(word), "{text}: {reason}");
        }
    }

    #[test]
    fn an_origin_covers_itself_and_nothing_beside_it() {
        let covers = |text: &str, scheme: &str, host: &str, port| origin(text).covers(scheme, host, port);
        assert!(covers("https://api.example.com", "https", "API.example.com", None));
        assert!(covers("https://api.example.com", "https", "api.example.com", Some(443)));
        assert!(!covers("https://api.example.com", "http", "api.example.com", Some(443)), "another scheme");
        assert!(!covers("https://api.example.com", "https", "api.example.com", Some(8443)), "another port");
        assert!(!covers("https://api.example.com", "https", "example.com", None));
        assert!(!covers("https://api.example.com", "https", "api.example.com.evil.org", None));
        assert!(!covers("https://api.example.com", "https", "api.example.com.", None));
        assert!(!covers("https://api.example.com", "wss", "api.example.com", None));
        assert!(covers("http://127.0.0.1:8080", "http", "127.0.0.1", Some(8080)));
        assert!(!covers("http://127.0.0.1:8080", "http", "127.0.0.1", None));
        assert!(!covers("http://127.0.0.1", "http", "127.1", None));
        assert!(covers("http://[::1]", "http", "[0:0:0:0:0:0:0:1]", None));
    }

    #[test]
    fn a_wildcard_covers_every_name_below_and_not_the_name() {
        let covers = |host| origin("https://*.example.org").covers("https", host, None);
        assert!(covers("a.example.org") && covers("a.b.Example.org"));
        for beside in ["example.org", ".example.org", "badexample.org", "a.example.org.evil.com", "a..example.org"] {
            assert!(!covers(beside), "{beside}");
        }
    }
}
