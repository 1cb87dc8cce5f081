//! Validated values that the file holds as text, and how the schema describes them.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use crate::{ByteSize, IpNet, Name, PortRange, PortTarget, Sha256, Span, Subnet, format::Format};

/// A size as the file has it; [`ByteSize`] itself is a plain number in the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) ByteSize);

/// A length of time as the file has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Time(pub(crate) Span);

/// A network of either family as the file has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cidr(pub(crate) IpNet);

impl Size {
    pub(crate) const fn from_mib(mib: u64) -> Self {
        Self(ByteSize::from_mib(mib))
    }
}

impl Serialize for Size {
    /// Exact, in the largest unit that divides it: `2GiB`.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const UNITS: [(&str, u32); 4] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
        let bytes = self.0.bytes();
        let divides = |shift: u32| bytes != 0 && bytes.trailing_zeros() >= shift;
        match UNITS.into_iter().find(|(_, shift)| divides(*shift)) {
            Some((unit, shift)) => serializer.collect_str(&format_args!("{}{unit}", bytes >> shift)),
            None => serializer.collect_str(&format_args!("{bytes}B")),
        }
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map(Self).map_err(D::Error::custom)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map(Self).map_err(D::Error::custom)
    }
}

impl Serialize for Cidr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Cidr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map(Self).map_err(D::Error::custom)
    }
}

/// Describes a type as a text of one format, in place: editors show it where it is used.
macro_rules! described_as_text {
    ($($type:ty, $name:literal, $format:expr;)*) => {$(
        impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "format": $name, "pattern": $format.pattern() })
            }
        }
    )*};
}

described_as_text! {
    Size, "byte-size", Format::Size;
    Time, "time-span", Format::Time;
    Name, "name", Format::Name;
    Sha256, "sha256", Format::Sha256;
    Subnet, "ipv4-network", Format::Subnet;
    Cidr, "ip-network", Format::Cidr;
    PortRange, "port-range", Format::Ports;
    PortTarget, "port-target", Format::Target;
}
