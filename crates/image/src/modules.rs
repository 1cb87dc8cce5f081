//! Which kernel modules an initial RAM disk needs, and in which order they load: read from `modules.dep` and
//! `modules.builtin`, so that the host needs no kmod.

use std::{
    collections::HashMap,
    io::{self, Read},
    path::{Path, PathBuf},
};

use fs_err as fs;

/// Modules that could not be collected.
#[derive(Debug, thiserror::Error)]
pub enum ModulesError {
    /// The kernel has no such module.
    #[error("find the module {name} in {archive}")]
    Missing {
        /// Its name.
        name: String,
        /// The kernel's modules.
        archive: PathBuf,
    },
    /// The archive cannot be read, or a module in it cannot be unpacked.
    #[error("read the kernel's modules in {archive}")]
    Io {
        /// The kernel's modules.
        archive: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A module ready to load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// Its file name, `virtio_blk.ko`.
    pub name: String,
    /// The module itself, unpacked: busybox's insmod knows no compression, and an initial RAM disk is read once.
    pub bytes: Vec<u8>,
}

/// The modules that `required` and, where the kernel has them, `optional` need, in loading order. What is built into
/// the kernel needs nothing. `archive` is a tar of `lib/modules/VERSION`.
///
/// # Errors
/// When a required module is missing, or the archive cannot be read.
pub fn collect(archive: &Path, required: &[&str], optional: &[&str]) -> Result<Vec<Module>, ModulesError> {
    let failed = |source| ModulesError::Io { archive: archive.to_owned(), source };
    let lists = pick(archive, &["modules.dep".to_owned(), "modules.builtin".to_owned()]).map_err(failed)?;
    let text =
        |name: &str| String::from_utf8_lossy(lists.get(name).map_or(&[][..], Vec::as_slice)).into_owned();
    let order = loading_order(&text("modules.dep"), &text("modules.builtin"), required, optional);
    let order = order.map_err(|name| ModulesError::Missing { name, archive: archive.to_owned() })?;
    let packed = pick(archive, &order).map_err(failed)?;
    let module = |path: &String| match packed.get(path.as_str()) {
        Some(bytes) => unpack(path, bytes).map_err(failed),
        None => Err(ModulesError::Missing { name: path.clone(), archive: archive.to_owned() }),
    };
    order.iter().map(module).collect()
}

/// Members of a tar archive by their path.
fn pick(archive: &Path, wanted: &[String]) -> io::Result<HashMap<String, Vec<u8>>> {
    let mut found = HashMap::new();
    for entry in tar::Archive::new(io::BufReader::new(fs::File::open(archive)?)).entries()? {
        let mut entry = entry?;
        let path = entry.path()?.to_string_lossy().trim_start_matches("./").to_owned();
        if wanted.contains(&path) {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes)?;
            found.insert(path, bytes);
        }
    }
    Ok(found)
}

/// Paths relative to the modules' folder, each after what it needs.
fn loading_order(
    dependencies: &str,
    built_in: &str,
    required: &[&str],
    optional: &[&str],
) -> Result<Vec<String>, String> {
    let table: HashMap<String, (&str, Vec<&str>)> = dependencies
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(path, needs)| (module_name(path), (path, needs.split_whitespace().collect())))
        .collect();
    let mut order: Vec<String> = Vec::new();
    for (name, must) in
        required.iter().map(|name| (name, true)).chain(optional.iter().map(|name| (name, false)))
    {
        match table.get(*name) {
            // depmod(8) lists the whole closure, what must be loaded first standing last.
            Some((path, needs)) => {
                for path in needs.iter().rev().chain([path]) {
                    if !order.iter().any(|known| known == path) {
                        order.push((*path).to_owned());
                    }
                }
            }
            None if must && !built_in.lines().any(|path| module_name(path) == *name) => {
                return Err((*name).to_owned());
            }
            None => {}
        }
    }
    Ok(order)
}

/// `kernel/fs/ext4/ext4.ko.xz` → `ext4`; the kernel takes `-` and `_` in names as the same.
fn module_name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split('.').next().unwrap_or(file).replace('-', "_")
}

fn unpack(path: &str, packed: &[u8]) -> io::Result<Module> {
    let mut bytes = Vec::new();
    match path.rsplit('.').next() {
        Some("xz") => drop(liblzma::read::XzDecoder::new(packed).read_to_end(&mut bytes)?),
        Some("zst") => drop(zstd::Decoder::new(packed)?.read_to_end(&mut bytes)?),
        _ => bytes.extend_from_slice(packed),
    }
    Ok(Module { name: format!("{}.ko", module_name(path)), bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines of Debian 13's 6.12 cloud kernel.
    const DEPENDENCIES: &str = "\
kernel/drivers/block/virtio_blk.ko.xz:
kernel/drivers/scsi/sd_mod.ko.xz: kernel/drivers/scsi/scsi_mod.ko.xz kernel/drivers/scsi/scsi_common.ko.xz
kernel/drivers/scsi/scsi_mod.ko.xz: kernel/drivers/scsi/scsi_common.ko.xz
kernel/drivers/net/virtio_net.ko.xz: kernel/drivers/net/net_failover.ko.xz kernel/net/core/failover.ko.xz
";
    const BUILT_IN: &str = "kernel/fs/ext4/ext4.ko\nkernel/drivers/virtio/virtio-pci.ko\n";

    #[test]
    fn modules_stand_after_what_they_need_and_only_once() {
        let order = loading_order(
            DEPENDENCIES,
            BUILT_IN,
            &["virtio_pci", "ext4", "virtio_blk"],
            &["sd_mod", "scsi_mod", "nvme"],
        );
        insta::assert_snapshot!(order.unwrap().join("\n"), @r"
        kernel/drivers/block/virtio_blk.ko.xz
        kernel/drivers/scsi/scsi_common.ko.xz
        kernel/drivers/scsi/scsi_mod.ko.xz
        kernel/drivers/scsi/sd_mod.ko.xz
        ");
    }

    #[test]
    fn a_missing_module_is_named() {
        assert_eq!(loading_order(DEPENDENCIES, BUILT_IN, &["ext4", "xfs"], &[]), Err("xfs".to_owned()));
    }
}
