//! Disk images of others: what they are is asked, not believed, and what they point to is refused.
//!
//! A qcow2 or vmdk file can name another file as its backing or data file; whoever opens it reads that file with our
//! rights. So any name is refused. A qcow2 header is read by ourselves first: until 9.1 `qemu-img info` opened the data
//! file that it names before it answered (CVE-2024-4467). Whatever else an image names is what qemu-img says, without
//! opening it as a guest's disk would.

use std::{
    io::{self, Read},
    path::{Path, PathBuf},
    time::Duration,
};

use fs_err as fs;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;
use winstead_process::{Command, CommandError};
use winstead_spec::{ByteSize, DirectKernel, DiskFormat, FileRecipe, Sha256, UrlRecipe};

use crate::{
    build::{Building, Produced},
    digest, download,
    error::{Fault, Need},
    qcow2,
    tools::{self, Tool},
    version::{BUILDER, Provenance},
};

/// Hundreds of GiB on a slow disk.
const CONVERT_DEADLINE: Duration = Duration::from_secs(6 * 3600);

/// A disk image that is not used.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// It points to another file.
    #[error("use {path}: it refers to another file, {refers_to:?}, which may be any file of this computer")]
    RefersElsewhere {
        /// The image.
        path: PathBuf,
        /// What it names.
        refers_to: String,
    },
    /// A container that is not known here.
    #[error("use {path}: its format {found} is none of raw, qcow2, vhdx, vmdk")]
    UnknownFormat {
        /// The image.
        path: PathBuf,
        /// As qemu-img calls it.
        found: String,
    },
    /// It is not what the recipe says.
    #[error("use {path}: it has the digest {found} and the recipe says {expected}")]
    WrongDigest {
        /// The image.
        path: PathBuf,
        /// As the recipe says.
        expected: Sha256,
        /// As it is.
        found: Sha256,
    },
    /// A disk cannot be made smaller.
    #[error("give {path} a disk of {wanted}: it has {found}, and a disk can only grow")]
    Shrink {
        /// The image.
        path: PathBuf,
        /// As the recipe says.
        wanted: ByteSize,
        /// As it is.
        found: ByteSize,
    },
    /// qemu-img failed.
    #[error("read or convert {path}")]
    Command {
        /// The image.
        path: PathBuf,
        /// What happened.
        source: Box<CommandError>,
    },
    /// qemu-img said something that is not understood.
    #[error("understand what qemu-img says about {path}")]
    Answer {
        /// The image.
        path: PathBuf,
        /// Where.
        source: serde_json::Error,
    },
}

/// What qemu-img says about a file (`qemu-img info --output=json`, seen with 7.2 and 10.0).
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Info {
    format: String,
    virtual_size: u64,
    backing_filename: Option<String>,
    full_backing_filename: Option<String>,
    format_specific: Option<FormatSpecific>,
}

