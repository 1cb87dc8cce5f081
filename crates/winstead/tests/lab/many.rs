//! More machines than cores: they start in turns, and whoever waits for its turn is not taken for dead.

use crate::lab::{Lab, pool, ram};

#[test]
fn a_pool_larger_than_the_cores_is_reset_whole() {
    let lab = Lab::new();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let replicas = u32::try_from(cores + 2).unwrap();
    lab.up(&lab.file(&pool("many", replicas, &ram("24MiB"))));
    let ready = vec!["Ready"; cores + 2];
    assert_eq!(lab.phases(), ready);
    lab.ok(&["reset", "many"]);
    assert_eq!(lab.phases(), ready);
    for machine in lab.machines() {
        assert_eq!(machine["status"]["generation"], 2, "{machine:#}");
    }
    lab.ok(&["down", "--all"]);
    lab.assert_nothing_left();
}
