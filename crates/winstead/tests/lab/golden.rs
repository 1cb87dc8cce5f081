//! What golden means: nothing that a machine changed is there after a reset, also what lies beside its disk.

use crate::lab::{Lab, pool, ram};

/// The tiny guest needs neither firmware variables nor a TPM, so what is found after the reset can only be the old.
#[test]
fn firmware_variables_and_the_tpms_state_do_not_survive_a_reset() {
    let lab = Lab::new();
    lab.up(&lab.file(&pool("golden", 1, &ram("24MiB"))));
    let run = lab.home().join("machines/golden-0/run");
    fs_err::create_dir(run.join("tpm")).unwrap();
    let changed = [run.join("vars.fd"), run.join("tpm/tpm2-00.permall")];
    for file in &changed {
        fs_err::write(file, "changed by the guest").unwrap();
    }
    lab.ok(&["reset", "golden-0"]);
    for file in &changed {
        assert!(!file.exists(), "{} survived the reset", file.display());
    }
    lab.ok(&["down", "--all"]);
    lab.assert_nothing_left();
}
