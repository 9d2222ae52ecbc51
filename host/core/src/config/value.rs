//! Value types: how the text of each kind of key is read, and what is said when it cannot be. It must not know any key.

use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::time::Duration;

use super::job::Directory;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::check::nearest_name;
use super::host::AllowedDirectory;
use crate::http_origin::HttpOrigin;
use crate::network::Network;
use crate::rollout::Wave;

/// The type of a key's value.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// Text as it stands, blanks included; may be empty.
    Verbatim,
    /// Text without blanks around it, not empty.
    Text,
    /// Letters, digits, `.`, `-` and `_`: what may stand in the name of a DynamoDB table or a Kinesis stream.
    Name,
    /// A file name without a directory.
    Module,
    Bool,
    /// A whole number in a range.
    Int(i64, i64),
    /// Milliseconds, at least so many.
    Millis(i64),
    /// Milliseconds, 0 or less means never.
    MillisOrNever,
    /// One of these words, in any case of letters.
    OneOf(&'static [&'static str]),
    /// A moment: RFC 3339, or seconds or milliseconds since 1970.
    Timestamp,
    /// `http://` or `https://` and a host, without a login.
    Url,
    /// A host's name or IP address alone.
    Host,
    /// Hosts with `|` between, in which `*` stands for any characters.
    HostPatterns,
    /// What may stand in the value of an HTTP header: visible ASCII and blanks.
    HeaderValue,
    /// The ARN of a Kinesis stream.
    StreamArn,
    /// The ARN of an IAM role.
    RoleArn,
    /// The name of a session of a role, by STS's rules.
    SessionName,
    /// Names with commas between.
    List,
    /// Names with commas between, or nothing.
    Names,
    /// Directories with commas between, each `/host/path[::/guest/path][:ro|:rw]`, or nothing.
    Directories,
    /// Directories with commas between, each `/path[:ro|:rw]`, or nothing.
    AllowedDirectories,
    /// Absolute paths with commas between, or nothing.
    Paths,
    /// Origins with commas between, each `http[s]://host[:port]`, where a host may begin with `*.`, or nothing.
    HttpOrigins,
    /// Networks in CIDR notation with commas between, or nothing.
    Networks,
    /// Keys with commas between, in which `*` stands for any characters, or nothing.
    KeyPatterns,
    /// Numbers and percentages of shards with commas between.
    Waves,
    /// Anything: the value is not looked at.
    Any,
}

/// Why a text is no value of its kind.
pub(super) struct Mismatch {
    pub(super) expected: String,
    pub(super) hint: Option<String>,
}

/// Milliseconds of a wait are kept within a year, so that sums of them can never overflow.
const MILLIS_MAX: i64 = 366 * 24 * 3600 * 1000;

/// What other systems call the words of [`Kind::OneOf`].
const SYNONYMS: [(&str, &str); 7] = [
    ("EARLIEST", "TRIM_HORIZON"),
    ("OLDEST", "TRIM_HORIZON"),
    ("BEGINNING", "TRIM_HORIZON"),
    ("NEWEST", "LATEST"),
    ("UPCOMING", "LATEST"),
    ("END", "LATEST"),
    ("TIMESTAMP", "AT_TIMESTAMP"),
];

/// Numbers below this are seconds since 1970 (until the year 5138), others milliseconds (from 1973).
const EPOCH_SECONDS_END: i64 = 100_000_000_000;

impl Kind {
    pub(super) fn check(self, text: &str) -> Result<(), Mismatch> {
        let word = text.trim();
        let good = match self {
            Self::Verbatim | Self::Any => true,
            Self::Text => !word.is_empty(),
            Self::Name => is_name(word),
            Self::Module => is_module(word) && !is_java_class(word),
            Self::Bool => boolean(word).is_some(),
            Self::Int(least, most) => int(word).is_some_and(|n| (least..=most).contains(&n)),
            Self::Millis(least) => int(word).is_some_and(|n| (least..=MILLIS_MAX).contains(&n)),
            Self::MillisOrNever => int(word).is_some_and(|n| n <= MILLIS_MAX),
            Self::OneOf(words) => words.iter().any(|known| known.eq_ignore_ascii_case(word)),
            Self::Timestamp => timestamp(word).is_some(),
            Self::Url => is_url(word),
            Self::Host => is_host(word),
            Self::HostPatterns => {
                !host_patterns(word).is_empty() && host_patterns(word).into_iter().all(is_host_pattern)
            }
            Self::HeaderValue => !word.is_empty() && word.bytes().all(|b| (b' '..=b'~').contains(&b)),
            Self::StreamArn => is_arn(word, "kinesis", "stream/"),
            Self::RoleArn => is_arn(word, "iam", "role/"),
            Self::SessionName => is_session_name(word),
            Self::List => !list(word).is_empty(),
            Self::Names => true,
            Self::Directories => list(word).into_iter().all(|it| directory(it).is_some()),
            Self::AllowedDirectories => list(word).into_iter().all(|it| allowed_directory(it).is_some()),
            Self::Paths => list(word).into_iter().all(is_path),
            Self::HttpOrigins => list(word).into_iter().all(|it| HttpOrigin::parse(it).is_ok()),
            Self::Networks => list(word).into_iter().all(|it| it.parse::<Network>().is_ok()),
            Self::KeyPatterns => list(word).into_iter().all(is_key_pattern),
            Self::Waves => waves(word).is_some(),
        };
        if good { Ok(()) } else { Err(Mismatch { expected: self.expected(), hint: self.hint(text) }) }
    }

