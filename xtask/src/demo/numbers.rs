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
    let header = ["machine", "guest RAM", "disk's cap", "QEMU holds", "disk holds", "together"];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    rows.extend(machines.iter().map(row));
    let below = |what: &str, qemu: Option<u64>, disk: u64| {
        let cells = [qemu.map(bytes).unwrap_or_default(), bytes(disk), bytes(qemu.unwrap_or(0) + disk)];
        [what.to_owned(), String::new(), String::new()].into_iter().chain(cells).collect::<Vec<_>>()
    };
    rows.push(below("image, shared by all", None, base));
    let resident: u64 = machines.iter().filter_map(|machine| machine.status.memory.resident_bytes).sum();
    let disks: u64 = machines.iter().map(|machine| machine.status.disk.used_bytes).sum();
    rows.push(below("all", Some(resident), disks + base));
    table(&rows)
}

fn row(machine: &Machine) -> Vec<String> {
    let (memory, disk) = (&machine.status.memory, &machine.status.disk);
    let known = |size: Option<u64>| size.map_or_else(|| "unknown".to_owned(), bytes);
    vec![
        machine.metadata.name.clone(),
        bytes(memory.guest_bytes),
        bytes(disk.cap_bytes),
        known(memory.resident_bytes),
        bytes(disk.used_bytes),
        known(memory.resident_bytes.map(|resident| resident + disk.used_bytes)),
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
                disk: Disk { cap_bytes: 64 << 20, used_bytes: 3 << 20 },
                memory: Memory { guest_bytes: 384 << 20, resident_bytes },
            },
        };
        let machines = [machine("a-0", Some(350 << 20)), machine("a-1", None)];
        insta::assert_snapshot!(memory(&machines, 300 << 20), @r"
        machine               guest RAM  disk's cap  QEMU holds  disk holds   together
        a-0                   384.0 MiB    64.0 MiB   350.0 MiB     3.0 MiB  353.0 MiB
        a-1                   384.0 MiB    64.0 MiB     unknown     3.0 MiB    unknown
        image, shared by all                                      300.0 MiB  300.0 MiB
        all                                           350.0 MiB   306.0 MiB  656.0 MiB
        ");
    }
}
