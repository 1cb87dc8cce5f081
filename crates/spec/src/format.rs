//! The texts that a file may hold (sizes, names, addresses, …): one table for the schema and for the messages.
//!
//! The schema names an entry by `format`; its `pattern` is for editors, [`Format::check`] is the judge.

use std::{net::SocketAddr, path::Path};

use crate::{
    ByteSize, IpNet, Name, PortRange, PortTarget, Sha256, Span, Subnet, UnitError,
    problem::{Complaint, nearest, quoted},
};

/// A kind of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Size,
    Time,
    Name,
    Sha256,
    Subnet,
    Url,
    Path,
    Interface,
    Suite,
    Package,
    CommandLine,
    Absolute,
    Word,
    Variable,
    Cidr,
    Ports,
    Target,
    Socket,
}

/// Longer than any text that makes sense, short enough for every place that it may end up in.
const LONGEST: usize = 2048;

impl Format {
    /// The entry that the schema calls `name`.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "byte-size" => Self::Size,
            "time-span" => Self::Time,
            "name" => Self::Name,
            "sha256" => Self::Sha256,
            "ipv4-network" => Self::Subnet,
            "http-url" => Self::Url,
            "file-path" => Self::Path,
            "interface-name" => Self::Interface,
            "debian-suite" => Self::Suite,
            "debian-package" => Self::Package,
            "kernel-command-line" => Self::CommandLine,
            "absolute-path" => Self::Absolute,
            "word" => Self::Word,
            "variable" => Self::Variable,
            "ip-network" => Self::Cidr,
            "port-range" => Self::Ports,
            "port-target" => Self::Target,
            "socket-address" => Self::Socket,
            _ => return None,
        })
    }

    /// A regular expression that editors understand; it lets pass what [`Format::check`] lets pass.
    pub(crate) const fn pattern(self) -> &'static str {
        match self {
            Self::Size => r"^[0-9]+(\.[0-9]+)? ?(B|KiB|MiB|GiB|TiB|kB|MB|GB|TB)$",
            Self::Time => r"^[0-9]+(\.[0-9]+)? ?(ms|s|m|h)$",
            Self::Name => "^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$",
            Self::Sha256 => "^(sha256:)?[0-9a-fA-F]{64}$",
            Self::Subnet => r"^[0-9]{1,3}(\.[0-9]{1,3}){3}/([89]|1[0-9]|2[0-9])$",
            Self::Url => r"^https?://[A-Za-z0-9._~:\[\]-]+(/[!-~]*)?$",
            Self::Path => r"^[^~\x00-\x1f\x7f][^\x00-\x1f\x7f]*$",
            Self::Interface => "^[A-Za-z0-9][A-Za-z0-9_.-]{0,14}$",
            Self::Suite => "^[a-z][a-z0-9-]{0,39}$",
            Self::Package => "^[a-z0-9][a-z0-9+.-]+$",
            Self::CommandLine => r"^[^\x00-\x1f\x7f]*$",
            Self::Absolute => r"^(/|[A-Za-z]:[/\\])[^\x00-\x1f\x7f]*$",
            Self::Word => r"^[^\x00-\x1f\x7f]+$",
            Self::Variable => r"^[A-Za-z_(][A-Za-z0-9_.()-]*\*?$",
            Self::Cidr => "^[0-9A-Fa-f:.]+/[0-9]{1,3}$",
            Self::Ports => "^(tcp|udp)/[1-9][0-9]{0,4}(-[1-9][0-9]{0,4})?$",
            Self::Target => {
                r"^(tcp|udp)/(\*|[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):[1-9][0-9]{0,4}(-[1-9][0-9]{0,4})?$"
            }
            Self::Socket => r"^([0-9.]+|\[[0-9A-Fa-f:.%]+\]):[0-9]{1,5}$",
        }
    }

    /// What such a text looks like, to follow "expected".
    pub(crate) const fn expected(self) -> &'static str {
        match self {
            Self::Size => "a size like 8GiB",
            Self::Time => "a length of time like 5m",
            Self::Name => "a name of 1 to 40 lower-case letters, digits and inner '-'",
            Self::Sha256 => "64 hexadecimal digits",
            Self::Subnet => "an IPv4 network like 10.77.0.0/24",
            Self::Url => "an address like https://example.org/image.qcow2",
            Self::Path => "a path, absolute or relative to this file",
            Self::Interface => "an interface name of 1 to 15 letters, digits, '_', '.' and '-'",
            Self::Suite => "a suite like trixie",
            Self::Package => "the name of a Debian package",
            Self::CommandLine => "one line of kernel parameters",
            Self::Absolute => "a whole path like /usr/bin/tool or C:\\tools\\tool.exe, without `.` and `..`",
            Self::Word => "one line of text",
            Self::Variable => "a variable's name like PATH, or the beginning of names like PROXY_*",
            Self::Cidr => "a network like 10.0.0.0/8 or 169.254.169.254/32",
            Self::Ports => "ports like tcp/9796 or udp/4789-4800",
            Self::Target => "ports of a host like tcp/localhost:9796 or udp/10.0.0.1:4789-4800",
            Self::Socket => "an address with a port like 127.0.0.1:9797",
        }
    }

    /// What is wrong with `text`, if anything.
    pub(crate) fn check(self, text: &str) -> Option<Complaint> {
        if text.len() > LONGEST {
            return Some(Complaint::new(format!("longer than {LONGEST} bytes")).expected(self.expected()));
        }
        match self {
            Self::Size => self.measure(text.parse::<ByteSize>().err(), text),
            Self::Time => self.measure(text.parse::<Span>().err(), text),
            Self::Name => self.unless(text.parse::<Name>().is_ok(), text, "a name", || name_like(text)),
            Self::Sha256 => self.unless(text.parse::<Sha256>().is_ok(), text, "a sha256 digest", || None),
            Self::Subnet => self.subnet(text),
            Self::Url => self.url(text),
            Self::Path => self.path(text),
            Self::Interface => self.unless(is_interface(text), text, "an interface name", || None),
            Self::Suite => self.unless(is_suite(text), text, "a suite", || lower(text, is_suite)),
            Self::Package => self.unless(is_package(text), text, "a package", || lower(text, is_package)),
            Self::CommandLine => {
                self.unless(!text.contains(|c: char| c.is_ascii_control()), text, "one line", || None)
            }
            Self::Absolute => self.unless(is_absolute(text), text, "a whole path", || None),
            Self::Word => {
                let line = !text.is_empty() && !text.contains(|c: char| c.is_ascii_control());
                self.unless(line, text, "one line of text", || None)
            }
            Self::Variable => self.unless(is_variable(text), text, "a variable's name", || None),
            Self::Cidr => self.unless(is_network(text), text, "a network", || network_like(text)),
            Self::Ports => self.unless(text.parse::<PortRange>().is_ok(), text, "a range of ports", || None),
            Self::Target => {
                self.unless(text.parse::<PortTarget>().is_ok(), text, "a host with ports", || None)
            }
            Self::Socket => {
                let good = text.parse::<SocketAddr>().is_ok();
                self.unless(good, text, "an address with a port", || None)
            }
        }
    }

    fn unless(
        self,
        good: bool,
        text: &str,
        what: &str,
        guess: impl FnOnce() -> Option<String>,
    ) -> Option<Complaint> {
        let complaint =
            || Complaint::new(format!("{} is not {what}", quoted(text))).expected(self.expected());
        (!good).then(|| complaint().nearest(guess()))
    }

    fn measure(self, error: Option<UnitError>, text: &str) -> Option<Complaint> {
        match error {
            Some(error) => Some(self.unit(&error, text)),
            // Reads, but nobody would write it so: ` 8GiB`, `8.GiB`.
            None => self.unless(is_measure(text), text, "plainly a number and a unit", || None),
        }
    }

    fn unit(self, error: &UnitError, text: &str) -> Complaint {
        let message = match error {
            UnitError::NoUnit(_) => format!("{} has no unit", quoted(text)),
            UnitError::UnknownUnit { unit } => format!("{} is not a unit", quoted(unit)),
            UnitError::NotANumber(_) => format!("{} is not a number with a unit", quoted(text)),
            UnitError::TooLarge(_) => format!("{} is too large", quoted(text)),
        };
        let guess = match error {
            UnitError::UnknownUnit { unit } => self.unit_like(unit),
            _ => None,
        };
        let number = text.trim().trim_end_matches(|c: char| !c.is_ascii_digit());
        let guess = guess.map(|unit| format!("{number}{unit}"));
        Complaint::new(message).expected(self.expected()).nearest(guess)
    }

    /// The unit that somebody who writes `8G`, `8gb` or `5min` means.
    fn unit_like(self, unit: &str) -> Option<&'static str> {
        let sizes = ["B", "KiB", "MiB", "GiB", "TiB"];
        let first = unit.chars().next()?.to_ascii_lowercase();
        match self {
            Self::Size if unit.len() <= 9 => {
                sizes.into_iter().find(|size| size.to_ascii_lowercase().starts_with(first))
            }
            Self::Time => match unit.to_ascii_lowercase().as_str() {
                "sec" | "secs" | "second" | "seconds" => Some("s"),
                "min" | "mins" | "minute" | "minutes" => Some("m"),
                "hr" | "hrs" | "hour" | "hours" => Some("h"),
                other => {
                    nearest(other, ["ms", "s", "m", "h"]).filter(|near| near.eq_ignore_ascii_case(other))
                }
            },
            _ => None,
        }
    }

    fn subnet(self, text: &str) -> Option<Complaint> {
        let Ok(subnet) = text.parse::<Subnet>() else {
            let message = format!("{} is not a network of prefix 8 to 29", quoted(text));
            return Some(Complaint::new(message).expected(self.expected()).nearest(subnet_like(text)));
        };
        let first = subnet.address(1)?;
        let reserved = first.octets()[0] == 0
            || first.is_loopback()
            || first.is_link_local()
            || first.is_multicast()
            || first.octets()[0] >= 240;
        let complaint = || {
            Complaint::new(format!("{subnet} is reserved")).expected("a private network like 10.77.0.0/24")
        };
        reserved.then(complaint)
    }

    fn url(self, text: &str) -> Option<Complaint> {
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let authority = rest.map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
        // A password in an address would end up in logs and in the journal.
        if authority.is_some_and(|authority| authority.contains('@')) {
            let message = "holds a user name or password, which would be kept in logs";
            return Some(Complaint::new(message).expected("an address without one"));
        }
        let host = |byte: u8| byte.is_ascii_alphanumeric() || b"._~:[]-".contains(&byte);
        let good = rest.zip(authority).is_some_and(|(rest, authority)| {
            !authority.is_empty()
                && authority.bytes().all(host)
                && matches!(rest.as_bytes().get(authority.len()), None | Some(b'/'))
                && rest.bytes().all(|byte| byte.is_ascii_graphic())
        });
        self.unless(good, text, "an http or https address", || None)
    }

    fn path(self, text: &str) -> Option<Complaint> {
        if text.starts_with('~') {
            let message = format!("{}: `~` is not the home folder here", quoted(text));
            return Some(Complaint::new(message).expected("the whole path"));
        }
        let good = !text.is_empty() && !text.contains(|c: char| c.is_ascii_control());
        self.unless(good && Path::new(text).components().next().is_some(), text, "a path", || None)
    }
}