    /// The type as the reference page names it.
    pub(super) fn name(self) -> String {
        match self {
            Self::Verbatim | Self::Text | Self::Any | Self::HeaderValue => "text".to_owned(),
            Self::StreamArn | Self::RoleArn => "ARN".to_owned(),
            Self::Name | Self::Module | Self::SessionName => "name".to_owned(),
            Self::Bool => "boolean".to_owned(),
            Self::Int(least, most) if most >= i64::from(i32::MAX) => format!("integer ≥ {least}"),
            Self::Int(least, most) => format!("integer {least} to {most}"),
            Self::Millis(_) => "milliseconds".to_owned(),
            Self::MillisOrNever => "milliseconds, ≤ 0 is never".to_owned(),
            Self::OneOf(words) => words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", "),
            Self::Timestamp => "timestamp".to_owned(),
            Self::Url => "URL".to_owned(),
            Self::Host => "host".to_owned(),
            Self::HostPatterns => "hosts with `|` between".to_owned(),
            Self::List | Self::Names | Self::Waves => "list".to_owned(),
            Self::Directories | Self::AllowedDirectories | Self::Paths => "directories".to_owned(),
            Self::HttpOrigins => "origins".to_owned(),
            Self::Networks => "networks".to_owned(),
            Self::KeyPatterns => "keys".to_owned(),
        }
    }

    fn expected(self) -> String {
        match self {
            Self::Verbatim | Self::Any => "any text".to_owned(),
            Self::Text => "a text that is not empty".to_owned(),
            Self::Name => "letters, digits, `.`, `-` and `_` only".to_owned(),
            Self::Module => "the name of a module in the task directory, without a path".to_owned(),
            Self::Bool => "`true` or `false`".to_owned(),
            Self::Int(least, most) => format!("a whole number from {least} to {most}"),
            Self::Millis(least) => format!("a whole number of milliseconds from {least} to {MILLIS_MAX}"),
            Self::MillisOrNever => {
                format!("a whole number of milliseconds up to {MILLIS_MAX}; 0 or less means never")
            }
            Self::OneOf(words) => format!("one of {}", words.join(", ")),
            Self::Timestamp => "a moment as 2026-01-31T12:00:00Z, or as seconds or milliseconds since 1970".to_owned(),
            Self::Url => "http:// or https:// with a host, and without a user name or password".to_owned(),
            Self::Host => "a host name or an IP address, without a scheme and without a port".to_owned(),
            Self::HostPatterns => "host names with `|` between, `*` for any characters".to_owned(),
            Self::HeaderValue => "letters, digits, blanks and signs of ASCII".to_owned(),
            Self::StreamArn => "arn:aws:kinesis:REGION:ACCOUNT:stream/NAME".to_owned(),
            Self::RoleArn => "arn:aws:iam::ACCOUNT:role/NAME".to_owned(),
            Self::SessionName => "2 to 64 letters, digits and `_+=,.@-`".to_owned(),
            Self::List => "one or more names with commas between".to_owned(),
            Self::Names => "names with commas between, or nothing".to_owned(),
            Self::Directories => "/path[::/path/in/the/task][:ro|:rw], several with commas between".to_owned(),
            Self::AllowedDirectories => "/path[:ro|:rw], several with commas between".to_owned(),
            Self::Paths => "/path, several with commas between".to_owned(),
            Self::Networks => {
                "networks in CIDR notation such as 10.0.0.0/8 or fd00::/8, several with commas between".to_owned()
            }
            Self::KeyPatterns => {
                "keys of letters, digits, `.`, `-`, `_` and `*`, several with commas between".to_owned()
            }
            Self::HttpOrigins => {
                "http[s]://host[:port] or http[s]://*.host[:port], several with commas between".to_owned()
            }
            Self::Waves => {
                "numbers from 1 and percentages from 1% to 100% with commas between, such as 1,10%,50%".to_owned()
            }
        }
    }

    fn hint(self, text: &str) -> Option<String> {
        if matches!(self, Self::Verbatim | Self::Any) {
            return None;
        }
        if let Some((before, _)) = text.split_once(" #")
            && self.check(before).is_ok()
        {
            return Some("a comment needs a line of its own: here `#` is part of the value".to_owned());
        }
        match self {
            Self::Millis(_) | Self::MillisOrNever => with_unit(text).map(|n| format!("write {n}")),
            Self::Int(..) => {
                let plain: String = text.trim().chars().filter(|c| !matches!(c, '_' | ',' | '\'')).collect();
                (plain != text.trim()).then(|| int(&plain)).flatten().map(|n| format!("write {n}"))
            }
            Self::HttpOrigins => {
                let (place, reason) =
                    (1..).zip(list(text)).find_map(|(place, it)| Some((place, HttpOrigin::parse(it).err()?)))?;
                Some(format!("number {place} of the list: {reason}"))
            }
            Self::Networks => {
                let bad = |(place, it): (usize, &str)| Some((place, it.parse::<Network>().err()?));
                let (place, reason) = (1..).zip(list(text)).find_map(bad)?;
                Some(format!("number {place} of the list: {reason}"))
            }
            Self::OneOf(words) => {
                let word = text.trim().to_ascii_uppercase().replace('-', "_");
                let meant = SYNONYMS.iter().find(|(other, _)| *other == word).map(|(_, meant)| (*meant).to_owned());
                let meant = meant.filter(|meant| words.contains(&meant.as_str()));
                let meant = meant.or_else(|| nearest_name(&word, words.iter().copied()))?;
                Some(format!("write {meant}"))
            }
            Self::Module if is_java_class(text.trim()) => Some(module_of_class(text.trim())),
            _ => None,
        }
    }
}

