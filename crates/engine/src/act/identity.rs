//! Who a machine is: its keys, and the seed that tells them to its guest.

use std::path::{Path, PathBuf};

use winstead_guest::{keys, seed};
use winstead_spec::SeedKind;

use super::{Actor, Failure, Job};
use crate::{MachineRecord, configure, machine::Role};

impl Actor {
    /// Writes what a machine takes its identity from; a template gets what all that start from it have in common.
    pub(super) async fn write_seed(&self, job: &mut Job) -> Result<(), Failure> {
        let identity = match job.record.role {
            Role::Machine => Some(self.identity(&job.record)?),
            Role::Template => None,
        };
        if let Some(identity) = &identity {
            job.record.host_key.clone_from(&identity.host_key.public_openssh);
            self.journal.update(&job.record).await?;
        }
        let folder = self.home.machine(&job.record.name);
        let path = match (job.record.image.seed, identity) {
            (SeedKind::FwCfg, Some(identity)) => {
                write_private(&folder.join("seed.tar"), &seed::tar(&identity)?)?
            }
            (SeedKind::FwCfg, None) => {
                let network = configure::neutral_network(&job.record);
                let seed = seed::neutral_tar(*job.record.uid.as_bytes(), &network)?;
                write_private(&folder.join("seed.tar"), &seed)?
            }
            (SeedKind::NoCloud, Some(identity)) => {
                let path = folder.join("seed.iso");
                seed::nocloud_iso(&identity, &path, &self.stop).await?;
                path
            }
            (SeedKind::NoCloud, None) | (SeedKind::None, _) => return Ok(()),
        };
        if let Some(user) = self.users.run_as(&job.record) {
            std::os::unix::fs::lchown(&path, Some(user.uid), Some(user.gid))?;
        }
        Ok(())
    }

    /// Who a machine is; its keys are made if they are not there.
    pub(crate) fn identity(&self, record: &MachineRecord) -> Result<seed::Identity, Failure> {
        let client = keys::ensure_client_key(&self.home.ssh())?;
        let host_key = keys::ensure_key(&self.home.host_key(&record.name), &record.name.to_string())?;
        Ok(configure::identity(record, host_key, &client))
    }
}

fn write_private(path: &Path, contents: &[u8]) -> Result<PathBuf, Failure> {
    keys::write_private(path, contents)?;
    Ok(path.to_owned())
}