/// Digits, maybe with a fraction, then at most one space, then the unit.
fn is_measure(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number = number.strip_suffix(' ').unwrap_or(number);
    number.split_once('.').map_or_else(|| digits(number), |(whole, part)| digits(whole) && digits(part))
}

fn is_interface(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    // 15: the kernel's IFNAMSIZ, less the final zero.
    (1..=15).contains(&text.len())
        && text.bytes().all(inner)
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
}

fn is_suite(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    text.len() <= 40 && text.bytes().all(inner) && text.starts_with(|c: char| c.is_ascii_lowercase())
}

/// Debian Policy 5.6.1.
fn is_package(text: &str) -> bool {
    let inner =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'+' | b'.' | b'-');
    text.len() >= 2
        && text.bytes().all(inner)
        && text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
}

/// Of Linux or of Windows, as it would be written there; `.` and `..` would make it another one.
fn is_absolute(text: &str) -> bool {
    let drive = |rest: &str| rest.starts_with([':']) && rest[1..].starts_with(['/', '\\']);
    let letter = text.starts_with(|c: char| c.is_ascii_alphabetic());
    let rooted = text.starts_with('/') || (letter && drive(&text[1..]));
    let plain = text.split(['/', '\\']).all(|part| part != "." && part != "..");
    rooted && plain && !text.contains(|c: char| c.is_ascii_control())
}