#[derive(Debug, Deserialize)]
struct FormatSpecific {
    data: Option<Specific>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Specific {
    data_file: Option<String>,
    #[serde(default)]
    extents: Vec<Extent>,
}

#[derive(Debug, Deserialize)]
struct Extent {
    filename: Option<String>,
}

/// Makes an image from a file on this computer.
pub(crate) async fn from_file(recipe: &FileRecipe, building: &Building<'_>) -> Result<Produced, Fault> {
    let source = format!("file {}", recipe.path.display());
    if let Some(expected) = &recipe.sha256 {
        building.step("checking the digest");
        let found = digest::of_file(&recipe.path, building.stop).await?;
        if found != *expected {
            let path = recipe.path.clone();
            return Err(ConvertError::WrongDigest { path, expected: expected.clone(), found }.into());
        }
    }
    let produced = import(&recipe.path, recipe.format, source, building).await?;
    let kernel = recipe.kernel.as_ref().map(|kernel| copy_kernel(kernel, &building.folder)).transpose()?;
    Ok(Produced { kernel, ..produced })
}

/// Makes an image from a download, or from the artefact of that name.
pub(crate) async fn from_url(recipe: &UrlRecipe, building: &Building<'_>) -> Result<Produced, Fault> {
    let file = download::fetch(recipe, building).await;
    let file = file.map_err(|fault| fault.full_in(building.cache, None))?;
    import(&file, recipe.format, format!("url {}", recipe.url), building).await
}

/// Checks, converts and, if asked, enlarges a disk. The result is always our own file in one of two formats.
async fn import(
    path: &Path,
    format: Option<DiskFormat>,
    source: String,
    building: &Building<'_>,
) -> Result<Produced, Fault> {
    tools::require(&[Tool { program: "qemu-img", package: "qemu-utils" }])?;
    building.step("looking at the disk image");
    let (format, found) = inspect(path, format, building.stop).await?;
    let size = building.image.disk.unwrap_or(found);
    if size < found {
        return Err(ConvertError::Shrink { path: path.to_owned(), wanted: size, found }.into());
    }
    building.step("converting the disk to qcow2");
    let disk = building.folder.join("disk.qcow2");
    let converted = to_qcow2(path, format, &disk, building.stop).await;
    converted.map_err(|fault| fault.full_in(&building.folder, Some(Need::AtMost(found))))?;
    if size > found {
        let bytes = size.bytes().to_string();
        Command::new("qemu-img")
            .args(["resize", "-q", "-f", "qcow2"])
            .arg(&disk)
            .arg(bytes)
            .run(building.stop)
            .await?;
    }
    let tools = tools::versions(&[("qemu-img", "--version")], building.stop).await;
    Ok(Produced {
        disk: "disk.qcow2".to_owned(),
        format: DiskFormat::Qcow2,
        virtual_size: size,
        kernel: None,
        provenance: Provenance { source, builder: BUILDER.to_owned(), tools, packages: None },
    })
}

/// The format and virtual size of an image that refers to nothing else. A given format is taken as given: a raw disk
/// whose guest wrote a qcow2 header into its first sector is not probed as one.
async fn inspect(
    path: &Path,
    format: Option<DiskFormat>,
    stop: &CancellationToken,
) -> Result<(DiskFormat, ByteSize), Fault> {
    if let Some(refers_to) = qcow2_reference(path, format)? {
        return Err(ConvertError::RefersElsewhere { path: path.to_owned(), refers_to }.into());
    }
    let mut command = Command::new("qemu-img").args(["info", "--output=json"]);
    if let Some(format) = format {
        command = command.args(["-f", qemu_name(format)]);
    }
    let output = command.arg("--").arg(path).run(stop).await;
    let output = output.map_err(|source| failed(path, source))?;
    let info = serde_json::from_slice(&output.stdout);
    let info = info.map_err(|source| ConvertError::Answer { path: path.to_owned(), source })?;
    Ok(judge(path, &info)?)
}

/// What an image names that will be read as a qcow2 file.
fn qcow2_reference(path: &Path, format: Option<DiskFormat>) -> io::Result<Option<String>> {
    if format.is_some_and(|format| format != DiskFormat::Qcow2) {
        return Ok(None);
    }
    let mut head = Vec::new();
    fs::File::open(path)?.take(qcow2::HEAD).read_to_end(&mut head)?;
    Ok(qcow2::reference(&head))
}

fn judge(path: &Path, info: &Info) -> Result<(DiskFormat, ByteSize), ConvertError> {
    if let Some(refers_to) = reference(path, info) {
        return Err(ConvertError::RefersElsewhere { path: path.to_owned(), refers_to });
    }
    let unknown = || ConvertError::UnknownFormat { path: path.to_owned(), found: info.format.clone() };
    Ok((format_of(&info.format).ok_or_else(unknown)?, ByteSize::from_bytes(info.virtual_size)))
}

/// A vmdk's description names its extents; a monolithic one names itself.
fn reference(path: &Path, info: &Info) -> Option<String> {
    let backing = info.backing_filename.as_ref().or(info.full_backing_filename.as_ref());
    let specific = info.format_specific.as_ref().and_then(|specific| specific.data.as_ref());
    let data_file = specific.and_then(|specific| specific.data_file.as_ref());
    let mut extents =
        specific.iter().flat_map(|specific| &specific.extents).filter_map(|extent| extent.filename.as_ref());
    let foreign = extents.find(|name| Path::new(name) != path);
    backing.or(data_file).or(foreign).cloned()
}

fn format_of(name: &str) -> Option<DiskFormat> {
    [DiskFormat::Raw, DiskFormat::Qcow2, DiskFormat::Vhdx, DiskFormat::Vmdk]
        .into_iter()
        .find(|f| qemu_name(*f) == name)
}

const fn qemu_name(format: DiskFormat) -> &'static str {
    match format {
        DiskFormat::Raw => "raw",
        DiskFormat::Qcow2 => "qcow2",
        DiskFormat::Vhdx => "vhdx",
        DiskFormat::Vmdk => "vmdk",
    }
}

/// Writes `from` as a qcow2 file. Not raw: the base is copied into RAM, and a file without holes copies, hashes and
/// travels at its true size. Not compressed: every read of every guest would pay for it.
pub(crate) async fn to_qcow2(
    from: &Path,
    format: DiskFormat,
    to: &Path,
    stop: &CancellationToken,
) -> Result<(), Fault> {
    let command = Command::new("qemu-img")
        .args(["convert", "-f", qemu_name(format), "-O", "qcow2", "-o", "compat=1.1,lazy_refcounts=off"])
        .arg("--")
        .arg(from)
        .arg(to)
        .deadline(CONVERT_DEADLINE);
    command.run(stop).await.map(drop).map_err(|source| failed(from, source))
}

fn failed(path: &Path, source: CommandError) -> Fault {
    match Fault::from(source) {
        Fault::Command(source) => ConvertError::Command { path: path.to_owned(), source }.into(),
        other => other,
    }
}

/// A version is whole: its kernel must not change under it.
fn copy_kernel(kernel: &DirectKernel, folder: &Path) -> Result<DirectKernel, Fault> {
    fs::copy(&kernel.kernel, folder.join("vmlinux"))?;
    if let Some(initrd) = &kernel.initrd {
        fs::copy(initrd, folder.join("initrd"))?;
    }
    Ok(DirectKernel {
        kernel: PathBuf::from("vmlinux"),
        initrd: kernel.initrd.as_ref().map(|_| PathBuf::from("initrd")),
        command_line: kernel.command_line.clone(),
    })
}