pub(super) fn boolean(text: &str) -> Option<bool> {
    let text = text.trim();
    if text.eq_ignore_ascii_case("true") {
        return Some(true);
    }
    text.eq_ignore_ascii_case("false").then_some(false)
}

pub(super) fn int(text: &str) -> Option<i64> {
    text.trim().parse().ok()
}

/// `None` for 0 or less.
pub(super) fn millis(n: i64) -> Option<Duration> {
    u64::try_from(n).ok().filter(|n| *n > 0).map(Duration::from_millis)
}

/// The waves before a take-over: `100%` is one.
pub(super) fn waves(text: &str) -> Option<Vec<Wave>> {
    let wave = |word: &str| match word.strip_suffix('%') {
        Some(percent) => percent.parse().ok().filter(|percent| (1..=100).contains(percent)).map(Wave::Percent),
        None => word.parse().ok().filter(|shards| *shards > 0).map(Wave::Shards),
    };
    let waves: Option<Vec<Wave>> = list(text).into_iter().map(wave).collect();
    let waves = waves.filter(|waves| !waves.is_empty())?;
    Some(waves.into_iter().take_while(|wave| *wave != Wave::Percent(100)).collect())
}

/// Names between commas; blanks around them and empty places do not count.
pub(super) fn list(text: &str) -> Vec<&str> {
    text.split(',').map(str::trim).filter(|name| !name.is_empty()).collect()
}

/// A directory as it is granted: `/host/path[::/guest/path][:ro|:rw]`. Without more it has the same path for the task, and
/// is read-only.
pub(super) fn directory(text: &str) -> Option<Directory> {
    let (paths, writable) = match text.strip_suffix(":rw") {
        Some(paths) => (paths, true),
        None => (text.strip_suffix(":ro").unwrap_or(text), false),
    };
    let (host, guest) = paths.split_once("::").unwrap_or((paths, paths));
    let named = PathBuf::from(host);
    let granted = || Directory { host: named.clone(), operators: named, guest: guest.to_owned(), writable };
    (is_path(host) && is_path(guest)).then(granted)
}

/// A directory that jobs may grant themselves: `/path[:ro|:rw]`.
pub(super) fn allowed_directory(text: &str) -> Option<AllowedDirectory> {
    if text.contains("::") {
        return None;
    }
    let Directory { host, writable, .. } = directory(text)?;
    Some(AllowedDirectory { path: host, writable })
}