fn is_variable(text: &str) -> bool {
    let name = text.strip_suffix('*').unwrap_or(text);
    // `ProgramFiles(x86)` is a name of Windows' own.
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"_.()-".contains(&byte);
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_' || c == '(') && name.bytes().all(inner)
}

fn is_network(text: &str) -> bool {
    text.parse::<IpNet>().is_ok_and(|network| network == network.trunc())
}

/// `10.77.0.1/24` → `10.77.0.0/24`, `10.0.0.1` → `10.0.0.1/32`.
fn network_like(text: &str) -> Option<String> {
    let alone = || text.parse::<std::net::IpAddr>().ok().map(IpNet::from);
    text.parse::<IpNet>().ok().or_else(alone).map(|network| network.trunc().to_string())
}

fn lower(text: &str, good: fn(&str) -> bool) -> Option<String> {
    Some(text.trim().to_ascii_lowercase()).filter(|guess| good(guess))
}

/// `My Pool_1` → `my-pool-1`.
fn name_like(text: &str) -> Option<String> {
    let word = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let guess: String = text.chars().take(Name::MAX).map(word).collect();
    Some(guess.trim_matches('-').to_owned()).filter(|guess| guess.parse::<Name>().is_ok())
}

/// `10.77.0.1/24` → `10.77.0.0/24`.
fn subnet_like(text: &str) -> Option<String> {
    let (address, prefix) = text.split_once('/')?;
    let address: std::net::Ipv4Addr = address.parse().ok()?;
    let prefix: u32 = prefix.parse().ok().filter(|prefix| (8..=29).contains(prefix))?;
    let network = u32::from(address) & (u32::MAX << (32 - prefix));
    Some(format!("{}/{prefix}", std::net::Ipv4Addr::from(network)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn said(format: Format, text: &str) -> Option<(String, Option<String>)> {
        format.check(text).map(|complaint| (complaint.message, complaint.nearest))
    }

    #[test]
    fn wrong_texts_are_answered_with_what_was_probably_meant() {
        for (format, text, guess) in [
            (Format::Size, "8G", Some("8GiB")),
            (Format::Size, "1.5 gb", Some("1.5GiB")),
            (Format::Size, "8", None),
            (Format::Size, " 8GiB", None),
            (Format::Size, "8.GiB", None),
            (Format::Time, "5min", Some("5m")),
            (Format::Time, "5M", Some("5m")),
            (Format::Name, "My Pool_1", Some("my-pool-1")),
            (Format::Name, "---", None),
            (Format::Subnet, "10.77.0.1/24", Some("10.77.0.0/24")),
            (Format::Subnet, "10.77.0.0/30", None),
            (Format::Subnet, "127.0.0.0/8", None),
            (Format::Url, "ftp://a/b", None),
            (Format::Url, "https://", None),
            (Format::Url, "https:///b", None),
            (Format::Url, "https://a/\u{feff}", None),
            (Format::Path, "~/golden.qcow2", None),
            (Format::Path, "", None),
            (Format::Path, "a\0b", None),
            (Format::Interface, "-wbr0", None),
            (Format::Interface, "wbr0wbr0wbr0wbr0", None),
            (Format::Suite, "Trixie", Some("trixie")),
            (Format::Package, "--option", None),
            (Format::CommandLine, "a\nb", None),
            (Format::Absolute, "bin/tool", None),
            (Format::Absolute, "/usr/../bin/tool", None),
            (Format::Absolute, r"C:tool.exe", None),
            (Format::Absolute, r"\\server\share\tool.exe", None),
            (Format::Variable, "A=B", None),
            (Format::Variable, "*", None),
            (Format::Cidr, "10.77.0.1/24", Some("10.77.0.0/24")),
            (Format::Cidr, "169.254.169.254", Some("169.254.169.254/32")),
            (Format::Ports, "80", None),
            (Format::Target, "localhost:80", None),
            (Format::Socket, "localhost:80", None),
        ] {
            let (message, nearest) = said(format, text).unwrap_or_else(|| panic!("{text} passed"));
            assert_eq!(nearest.as_deref(), guess, "{text}: {message}");
        }
    }

    #[test]
    fn secrets_in_addresses_are_refused_and_not_repeated() {
        let (message, _) = said(Format::Url, "https://me:hunter2@example.org/x").unwrap();
        assert!(!message.contains("hunter2"), "{message}");
    }

    const ALL: [Format; 18] = [
        Format::Size,
        Format::Time,
        Format::Name,
        Format::Sha256,
        Format::Subnet,
        Format::Url,
        Format::Path,
        Format::Interface,
        Format::Suite,
        Format::Package,
        Format::CommandLine,
        Format::Absolute,
        Format::Word,
        Format::Variable,
        Format::Cidr,
        Format::Ports,
        Format::Target,
        Format::Socket,
    ];

    /// Texts like those of a format's pattern.
    fn plain(format: Format) -> BoxedStrategy<String> {
        if format == Format::Subnet {
            // The pattern's own texts have bits set after the prefix, nearly all.
            let network = |(bits, prefix): (u32, u32)| {
                format!("{}/{prefix}", std::net::Ipv4Addr::from(bits & (u32::MAX << (32 - prefix))))
            };
            return (any::<u32>(), 8..=29_u32).prop_map(network).boxed();
        }
        let pattern = format.pattern().trim_start_matches('^').trim_end_matches('$');
        prop::string::string_regex(pattern).expect("the pattern is a regular expression").boxed()
    }

    /// The same, some with one character put in: any, or one that numbers may have.
    fn like(format: Format) -> impl Strategy<Value = String> {
        let extra = prop_oneof![any::<char>(), prop::sample::select(&['+', '-', '0', ' ', '.'][..])];
        let put = prop::option::of((any::<prop::sample::Index>(), extra));
        (plain(format), put).prop_map(|(mut text, put)| {
            if let Some((at, extra)) = put {
                let places: Vec<_> =
                    text.char_indices().map(|(place, _)| place).chain([text.len()]).collect();
                text.insert(places[at.index(places.len())], extra);
            }
            text
        })
    }

    proptest! {
        #[test]
        fn editors_let_pass_what_the_reader_lets_pass(
            (format, text) in prop::sample::select(&ALL[..]).prop_flat_map(|format| (Just(format), like(format)))
        ) {
            let schema = serde_json::json!({ "type": "string", "pattern": format.pattern() });
            if format.check(&text).is_none() {
                prop_assert!(jsonschema::is_valid(&schema, &text.clone().into()), "{format:?} {text:?}");
            }
        }
    }

    #[test]
    fn right_texts_pass() {
        for (format, text) in [
            (Format::Size, "1.5 GiB"),
            (Format::Time, "500ms"),
            (Format::Name, "a"),
            (Format::Subnet, "10.0.0.0/8"),
            (Format::Url, "http://mirror:3142/a?b=c"),
            (Format::Path, "./golden/ä.qcow2"),
            (Format::Interface, "br-wbr0.7"),
            (Format::Suite, "bookworm-backports"),
            (Format::Package, "g++"),
            (Format::CommandLine, "root=/dev/vda1 rw"),
            (Format::Absolute, "/srv/**/*.log"),
            (Format::Absolute, r"c:\Program Files\tool.exe"),
            (Format::Word, r"NT AUTHORITY\SYSTEM"),
            (Format::Variable, "ProgramFiles(x86)"),
            (Format::Variable, "PROXY_*"),
            (Format::Cidr, "fd00::/8"),
            (Format::Ports, "udp/4789-4800"),
            (Format::Target, "tcp/[::1]:22"),
            (Format::Socket, "[::1]:9797"),
        ] {
            assert_eq!(format.check(text), None, "{text}");
        }
    }
}
