//! A disk that boots by UEFI: partition table, EFI system partition with a boot loader, and room for the root.
//!
//! Made without loop devices, mounts or rights: sfdisk and mtools work on plain files.

use std::path::Path;

use fs_err as fs;
use tokio_util::sync::CancellationToken;
use winstead_process::{Command, CommandError};
use winstead_spec::ByteSize;

/// Partitions begin at whole MiB, as every partitioner does.
const ALIGNMENT: ByteSize = ByteSize::from_mib(1);
/// Room for a kernel and an initial RAM disk, twice.
const BOOT_SIZE: ByteSize = ByteSize::from_mib(64);
/// The partition table's copy at the end: 33 sectors (UEFI 2.10, 5.3.1), rounded up.
const TABLE_COPY: ByteSize = ByteSize::from_bytes(64 * 1024);

/// Where everything lies on a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) size: ByteSize,
    pub(crate) boot: Extent,
    pub(crate) root: Extent,
}

/// A part of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) start: ByteSize,
    pub(crate) size: ByteSize,
}

impl Layout {
    /// The layout of a disk of `size`; `None` when it is too small to hold anything.
    pub(crate) fn of(size: ByteSize) -> Option<Self> {
        let boot = Extent { start: ALIGNMENT, size: BOOT_SIZE };
        let start = boot.start + boot.size;
        let room = size - start - TABLE_COPY;
        // Whole KiB: the unit in which mke2fs takes a size.
        let room = ByteSize::from_bytes(room.bytes() / 1024 * 1024);
        (room > BOOT_SIZE).then_some(Self { size, boot, root: Extent { start, size: room } })
    }

    /// What sfdisk reads. `U` is the type of an EFI system partition, `L` of Linux data.
    fn script(&self) -> String {
        let sectors = |size: ByteSize| size.bytes() / 512;
        let line = |extent: Extent, kind: &str, name: &str| {
            format!(
                "start={}, size={}, type={kind}, name={name}\n",
                sectors(extent.start),
                sectors(extent.size)
            )
        };
        format!("label: gpt\n{}{}", line(self.boot, "U", "boot"), line(self.root, "L", "root"))
    }
}

/// What goes into the EFI system partition.
#[derive(Clone, Debug)]
pub(crate) struct BootFiles<'a> {
    /// systemd-boot's program.
    pub(crate) loader: &'a Path,
    /// A bzImage.
    pub(crate) kernel: &'a Path,
    /// Our initial RAM disk.
    pub(crate) initrd: &'a Path,
    /// The kernel's command line.
    pub(crate) command_line: &'a str,
}

/// Writes the partition table and the EFI system partition into `disk`, whose root is there already. `scratch` takes
/// two small files.
///
/// # Errors
/// When a tool fails.
pub(crate) async fn make_bootable(
    disk: &Path,
    layout: &Layout,
    files: &BootFiles<'_>,
    scratch: &Path,
    stop: &CancellationToken,
) -> Result<(), CommandError> {
    let partition = Command::new("sfdisk").args(["--quiet", "--no-reread", "--no-tell-kernel"]).arg(disk);
    partition.input(layout.script()).run(stop).await?;
    // mtools finds a file system inside a file behind `@@OFFSET`.
    let boot = format!("{}@@{}", disk.display(), layout.boot.start.bytes());
    let sectors = (layout.boot.size.bytes() / 512).to_string();
    mtools("mformat")
        .args(["-i", &boot, "-T", &sectors, "-h", "16", "-s", "32", "-v", "BOOT", "::"])
        .run(stop)
        .await?;
    let folders = ["::/EFI", "::/EFI/BOOT", "::/loader", "::/loader/entries"];
    mtools("mmd").args(["-i", &boot]).args(folders).run(stop).await?;
    let (settings, entry) = (scratch.join("loader.conf"), scratch.join("winstead.conf"));
    write(&settings, "timeout 0\neditor no\n")?;
    write(&entry, &entry_text(files.command_line))?;
    for (from, to) in [
        (files.loader, "::/EFI/BOOT/BOOTX64.EFI"),
        (files.kernel, "::/vmlinuz"),
        (files.initrd, "::/initrd"),
        (&settings, "::/loader/loader.conf"),
        (&entry, "::/loader/entries/winstead.conf"),
    ] {
        mtools("mcopy").args(["-i", &boot]).arg(from).arg(to).run(stop).await?;
    }
    Ok(())
}

/// A boot loader specification entry (type 1).
fn entry_text(command_line: &str) -> String {
    format!("title Winstead\nlinux /vmlinuz\ninitrd /initrd\noptions {command_line}\n")
}

/// mtools without the user's settings, and without its check that a "disk" has plausible geometry.
fn mtools(program: &str) -> Command {
    Command::new(program).env("MTOOLSRC", "/dev/null").env("MTOOLS_SKIP_CHECK", "1")
}

fn write(path: &Path, text: &str) -> Result<(), CommandError> {
    fs::write(path, text).map_err(|error| CommandError {
        command: format!("write {}", path.display()),
        failure: winstead_process::Failure::Io(error),
        said: String::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_partitions_fit_and_leave_room_for_the_second_table() {
        let layout = Layout::of(ByteSize::from_mib(4096)).unwrap();
        insta::assert_snapshot!(layout.script(), @r"
        label: gpt
        start=2048, size=131072, type=U, name=boot
        start=133120, size=8255360, type=L, name=root
        ");
        assert!((layout.root.start + layout.root.size + ByteSize::from_bytes(33 * 512)) <= layout.size);
        assert_eq!(Layout::of(ByteSize::from_mib(100)), None);
    }
}