/// An absolute path that says where it leads.
fn is_path(path: &str) -> bool {
    path.starts_with('/') && !path.contains(':') && !path.split('/').any(|part| part == "..")
}

fn is_key_pattern(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-*".contains(&b))
}

/// Hosts between bars, as in Java's `http.nonProxyHosts`.
pub(super) fn host_patterns(text: &str) -> Vec<&str> {
    text.split('|').map(str::trim).filter(|pattern| !pattern.is_empty()).collect()
}

/// Milliseconds since 1970.
pub(super) fn timestamp(text: &str) -> Option<u64> {
    let text = text.trim();
    let moment = match text.parse::<i64>() {
        Ok(n) if n < EPOCH_SECONDS_END => n.checked_mul(1000)?,
        Ok(n) => n,
        Err(_) => {
            let moment = OffsetDateTime::parse(text, &Rfc3339).ok()?;
            i64::try_from(moment.unix_timestamp_nanos().div_euclid(1_000_000)).ok()?
        }
    };
    u64::try_from(moment).ok()
}

pub(super) fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
}

fn is_module(text: &str) -> bool {
    let stem = text.strip_suffix(".wasm").unwrap_or(text);
    !stem.is_empty() && !stem.starts_with('.') && !stem.contains(['/', '\\', '\0'])
}

/// `com.acme.clicks.EnricherTask`: packages in small letters, then a class with a capital one.
fn is_java_class(text: &str) -> bool {
    let mut parts = text.split('.').rev();
    let is_class = parts.next().is_some_and(|class| class.starts_with(|c: char| c.is_ascii_uppercase()));
    let is_word = |part: &str| part.starts_with(|c: char| c.is_ascii_lowercase()) && part.bytes().all(is_java);
    is_class && text.bytes().all(|b| is_java(b) || b == b'.') && parts.clone().count() >= 2 && parts.all(is_word)
}

fn is_java(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'_'
}

/// How the module of a task that was a Java class might be called.
fn module_of_class(class: &str) -> String {
    let class = class.rsplit('.').next().unwrap_or_default();
    let mut name = String::new();
    for c in class.strip_suffix("Task").filter(|name| !name.is_empty()).unwrap_or(class).chars() {
        if c.is_ascii_uppercase() && !name.is_empty() {
            name.push('-');
        }
        name.push(c.to_ascii_lowercase());
    }
    format!(
        "a task is a WebAssembly module, not a Java class: `task.class={name}` runs `{name}.wasm` of the task directory"
    )
}

fn is_url(text: &str) -> bool {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    rest.is_some_and(|rest| {
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        !host.is_empty() && !rest.contains('@') && !rest.contains(char::is_whitespace)
    })
}

fn is_host(text: &str) -> bool {
    is_name(text) || text.parse::<Ipv6Addr>().is_ok()
}

fn is_arn(text: &str, service: &str, resource: &str) -> bool {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let [arn, partition, of, _region, account, what] = parts.as_slice() else { return false };
    let is_account = account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit());
    let has_name = what.strip_prefix(resource).is_some_and(|name| !name.is_empty());
    *arn == "arn" && partition.starts_with("aws") && *of == service && is_account && has_name
}

fn is_session_name(text: &str) -> bool {
    let is_good = |b: u8| b.is_ascii_alphanumeric() || b"_+=,.@-".contains(&b);
    (2..=64).contains(&text.len()) && text.bytes().all(is_good)
}

/// A `*` may stand for a part of an IPv6 address too.
fn is_host_pattern(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_*:[]".contains(&b))
}

