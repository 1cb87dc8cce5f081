//! Answers as the old client printed them: compact, without a line's end, nothing that is empty, the names of the
//! messages' fields as keys.

use serde_json::{Map, Value, json};
use winstead_protocol::wins::{ApplicationInfo, HnsNetwork, HostVersion, NetworkAdapter};

/// Both programs.
pub(super) fn info(client: &ApplicationInfo, server: &ApplicationInfo) -> Value {
    let told = |info: &ApplicationInfo| {
        object([("Checksum", &info.checksum), ("Version", &info.version), ("Commit", &info.commit)])
    };
    json!({"Client": told(client), "Server": told(server)})
}

/// A system's version.
pub(super) fn version(version: &HostVersion) -> Value {
    object([
        ("CurrentMajorVersionNumber", &version.current_major_version_number),
        ("CurrentMinorVersionNumber", &version.current_minor_version_number),
        ("CurrentBuildNumber", &version.current_build_number),
        ("UBR", &version.ubr),
        ("ReleaseId", &version.release_id),
        ("BuildLabEx", &version.build_lab_ex),
        ("CurrentBuild", &version.current_build),
    ])
}

/// An adapter.
pub(super) fn adapter(adapter: &NetworkAdapter) -> Value {
    object([
        ("InterfaceIndex", &adapter.interface_index),
        ("GatewayAddress", &adapter.gateway_address),
        ("SubnetCIDR", &adapter.subnet_cidr),
        ("HostName", &adapter.host_name),
        ("AddressCIDR", &adapter.address_cidr),
    ])
}

/// A container network.
pub(super) fn network(network: &HnsNetwork) -> Value {
    let subnet = |subnet: &winstead_protocol::wins::HnsNetworkSubnet| {
        object([("AddressCIDR", &subnet.address_cidr), ("GatewayAddress", &subnet.gateway_address)])
    };
    let mut answer = object([("ID", &network.id), ("Type", &network.r#type)]);
    if let (Value::Object(map), false) = (&mut answer, network.subnets.is_empty()) {
        map.insert("Subnets".to_owned(), network.subnets.iter().map(subnet).collect());
    }
    if let (Value::Object(map), false) = (&mut answer, network.management_ip.is_empty()) {
        map.insert("ManagementIP".to_owned(), network.management_ip.clone().into());
    }
    answer
}

fn object<const N: usize>(fields: [(&str, &String); N]) -> Value {
    let filled = fields.into_iter().filter(|(_, value)| !value.is_empty());
    Value::Object(filled.map(|(key, value)| (key.to_owned(), value.as_str().into())).collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use winstead_protocol::wins::HnsNetworkSubnet;

    use super::*;

    #[test]
    fn answers_are_compact_and_have_nothing_that_is_empty() {
        let info = ApplicationInfo {
            checksum: "ab".to_owned(),
            version: "v0.1.0".to_owned(),
            commit: String::new(),
        };
        let expected = r#"{"Client":{"Checksum":"ab","Version":"v0.1.0"},"Server":{}}"#;
        assert_eq!(super::info(&info, &ApplicationInfo::default()).to_string(), expected);
        let adapter = NetworkAdapter {
            interface_index: "7".to_owned(),
            subnet_cidr: "10.170.0.0/20".to_owned(),
            ..NetworkAdapter::default()
        };
        assert_eq!(
            super::adapter(&adapter).to_string(),
            r#"{"InterfaceIndex":"7","SubnetCIDR":"10.170.0.0/20"}"#
        );
        let subnet =
            HnsNetworkSubnet { address_cidr: "10.0.0.0/8".to_owned(), ..HnsNetworkSubnet::default() };
        let network = HnsNetwork { id: "1".to_owned(), subnets: vec![subnet], ..HnsNetwork::default() };
        assert_eq!(
            super::network(&network).to_string(),
            r#"{"ID":"1","Subnets":[{"AddressCIDR":"10.0.0.0/8"}]}"#
        );
    }
}
