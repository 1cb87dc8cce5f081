//! What a machine writes beside its disk, and keeps over a restart: its UEFI variables and its TPM's state.

use std::{io, path::Path};

use super::{
    config::{TPM_FOLDER, VARIABLES},
    firmware::Firmware,
    launch,
};

/// The variables while they are copied: half a variable store would be taken for a whole one.
const HALF: &str = "vars.fd.half";

/// Gives a machine variables of its own, from the firmware's template, unless it has some.
pub(crate) fn make_variables(folder: &Path, firmware: Firmware) -> io::Result<()> {
    let variables = folder.join(VARIABLES);
    if fs_err::symlink_metadata(&variables).is_ok() {
        return Ok(());
    }
    let half = folder.join(HALF);
    launch::forget(&half)?;
    fs_err::copy(firmware.variables, &half)?;
    fs_err::rename(&half, &variables)
}

/// Puts what a machine keeps beside its disk back to golden: a boot entry, a key enrolled for secure boot or a secret
/// in the TPM is a change like one on the disk. Call it while the machine does not run. Links in the folder are
/// removed, not followed; can run twice.
///
/// # Errors
/// When a file cannot be removed.
pub fn forget_state(folder: &Path) -> io::Result<()> {
    launch::forget(&folder.join(VARIABLES))?;
    launch::forget(&folder.join(HALF))?;
    match fs_err::remove_dir_all(folder.join(TPM_FOLDER)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_variable_and_a_changed_tpm_do_not_survive() {
        let root = tempfile::tempdir().unwrap();
        let (folder, template) = (root.path().join("run"), root.path().join("template"));
        fs_err::create_dir_all(folder.join(TPM_FOLDER)).unwrap();
        fs_err::write(&template, "golden").unwrap();
        let template: &'static str = template.to_str().unwrap().to_owned().leak();
        let firmware = Firmware { code: template, variables: template };
        let variables = || fs_err::read(folder.join(VARIABLES)).unwrap();
        make_variables(&folder, firmware).unwrap();
        fs_err::write(folder.join(VARIABLES), "changed").unwrap();
        make_variables(&folder, firmware).unwrap();
        assert_eq!(variables(), b"changed", "a restart keeps them");

        fs_err::write(folder.join(TPM_FOLDER).join("tpm2-00.permall"), "a secret").unwrap();
        fs_err::write(folder.join("console.log"), "not ours").unwrap();
        forget_state(&folder).unwrap();
        forget_state(&folder).unwrap();
        assert!(!folder.join(TPM_FOLDER).exists() && folder.join("console.log").exists());
        make_variables(&folder, firmware).unwrap();
        assert_eq!(variables(), b"golden");
    }

    #[test]
    fn a_link_in_place_of_the_tpms_folder_leads_nowhere() {
        let root = tempfile::tempdir().unwrap();
        let elsewhere = root.path().join("elsewhere");
        fs_err::create_dir(&elsewhere).unwrap();
        fs_err::write(elsewhere.join("kept"), "").unwrap();
        fs_err::os::unix::fs::symlink(&elsewhere, root.path().join(TPM_FOLDER)).unwrap();
        forget_state(root.path()).unwrap();
        assert!(elsewhere.join("kept").exists() && !root.path().join(TPM_FOLDER).exists());
    }
}