/// `60s`, `5 min`: milliseconds of a number with a unit, for the hint.
fn with_unit(text: &str) -> Option<i64> {
    let text = text.trim();
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let factor = match unit.trim().to_ascii_lowercase().as_str() {
        "ms" | "millis" => 1,
        "s" | "sec" | "seconds" => 1000,
        "m" | "min" | "minutes" => 60_000,
        "h" | "hours" => 3_600_000,
        _ => return None,
    };
    number.parse::<i64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::{Kind, directory, timestamp};

    fn hint(kind: Kind, text: &str) -> Option<String> {
        kind.check(text).err().and_then(|mismatch| mismatch.hint)
    }

    #[test]
    fn timestamps_in_their_three_forms() {
        assert_eq!(timestamp("1700000000"), Some(1_700_000_000_000));
        assert_eq!(timestamp("1700000000123"), Some(1_700_000_000_123));
        assert_eq!(timestamp("2023-11-14T22:13:20Z"), Some(1_700_000_000_000));
        assert_eq!(timestamp("2023-11-14T23:13:20.5+01:00"), Some(1_700_000_000_500));
        for bad in ["", "yesterday", "-1", "2023-11-14", "1.5", "1969-12-31T23:59:59Z"] {
            assert_eq!(timestamp(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_directory_is_read_only_and_in_its_own_place_unless_it_says_otherwise() {
        let granted = |text| directory(text).map(|it| (it.host.display().to_string(), it.guest, it.writable));
        assert_eq!(granted("/a/b"), Some(("/a/b".into(), "/a/b".into(), false)));
        assert_eq!(granted("/a::/b:rw"), Some(("/a".into(), "/b".into(), true)));
        assert_eq!(granted("/a:ro"), Some(("/a".into(), "/a".into(), false)));
    }

    #[test]
    fn a_duration_with_a_unit_is_refused_with_the_number_to_write() {
        assert_eq!(hint(Kind::MillisOrNever, "60s").as_deref(), Some("write 60000"));
        assert_eq!(hint(Kind::Millis(1), "5 min").as_deref(), Some("write 300000"));
        assert_eq!(hint(Kind::Millis(1), "soon"), None);
    }

    #[test]
    fn a_trailing_comment_is_named() {
        let told = hint(Kind::Int(1, 9), "3 # three").expect("a hint");
        assert!(told.contains("line of its own"), "{told}");
    }

    #[test]
    fn numbers_with_group_marks_are_refused_with_the_number_to_write() {
        assert_eq!(hint(Kind::Int(1, 99_999), "10,000").as_deref(), Some("write 10000"));
    }

    #[test]
    fn limits_are_part_of_the_range() {
        for (kind, good, bad) in [
            (Kind::Int(1, 10), ["1", "10"], ["0", "11"]),
            (Kind::Millis(5), ["5", "31622400000"], ["4", "31622400001"]),
            (Kind::MillisOrNever, ["-1", "31622400000"], ["x", "31622400001"]),
            (Kind::Bool, ["TRUE", "false"], ["yes", "1"]),
            (Kind::Url, ["http://127.0.0.1:4567", "https://k/x"], ["127.0.0.1:4567", "http://u:p@h"]),
            (Kind::Module, ["word-count", "word-count.wasm"], ["../x", ".wasm"]),
            (Kind::Name, ["a.b-c_1", "X"], ["", "a b"]),
            (Kind::Host, ["proxy.example.com", "fd00::1"], ["http://proxy", "proxy:3128"]),
            (
                Kind::StreamArn,
                [
                    "arn:aws:kinesis:eu-west-1:123456789012:stream/a",
                    "arn:aws-cn:kinesis:cn-north-1:123456789012:stream/a.b",
                ],
                ["arn:aws:kinesis:eu-west-1:123456789012:stream/", "orders"],
            ),
            (
                Kind::RoleArn,
                ["arn:aws:iam::123456789012:role/reader", "arn:aws:iam::123456789012:role/team/reader"],
                ["arn:aws:iam::123456789012:user/me", "arn:aws:iam::1234:role/reader"],
            ),
            (Kind::SessionName, ["orders-1", "a=b@c"], ["x", "a b"]),
            (Kind::HeaderValue, ["orders/7 (team)", "a"], ["a\nb", "ü"]),
            (Kind::Directories, ["", "/a::/b:rw, /c:ro"], ["a", "/a:/b"]),
            (Kind::AllowedDirectories, ["", "/a:rw, /c"], ["a:rw", "/a::/b"]),
            (Kind::Paths, ["", "/a, /b c"], ["a", "/a/../b"]),
            (Kind::Networks, ["", "10.0.0.0/8, fd00::/8"], ["10.0.0.1", "10.0.0.1/8"]),
            (Kind::KeyPatterns, ["", "job.name, systems.*.aws.region"], ["a b", "a=b"]),
            (Kind::Module, ["orders.v2", "com.Acme"], ["com.acme.clicks.EnricherTask", "a.b.C"]),
            (Kind::Directories, ["/a:rw", "/a::/b"], ["/a::b", "/a/../b"]),
            (Kind::HttpOrigins, ["https://a.b", "http://a:1, https://*.b"], ["a.b", "https://a/b"]),
            (Kind::HostPatterns, ["localhost|*.internal", "10.*|[::1]"], ["localhost,127.*", "|"]),
        ] {
            for text in good {
                assert!(kind.check(text).is_ok(), "{text}");
            }
            for text in bad {
                assert!(kind.check(text).is_err(), "{text}");
            }
        }
    }
}
