//! Networks, in network namespaces of the test's own: never in the machine's.

mod existing;
mod faults;
pub(crate) mod namespace;
mod own;

/// The bridge that the pools of these tests are on; end of a pool's document.
pub(crate) const BRIDGE: &str = "  network: {bridge: {name: wbr0, subnet: 10.77.0.0/24}}\n";

/// A machine's address, as others reach it.
pub(crate) fn address(lab: &crate::lab::Lab, name: &str) -> String {
    let machine = lab.machine(name);
    machine["status"]["addresses"][0].as_str().unwrap_or_else(|| panic!("{machine:#}")).to_owned()
}
