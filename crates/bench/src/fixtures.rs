//! What the tests of this crate start from.

use winstead_measurement::contention::{Arm, Design, Machine};

/// A design with all arms and without loads.
pub(crate) fn design(agents: &[u32], repeats: u32) -> Design {
    let machine = Machine {
        pool: "agents".to_owned(),
        image: "debian".to_owned(),
        cpus: 1,
        memory_bytes: 1,
        os: "linux".to_owned(),
        spec: serde_json::Value::Null,
    };
    Design {
        machine,
        arms: Arm::ALL.to_vec(),
        agents: agents.to_vec(),
        repeats,
        workloads: Vec::new(),
        disk_limit: None,
        probe: String::new(),
    }
}
