//! Lists in one argument, as the old command line has them. Pure.

use winstead_protocol::wins::{ProcessExpose, RunExposeProtocol};

/// Ports that one list may name: each becomes a message's part.
const MOST_PORTS: usize = 4096;

/// A list is not one. Display is a fragment after "failed to".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    /// A quote is opened and not closed.
    #[error("read the list {0:?}: a quote is not closed")]
    Quote(String),
    /// Not `TCP:80`, not `TCP:80-90`.
    #[error("read {0:?} as ports: write TCP:80 or UDP:4789-4800, each at most 65535")]
    Ports(String),
    /// Only TCP can be published.
    #[error("publish {0:?}: only TCP can be")]
    NotTcp(String),
    /// Nobody means that.
    #[error("name more than {MOST_PORTS} ports")]
    TooMany,
}

/// Splits at single spaces that are in no quotes, of either kind. Quotes stay in the value and there is no escape; two
/// spaces have an empty element between them.
///
/// # Errors
/// When a quote is not closed.
pub fn split(text: &str) -> Result<Vec<String>, ListError> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let (mut items, mut item, mut quote) = (Vec::new(), String::new(), None);
    for c in text.chars() {
        match quote {
            None if c == ' ' => {
                items.push(std::mem::take(&mut item));
                continue;
            }
            None if matches!(c, '"' | '\'') => quote = Some(c),
            Some(open) if open == c => quote = None,
            _ => {}
        }
        item.push(c);
    }
    items.push(item);
    if quote.is_some() { Err(ListError::Quote(text.to_owned())) } else { Ok(items) }
}

/// Ports that a process opens: `TCP:80 UDP:4789-4800`. A word that is no protocol is TCP, as it always was.
///
/// # Errors
/// When an item names no ports.
pub fn exposes(text: &str) -> Result<Vec<ProcessExpose>, ListError> {
    let mut exposes = Vec::new();
    for item in split(text)? {
        let (protocol, ports) = ports(&item)?;
        let protocol = match protocol.eq_ignore_ascii_case("udp") {
            true => RunExposeProtocol::Udp,
            false => RunExposeProtocol::Tcp,
        };
        let expose = |port| ProcessExpose { port: i32::from(port), protocol: protocol.into() };
        exposes.extend(ports.map(expose));
        if exposes.len() > MOST_PORTS {
            return Err(ListError::TooMany);
        }
    }
    Ok(exposes)
}

/// Ports to publish: `TCP:9796 TCP:80-90`.
///
/// # Errors
/// When an item names no ports of TCP.
pub fn publishes(text: &str) -> Result<Vec<u16>, ListError> {
    let mut published = Vec::new();
    for item in split(text)? {
        let (protocol, ports) = ports(&item)?;
        if !protocol.eq_ignore_ascii_case("tcp") {
            return Err(ListError::NotTcp(item));
        }
        published.extend(ports);
        if published.len() > MOST_PORTS {
            return Err(ListError::TooMany);
        }
    }
    Ok(published)
}

fn ports(item: &str) -> Result<(&str, std::ops::RangeInclusive<u16>), ListError> {
    let read = || {
        let (protocol, ports) = item.split_once(':')?;
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            if digits { text.parse::<u16>().ok() } else { None }
        };
        let range = match ports.split_once('-') {
            None => number(ports)?..=number(ports)?,
            Some((low, high)) => number(low)?..=number(high)?,
        };
        let rising = !ports.contains('-') || range.start() < range.end();
        rising.then_some((protocol, range))
    };
    read().ok_or_else(|| ListError::Ports(item.to_owned()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lists_are_split_as_the_old_client_split_them() {
        let read = |text| split(text).expect("a list");
        assert_eq!(read(r#"--a b A="x y" 'c d'"#), ["--a", "b", "A=\"x y\"", "'c d'"]);
        assert_eq!(read("a  b"), ["a", "", "b"]);
        assert_eq!(read(" a "), ["", "a", ""]);
        assert_eq!(read("\"it's one\""), ["\"it's one\""]);
        assert!(read("").is_empty());
        assert_eq!(split("a \"b"), Err(ListError::Quote("a \"b".to_owned())));
    }

    #[test]
    fn ports_are_single_or_from_low_to_high() {
        let told = |text| {
            let ports = exposes(text).expect("ports");
            ports.iter().map(|expose| (expose.port, expose.protocol().as_str_name())).collect::<Vec<_>>()
        };
        assert_eq!(told("TCP:80 udp:4789-4790"), [(80, "TCP"), (4789, "UDP"), (4790, "UDP")]);
        assert_eq!(told("SCTP:1"), [(1, "TCP")], "as it always was");
        for wrong in ["80", "TCP:", "TCP:2-1", "TCP:2-2", "TCP:65536", "TCP:-1", "TCP:+1", "TCP:1 "] {
            assert!(exposes(wrong).is_err(), "{wrong}");
        }
        assert_eq!(publishes("TCP:0-2"), Ok(vec![0, 1, 2]));
        assert_eq!(publishes("UDP:53"), Err(ListError::NotTcp("UDP:53".to_owned())));
        assert_eq!(exposes("TCP:0-65535"), Err(ListError::TooMany));
    }

    proptest! {
        #[test]
        fn what_is_split_joins_to_what_it_was(text in "[ab \"'=]{1,40}") {
            if let Ok(items) = split(&text) {
                prop_assert_eq!(items.join(" "), text);
            }
        }

        #[test]
        fn any_text_is_a_list_or_refused(text: String) {
            drop(exposes(&text));
            drop(publishes(&text));
        }
    }
}
