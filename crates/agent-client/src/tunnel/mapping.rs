//! Which port here leads where, as one writes it: `tcp/9796`, `tcp/8080:localhost:9796`, `udp/5300-5302:[::1]:53-55`.

use std::ops::RangeInclusive;

use crate::tunnel::{Protocol, Target};

/// Ports of one range; more is most likely a mistake, and each takes an open file.
const MOST: usize = 1024;

/// A port here and the one that it leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// The port here; 0: the system chooses.
    pub listen: u16,
    /// The port at the agent.
    pub target: Target,
}

/// A specification that cannot be read. Display is a fragment after "failed to".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("read `{spec}`: {problem}")]
pub struct SpecError {
    /// What was written.
    pub spec: String,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a specification.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// No protocol in front.
    #[error("it begins with `tcp/` or `udp/`, as in `tcp/9796`")]
    Protocol,
    /// Not a number, or not a port's.
    #[error("`{0}` is not a port: a number from 1 to 65535, or a range like 8000-8010")]
    Port(String),
    /// The first is greater than the last.
    #[error("the range `{0}` runs backwards")]
    Backwards(String),
    /// Too many at once.
    #[error("{0} ports are more than the {MOST} of one range")]
    TooMany(usize),
    /// Ranges that do not fit together.
    #[error("{0} ports here cannot lead to {1} there")]
    Lengths(usize, usize),
    /// Something that is no host.
    #[error("`{0}` is neither a name nor an address; an IPv6 address stands in brackets, as in [::1]")]
    Host(String),
}

impl Mapping {
    /// Reads `PROTOCOL/LISTEN:HOST:PORT`, `PROTOCOL/LISTEN:PORT` (the host is `localhost`) or `PROTOCOL/PORT` (the same
    /// number on both sides); each port may be a range of equal length.
    ///
    /// # Errors
    /// When it is none of these.
    pub fn parse(spec: &str) -> Result<Vec<Self>, SpecError> {
        read(spec).map_err(|problem| SpecError { spec: spec.to_owned(), problem })
    }
}

fn read(spec: &str) -> Result<Vec<Mapping>, Problem> {
    let (protocol, rest) = spec.split_once('/').ok_or(Problem::Protocol)?;
    let protocol = match protocol.to_ascii_lowercase().as_str() {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        _ => return Err(Problem::Protocol),
    };
    let (listen, target) = rest.split_once(':').unwrap_or((rest, rest));
    let (host, port) = target.rsplit_once(':').unwrap_or(("localhost", target));
    let (host, target) = (name(host)?, range(port, 1)?);
    // Only a port here may be left to the system.
    let listen = range(listen, 0)?;
    if listen.len() != target.len() {
        return Err(Problem::Lengths(listen.len(), target.len()));
    }
    let pair = |(listen, port)| Mapping { listen, target: Target { protocol, host: host.clone(), port } };
    Ok(listen.zip(target).map(pair).collect())
}

fn range(text: &str, least: u16) -> Result<RangeInclusive<u16>, Problem> {
    let wrong = || Problem::Port(text.to_owned());
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let number = |digits: &str| {
        // `parse` would take a sign too.
        let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
        digits.parse::<u16>().ok().filter(|_| plain).ok_or_else(wrong)
    };
    let (first, last) = (number(first)?, number(last)?);
    if first > last {
        return Err(Problem::Backwards(text.to_owned()));
    }
    if first < least || (first == 0 && last > 0) {
        return Err(wrong());
    }
    let range = first..=last;
    if range.len() > MOST {
        return Err(Problem::TooMany(range.len()));
    }
    Ok(range)
}

fn name(host: &str) -> Result<String, Problem> {
    let wrong = || Problem::Host(host.to_owned());
    if let Some(inner) = host.strip_prefix('[') {
        let address = inner.strip_suffix(']').ok_or_else(wrong)?;
        return address.parse().map(|address: std::net::Ipv6Addr| address.to_string()).map_err(|_| wrong());
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    // 253: the longest name that DNS has.
    let is_name = (1..=253).contains(&host.len()) && host.bytes().all(plain);
    is_name.then(|| host.to_ascii_lowercase()).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(spec: &str) -> Vec<String> {
        let mappings = Mapping::parse(spec).expect("it is right");
        mappings.iter().map(|mapping| format!("{} -> {}", mapping.listen, mapping.target)).collect()
    }

    fn wrong(spec: &str) -> String {
        Mapping::parse(spec).expect_err("it is wrong").to_string()
    }

    #[test]
    fn a_short_form_means_the_same_port_of_the_agents_own_computer() {
        assert_eq!(shown("tcp/9796"), ["9796 -> tcp/localhost:9796"]);
        assert_eq!(shown("UDP/53"), ["53 -> udp/localhost:53"]);
        assert_eq!(shown("tcp/8080:9796"), ["8080 -> tcp/localhost:9796"]);
        assert_eq!(shown("tcp/8080:Web.example:80"), ["8080 -> tcp/web.example:80"]);
        assert_eq!(shown("tcp/0:[0::1]:80"), ["0 -> tcp/[::1]:80"]);
    }

    #[test]
    fn ranges_lead_to_ranges() {
        assert_eq!(shown("udp/10-11:h:20-21"), ["10 -> udp/h:20", "11 -> udp/h:21"]);
        assert_eq!(shown("tcp/1-1024").len(), 1024);
        assert_eq!(wrong("tcp/1-2:3-5"), "read `tcp/1-2:3-5`: 2 ports here cannot lead to 3 there");
        assert_eq!(wrong("tcp/9-8"), "read `tcp/9-8`: the range `9-8` runs backwards");
        assert!(wrong("tcp/1-1025").contains("1025 ports are more than the 1024 of one range"));
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert!(wrong("9796").contains("begins with `tcp/` or `udp/`"));
        assert!(wrong("sctp/9").contains("begins with `tcp/` or `udp/`"));
        for port in
            ["tcp/0", "tcp/", "tcp/65536", "tcp/+80", "tcp/8:h:", "tcp/0-5:1-6", "tcp/8:h:-", "tcp/8:0"]
        {
            assert!(wrong(port).contains("is not a port"), "{port}");
        }
        for host in ["tcp/8:::1:80", "tcp/8:[::1:80", "tcp/8::80", "tcp/8:a b:80", "tcp/8:[1.2.3.4]:80"] {
            assert!(wrong(host).contains("neither a name nor an address"), "{host}");
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(spec in ".*") {
            drop(Mapping::parse(&spec));
        }

        #[test]
        fn what_looks_nearly_right_never_gives_port_0_there(spec in "(tcp|udp)/[0-9:\\-\\[\\]a-z.]{0,24}") {
            for mapping in Mapping::parse(&spec).unwrap_or_default() {
                prop_assert!(mapping.target.port > 0 && !mapping.target.host.is_empty());
            }
        }

        #[test]
        fn a_target_is_read_as_it_is_shown(listen: u16, port in 1_u16.., host in "[a-z][a-z0-9.]{0,20}") {
            let spec = format!("tcp/{listen}:{host}:{port}");
            let target = Target { protocol: Protocol::Tcp, host, port };
            prop_assert_eq!(Mapping::parse(&spec), Ok(vec![Mapping { listen, target }]));
        }
    }
}
