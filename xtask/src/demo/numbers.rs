//! The demo's two tables. Pure.

use std::time::Duration;

use crate::{
    product::Machine,
    report::{bytes, seconds, table},
};

/// The times, one row a step.
#[must_use]
pub(super) fn times(times: &[(String, Duration)]) -> String {
    let rows = times.iter().map(|(what, took)| vec![what.clone(), seconds(*took)]);
    table(&rows.collect::<Vec<_>>())
}

/// What each machine holds, what they share, and the sum.
#[must_use]
pub(super) fn memory(machines: &[Machine], base: u64) -> String {
    let header = ["machine", "phase", "guest RAM", "QEMU resident", "overlay used", "overlay cap"];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    rows.extend(machines.iter().map(row));
    rows.push(vec!["image, shared by all".into(), String::new(), String::new(), String::new(), bytes(base)]);
    let resident: u64 = machines.iter().filter_map(|machine| machine.status.memory.resident_bytes).sum();
    let overlays: u64 = machines.iter().map(|machine| machine.status.disk.used_bytes).sum();
    let sum = [String::new(), String::new(), bytes(resident), bytes(overlays + base)];
    rows.push(std::iter::once("sum".to_owned()).chain(sum).collect());
    table(&rows)
}

fn row(machine: &Machine) -> Vec<String> {
    let status = &machine.status;
    vec![
        machine.metadata.name.clone(),
        status.phase.clone(),
        bytes(status.memory.guest_bytes),
        status.memory.resident_bytes.map_or_else(|| "unknown".to_owned(), bytes),
        bytes(status.disk.used_bytes),
        bytes(status.disk.cap_bytes),
    ]
}

#[cfg(test)]
mod tests {
    use crate::product::{Disk, Memory, Metadata, Status};

    use super::*;

    #[test]
    fn the_sum_counts_the_shared_image_once() {
        let machine = |name: &str, resident_bytes| Machine {
            metadata: Metadata { name: name.into(), uid: String::new() },
            status: Status {
                phase: "Ready".into(),
                disk: Disk { cap_bytes: 64 << 20, used_bytes: 3 << 20 },
                memory: Memory { guest_bytes: 384 << 20, resident_bytes },
            },
        };
        let machines = [machine("a-0", Some(350 << 20)), machine("a-1", None)];
        insta::assert_snapshot!(memory(&machines, 300 << 20), @r"
        machine               phase  guest RAM  QEMU resident  overlay used  overlay cap
        a-0                   Ready  384.0 MiB      350.0 MiB       3.0 MiB     64.0 MiB
        a-1                   Ready  384.0 MiB        unknown       3.0 MiB     64.0 MiB
        image, shared by all                                      300.0 MiB
        sum                                         350.0 MiB     306.0 MiB
        ");
    }
}
