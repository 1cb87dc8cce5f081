//! What Windows' HNS says of a container network, in the schema of HCN version 2 or of HNS before it, and what old clients
//! want of it.
//!
//! Not yet run on the real thing: the documents in the tests are written by hand, after Microsoft's schema.

use serde::Deserialize;
use winstead_protocol::wins::{HnsNetwork, HnsNetworkSubnet};

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Network {
    #[serde(rename = "ID")]
    id: String,
    name: String,
    #[serde(rename = "Type")]
    kind: String,
    ipams: Vec<Ipam>,
    policies: Vec<Policy>,
    /// As it was before version 2.
    subnets: Vec<OldSubnet>,
    /// As above.
    #[serde(rename = "ManagementIP")]
    management_ip: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct OldSubnet {
    address_prefix: String,
    gateway_address: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Ipam {
    subnets: Vec<Subnet>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Subnet {
    ip_address_prefix: String,
    routes: Vec<Route>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Route {
    next_hop: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Policy {
    #[serde(rename = "Type")]
    kind: String,
    settings: serde_json::Value,
}

/// Returns a network's name, and what old clients are told of it. A subnet without routes has no gateway: the old server
/// broke at it.
///
/// # Errors
/// When it is no such document.
pub(crate) fn parse(text: &str) -> Result<(String, HnsNetwork), serde_json::Error> {
    let network: Network = serde_json::from_str(text)?;
    let subnet = |subnet: Subnet| HnsNetworkSubnet {
        address_cidr: subnet.ip_address_prefix,
        gateway_address: subnet.routes.into_iter().next().map(|route| route.next_hop).unwrap_or_default(),
    };
    let old_subnet = |subnet: OldSubnet| HnsNetworkSubnet {
        address_cidr: subnet.address_prefix,
        gateway_address: subnet.gateway_address,
    };
    let provider = network.policies.iter().find(|policy| policy.kind == "ProviderAddress");
    let address = provider.and_then(|policy| policy.settings.get("ProviderAddress")?.as_str());
    let subnets = network.ipams.into_iter().flat_map(|ipam| ipam.subnets).map(subnet);
    let answer = HnsNetwork {
        id: network.id,
        r#type: network.kind,
        subnets: subnets.chain(network.subnets.into_iter().map(old_subnet)).collect(),
        management_ip: address.map_or(network.management_ip, str::to_owned),
    };
    Ok((network.name, answer))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OVERLAY: &str = r#"{"ID":"7F1C0E5B-1111-4C5A-9B0A-0123456789AB","Name":"vxlan0","Type":"Overlay",
        "Policies":[{"Type":"ProviderAddress","Settings":{"ProviderAddress":"10.0.0.5"}},{"Type":"OutBoundNAT"}],
        "Ipams":[{"Type":"Static","Subnets":[
            {"IpAddressPrefix":"10.42.1.0/24","Routes":[{"NextHop":"10.42.1.1","DestinationPrefix":"0.0.0.0/0"}]},
            {"IpAddressPrefix":"10.43.0.0/24"}]}],
        "SchemaVersion":{"Major":2,"Minor":0}}"#;

    #[test]
    fn a_network_is_told_as_old_clients_read_it_also_without_routes() {
        let (name, network) = parse(OVERLAY).expect("a network");
        assert_eq!((&*name, &*network.r#type, &*network.management_ip), ("vxlan0", "Overlay", "10.0.0.5"));
        let subnets = network.subnets.iter().map(|subnet| (&*subnet.address_cidr, &*subnet.gateway_address));
        assert_eq!(subnets.collect::<Vec<_>>(), [("10.42.1.0/24", "10.42.1.1"), ("10.43.0.0/24", "")]);
    }

    #[test]
    fn a_network_of_the_first_version_is_told_likewise() {
        let (name, network) = parse(
            r#"{"ID":"1","Name":"nat","Type":"nat","ManagementIP":"10.0.0.5","Policies":[],
            "Subnets":[{"AddressPrefix":"172.16.0.0/12","GatewayAddress":"172.16.0.1"}]}"#,
        )
        .expect("a network");
        let [subnet] = &*network.subnets else { panic!("one subnet: {network:?}") };
        assert_eq!((&*name, &*network.management_ip), ("nat", "10.0.0.5"));
        assert_eq!((&*subnet.address_cidr, &*subnet.gateway_address), ("172.16.0.0/12", "172.16.0.1"));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text: String) {
            drop(parse(&text));
        }
    }
}
