//! `file:` and `url:` recipes with real files, real qemu-img, and an HTTP server of the test's own.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod server;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use fs_err as fs;
use server::{Behaviour, Server};
use sha2::Digest;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use winstead_image::{BuildError, Catalog, Depth, Version};
use winstead_process::Command;
use winstead_spec::{
    ByteSize, DirectKernel, DiskFormat, FileRecipe, GuestOs, Image, Recipe, SeedKind, Sha256, UrlRecipe,
};

const MIB: usize = 1 << 20;

/// Where one test's images, downloads and artefacts are.
struct Home(TempDir);

impl Home {
    fn new() -> Self {
        let home = Self(tempfile::tempdir().unwrap());
        fs::create_dir(home.path("artifacts")).unwrap();
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    async fn build(&self, image: &Image) -> Result<Version, BuildError> {
        let catalog = Catalog::open(&self.path("images"), &self.path("cache"), Some(&self.path("artifacts")));
        let stop = CancellationToken::new();
        let limit = tokio::time::timeout(Duration::from_secs(60), catalog.build(image, &|_| {}, &stop));
        let built = limit.await.expect("a build ends");
        if let Ok(version) = &built {
            catalog.verify(version, Depth::Full, &CancellationToken::new()).await.unwrap();
            assert_eq!(catalog.find(image).unwrap().as_ref(), Some(version));
        }
        assert!(self.half_built().is_empty(), "{:?}", self.half_built());
        built
    }

    fn half_built(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.path("images/disk")) else { return Vec::new() };
        let names = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
        names.filter(|name| name.starts_with(".building")).collect()
    }
}

fn image(recipe: Recipe) -> Image {
    Image {
        name: "disk".parse().unwrap(),
        os: GuestOs::Linux,
        recipe,
        disk: None,
        seed: SeedKind::NoCloud,
        agent: false,
    }
}

fn file(path: &Path) -> FileRecipe {
    FileRecipe { path: path.to_owned(), format: None, sha256: None, kernel: None }
}

fn url(server: &Server, sha256: Sha256) -> Image {
    image(Recipe::Url(UrlRecipe {
        url: format!("{}/disk.img?x=1", server.url()),
        sha256,
        format: Some(DiskFormat::Raw),
    }))
}

/// Not compressible, the same each time.
fn content(size: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..size).map(|_| next()).collect()
}

fn sha256(bytes: &[u8]) -> Sha256 {
    <[u8; 32]>::from(sha2::Sha256::digest(bytes)).into()
}

async fn qemu_img(arguments: &[&str]) {
    Command::new("qemu-img").args(arguments).run(&CancellationToken::new()).await.unwrap();
}

/// An error with its causes, as the command line prints it.
fn whole(error: &BuildError) -> String {
    let mut text = error.to_string();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

#[tokio::test]
async fn every_known_container_becomes_a_qcow2_with_the_same_content() {
    let home = Home::new();
    let raw = home.path("disk.raw");
    fs::write(&raw, content(MIB)).unwrap();
    for format in ["raw", "qcow2", "vhdx", "vmdk"] {
        let path = home.path(&format!("disk.{format}"));
        if format != "raw" {
            qemu_img(&["convert", "-O", format, raw.to_str().unwrap(), path.to_str().unwrap()]).await;
        }
        let version = home.build(&image(Recipe::File(file(&path)))).await.unwrap();
        assert_eq!(version.format, DiskFormat::Qcow2, "{format}");
        qemu_img(&[
            "compare",
            "-f",
            "raw",
            "-F",
            "qcow2",
            raw.to_str().unwrap(),
            version.disk.to_str().unwrap(),
        ])
        .await;
    }
}

#[tokio::test]
async fn a_disk_grows_to_the_size_asked_for_and_never_shrinks() {
    let home = Home::new();
    fs::write(home.path("disk.raw"), content(MIB)).unwrap();
    let recipe = FileRecipe { format: Some(DiskFormat::Raw), ..file(&home.path("disk.raw")) };
    let of_size = |mib| Image { disk: Some(ByteSize::from_mib(mib)), ..image(Recipe::File(recipe.clone())) };
    assert_eq!(home.build(&of_size(8)).await.unwrap().virtual_size, ByteSize::from_mib(8));
    let small = Image { disk: Some(ByteSize::from_bytes(512)), ..of_size(1) };
    let error = whole(&home.build(&small).await.unwrap_err());
    assert!(error.contains("a disk can only grow"), "{error}");
}

#[tokio::test]
async fn an_image_that_refers_to_another_file_is_refused() {
    let home = Home::new();
    let (secret, disk) = (home.path("secret"), home.path("disk.qcow2"));
    fs::write(&secret, content(MIB)).unwrap();
    let backing =
        ["create", "-q", "-f", "qcow2", "-b", secret.to_str().unwrap(), "-F", "raw", disk.to_str().unwrap()];
    qemu_img(&backing).await;
    let error = whole(&home.build(&image(Recipe::File(file(&disk)))).await.unwrap_err());
    assert!(error.contains("refers to another file") && error.contains("secret"), "{error}");
    let data_file = format!("data_file={}", home.path("elsewhere").display());
    qemu_img(&["create", "-q", "-f", "qcow2", "-o", &data_file, disk.to_str().unwrap(), "1M"]).await;
    let error = whole(&home.build(&image(Recipe::File(file(&disk)))).await.unwrap_err());
    assert!(error.contains("refers to another file") && error.contains("elsewhere"), "{error}");
    let extent = format!(
        "# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType=\"monolithicFlat\"\nRW 2048 FLAT \"{}\" 0\n",
        secret.display()
    );
    fs::write(home.path("disk.vmdk"), extent).unwrap();
    let error = whole(&home.build(&image(Recipe::File(file(&home.path("disk.vmdk"))))).await.unwrap_err());
    assert!(error.contains("refers to another file") && error.contains("secret"), "{error}");
}

#[tokio::test]
async fn a_qcow2_header_that_refers_to_another_file_is_never_shown_to_qemu_img() {
    let home = Home::new();
    let disk = home.path("disk.qcow2");
    // Without clusters: qemu-img would complain of that.
    let mut header = vec![0; 512];
    header[..8].copy_from_slice(b"QFI\xfb\0\0\0\x03");
    (header[14], header[19]) = (1, 6);
    header[256..262].copy_from_slice(b"secret");
    fs::write(&disk, header).unwrap();
    for format in [None, Some(DiskFormat::Qcow2)] {
        let recipe = FileRecipe { format, ..file(&disk) };
        let error = whole(&home.build(&image(Recipe::File(recipe))).await.unwrap_err());
        assert!(error.contains("refers to another file, \"secret\""), "{error}");
    }
}

#[tokio::test]
async fn a_raw_disk_whose_guest_wrote_a_qcow2_header_stays_a_raw_disk() {
    let home = Home::new();
    let (secret, disk) = (home.path("secret"), home.path("disk.raw"));
    fs::write(&secret, content(MIB)).unwrap();
    let backing =
        ["create", "-q", "-f", "qcow2", "-b", secret.to_str().unwrap(), "-F", "raw", disk.to_str().unwrap()];
    qemu_img(&backing).await;
    let size = fs::metadata(&disk).unwrap().len();
    let recipe = FileRecipe { format: Some(DiskFormat::Raw), ..file(&disk) };
    let version = home.build(&image(Recipe::File(recipe))).await.unwrap();
    assert_eq!(version.virtual_size.bytes(), size.next_multiple_of(512));
}

#[tokio::test]
async fn a_kernel_beside_the_disk_is_copied_and_the_digest_is_checked() {
    let home = Home::new();
    let disk = content(MIB);
    for (name, bytes) in [("disk.raw", disk.as_slice()), ("kernel", b"k"), ("ramdisk", b"i")] {
        fs::write(home.path(name), bytes).unwrap();
    }
    let kernel = DirectKernel {
        kernel: home.path("kernel"),
        initrd: Some(home.path("ramdisk")),
        command_line: "root=/dev/vda".into(),
    };
    let recipe = |sha256| FileRecipe {
        format: Some(DiskFormat::Raw),
        sha256: Some(sha256),
        kernel: Some(kernel.clone()),
        ..file(&home.path("disk.raw"))
    };
    let version = home.build(&image(Recipe::File(recipe(sha256(&disk))))).await.unwrap();
    let built = version.kernel.unwrap();
    assert_eq!(
        (fs::read(&built.kernel).unwrap(), fs::read(built.initrd.unwrap()).unwrap()),
        (b"k".to_vec(), b"i".to_vec())
    );
    assert!(built.kernel.starts_with(home.path("images")));
    let error = whole(&home.build(&image(Recipe::File(recipe(sha256(b"other"))))).await.unwrap_err());
    assert!(error.contains("has the digest") && error.contains("disk.raw"), "{error}");
}

#[tokio::test]
async fn the_same_content_under_a_changed_recipe_is_one_version() {
    let home = Home::new();
    fs::write(home.path("disk.raw"), content(MIB)).unwrap();
    let plain = image(Recipe::File(file(&home.path("disk.raw"))));
    let first = home.build(&plain).await.unwrap();
    fs::copy(home.path("disk.raw"), home.path("other.raw")).unwrap();
    let second = home.build(&image(Recipe::File(file(&home.path("other.raw"))))).await.unwrap();
    assert_eq!((first.digest, first.disk), (second.digest, second.disk));
    assert_ne!(first.recipe, second.recipe);
}

/// A raw disk with a kernel beside it, which is `kernel`.
fn started_directly(home: &Home, kernel: &[u8]) -> Image {
    fs::write(home.path("kernel"), kernel).unwrap();
    let kernel =
        DirectKernel { kernel: home.path("kernel"), initrd: None, command_line: "root=/dev/vda".into() };
    let format = Some(DiskFormat::Raw);
    image(Recipe::File(FileRecipe { format, kernel: Some(kernel), ..file(&home.path("disk.raw")) }))
}

#[tokio::test]
async fn another_kernel_for_the_same_disk_is_another_version() {
    let home = Home::new();
    fs::write(home.path("disk.raw"), content(MIB)).unwrap();
    let plain = home.build(&image(Recipe::File(file(&home.path("disk.raw"))))).await.unwrap();
    let old = home.build(&started_directly(&home, b"old")).await.unwrap();
    let new = home.build(&started_directly(&home, b"newer")).await.unwrap();
    assert_eq!(fs::read(old.kernel.unwrap().kernel).unwrap(), b"old");
    assert_eq!(fs::read(new.kernel.unwrap().kernel).unwrap(), b"newer");
    assert!(plain.digest != old.digest && old.digest != new.digest);
    assert_eq!((&plain.disk_digest, &old.disk_digest), (&old.disk_digest, &new.disk_digest));
}

#[tokio::test]
async fn a_damaged_version_is_replaced_when_it_is_built_again() {
    let home = Home::new();
    fs::write(home.path("disk.raw"), content(MIB)).unwrap();
    let first = home.build(&started_directly(&home, b"kernel")).await.unwrap();
    fs::write(first.kernel.unwrap().kernel, b"rotten").unwrap();
    fs::copy(home.path("disk.raw"), home.path("other.raw")).unwrap();
    let Recipe::File(recipe) = started_directly(&home, b"kernel").recipe else { unreachable!() };
    let moved = FileRecipe { path: home.path("other.raw"), ..recipe };
    let second = home.build(&image(Recipe::File(moved))).await.unwrap();
    assert_eq!(first.digest, second.digest);
    assert_eq!(fs::read(second.kernel.unwrap().kernel).unwrap(), b"kernel");
}

#[tokio::test]
async fn a_fresh_build_is_made_although_there_is_a_version() {
    let home = Home::new();
    fs::write(home.path("disk.raw"), content(MIB)).unwrap();
    let image = image(Recipe::File(file(&home.path("disk.raw"))));
    let first = home.build(&image).await.unwrap();
    let catalog = Catalog::open(&home.path("images"), &home.path("cache"), None);
    let fresh = catalog.build_fresh(&image, &|_| {}, &CancellationToken::new()).await.unwrap();
    assert!(fresh.built_at > first.built_at);
    assert_eq!(catalog.find(&image).unwrap(), Some(fresh));
}

#[tokio::test]
async fn a_file_that_changes_during_a_build_is_refused() {
    let home = Home::new();
    fs::write(home.path("disk.raw"), content(MIB)).unwrap();
    let image = image(Recipe::File(file(&home.path("disk.raw"))));
    let catalog = Catalog::open(&home.path("images"), &home.path("cache"), None);
    let change = |progress: winstead_image::BuildProgress| {
        if progress.step.contains("converting") {
            fs::write(home.path("disk.raw"), content(2 * MIB)).unwrap();
        }
    };
    let error = catalog.build(&image, &change, &CancellationToken::new()).await.unwrap_err();
    assert!(matches!(error.fault, winstead_image::Fault::Changed), "{error:?}");
    assert_eq!(catalog.list().unwrap(), []);
}

#[tokio::test]
async fn a_damaged_description_blocks_nothing_and_can_be_removed() {
    let home = Home::new();
    fs::write(home.path("disk.raw"), content(MIB)).unwrap();
    let image = image(Recipe::File(file(&home.path("disk.raw"))));
    let bad = home.path("images/disk/0123456789ab");
    fs::create_dir_all(&bad).unwrap();
    fs::write(bad.join("image.json"), "{").unwrap();
    let version = home.build(&image).await.unwrap();
    let catalog = Catalog::open(&home.path("images"), &home.path("cache"), None);
    assert_eq!(catalog.list().unwrap(), std::slice::from_ref(&version));
    let damaged = catalog.damaged(&image.name).unwrap();
    assert_eq!((damaged.len(), damaged[0].0.as_str()), (1, "0123456789ab"));
    catalog.remove(&image.name, "0123456789ab", &|_| {}, &CancellationToken::new()).await.unwrap();
    assert!(!bad.exists() && catalog.damaged(&image.name).unwrap().is_empty());
}

#[tokio::test]
async fn a_download_is_resumed_where_it_broke_off() {
    let (home, bytes) = (Home::new(), content(3 * MIB));
    let server = Server::start(bytes.clone(), Behaviour::CutAfter(MIB));
    home.build(&url(&server, sha256(&bytes))).await.unwrap();
    let seen = server.requests();
    assert!(seen.len() >= 3, "{seen:?}");
    assert!(seen[0].is_none() && seen[1..].iter().all(Option::is_some), "{seen:?}");
}

#[tokio::test]
async fn a_partial_file_of_an_earlier_run_is_continued_not_believed() {
    let (home, bytes) = (Home::new(), content(2 * MIB));
    let digest = sha256(&bytes);
    fs::create_dir_all(home.path("cache/downloads")).unwrap();
    let partial = home.path(&format!("cache/downloads/{}.partial", digest.hex()));
    fs::write(&partial, &bytes[..MIB]).unwrap();
    let server = Server::start(bytes, Behaviour::Ranges);
    home.build(&url(&server, digest)).await.unwrap();
    assert_eq!(server.requests(), [Some(MIB)]);
    assert!(!partial.exists());
}

#[tokio::test]
async fn a_server_without_ranges_is_asked_from_the_start() {
    let (home, bytes) = (Home::new(), content(2 * MIB));
    let digest = sha256(&bytes);
    fs::create_dir_all(home.path("cache/downloads")).unwrap();
    fs::write(home.path(&format!("cache/downloads/{}.partial", digest.hex())), &bytes[..MIB]).unwrap();
    let server = Server::start(bytes, Behaviour::NoRanges);
    home.build(&url(&server, digest)).await.unwrap();
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_wrong_file_is_refused_and_not_kept() {
    let home = Home::new();
    let server = Server::start(content(MIB), Behaviour::Ranges);
    let error = whole(&home.build(&url(&server, sha256(b"something else"))).await.unwrap_err());
    assert!(error.contains("has the digest") && error.contains("the recipe says"), "{error}");
    let left: Vec<_> =
        fs::read_dir(home.path("cache/downloads")).unwrap().map(|e| e.unwrap().path()).collect();
    assert!(left.iter().all(|path| path.extension().is_some_and(|e| e == "lock")), "{left:?}");
}

#[tokio::test]
async fn refusals_endless_redirects_and_dead_servers_end_with_the_reason() {
    let home = Home::new();
    for (behaviour, expected, limit) in [
        (Behaviour::Missing, "status 404", 1),
        (Behaviour::Redirects, "redirected more than 5 times", 8),
        (Behaviour::CutAfter(0), "0 bytes came", 10),
    ] {
        let server = Server::start(content(1000), behaviour);
        let error = whole(&home.build(&url(&server, sha256(b"x"))).await.unwrap_err());
        assert!(error.contains(expected) && error.contains(&server.url()), "{error}");
        assert!(server.requests().len() <= limit, "{:?}", server.requests().len());
    }
}

#[tokio::test]
async fn an_artefact_is_taken_without_network_and_checked_all_the_same() {
    let (home, bytes) = (Home::new(), content(MIB));
    let server = Server::start(b"never asked".to_vec(), Behaviour::Ranges);
    fs::write(home.path("artifacts/disk.img"), &bytes).unwrap();
    home.build(&url(&server, sha256(&bytes))).await.unwrap();
    let error = whole(&home.build(&url(&server, sha256(b"x"))).await.unwrap_err());
    assert!(error.contains("artifacts/disk.img"), "{error}");
    assert_eq!(server.requests(), []);
}

#[tokio::test]
async fn an_interrupted_download_ends_at_once_and_keeps_what_came() {
    let (home, bytes) = (Home::new(), content(2 * MIB));
    let server = Server::start(bytes.clone(), Behaviour::StallAfter(MIB));
    let (stop, image) = (CancellationToken::new(), url(&server, sha256(&bytes)));
    let catalog = Catalog::open(&home.path("images"), &home.path("cache"), None);
    let listen = |progress: winstead_image::BuildProgress| {
        if progress.done.is_some_and(|done| done >= MIB as u64) {
            stop.cancel();
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(20), catalog.build(&image, &listen, &stop)).await;
    let error = whole(&ended.expect("it ends").unwrap_err());
    assert!(error.contains("interrupted"), "{error}");
    drop(server);
    let server = Server::start(bytes.clone(), Behaviour::Ranges);
    home.build(&url(&server, sha256(&bytes))).await.unwrap();
    assert_eq!(server.requests(), [Some(MIB)]);
}

#[tokio::test]
async fn two_builds_at_once_make_one_version() {
    let (home, bytes) = (Home::new(), content(MIB));
    let server = Server::start(bytes.clone(), Behaviour::Ranges);
    let image = url(&server, sha256(&bytes));
    let catalog = Catalog::open(&home.path("images"), &home.path("cache"), None);
    let stop = CancellationToken::new();
    let (a, b) = tokio::join!(catalog.build(&image, &|_| {}, &stop), catalog.build(&image, &|_| {}, &stop));
    assert_eq!(a.unwrap(), b.unwrap());
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn what_a_dead_build_left_goes_away_and_what_is_half_removed_is_no_version() {
    let home = Home::new();
    fs::write(home.path("disk.raw"), content(MIB)).unwrap();
    let image = image(Recipe::File(file(&home.path("disk.raw"))));
    let dead = home.path("images/disk/.building-x");
    fs::create_dir_all(&dead).unwrap();
    let catalog = Catalog::open(&home.path("images"), &home.path("cache"), None);
    let stop = CancellationToken::new();
    // Somebody builds: nothing is touched.
    let lock = fs::File::create(home.path("images/disk/.lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    assert!(catalog.sweep(&stop).await.unwrap().is_empty());
    drop(lock);
    assert_eq!(catalog.sweep(&stop).await.unwrap(), std::slice::from_ref(&dead));
    fs::create_dir_all(&dead).unwrap();
    let version = home.build(&image).await.unwrap();
    assert!(!dead.exists());
    let folder = version.disk.parent().unwrap();
    fs::remove_file(folder.join("image.json")).unwrap();
    assert_eq!((catalog.find(&image).unwrap(), catalog.list().unwrap()), (None, vec![]));
    let again = home.build(&image).await.unwrap();
    assert_eq!(catalog.list().unwrap(), std::slice::from_ref(&again));
    for _ in 0..2 {
        catalog.remove(&again.name, again.digest.short(), &|_| {}, &stop).await.unwrap();
    }
    assert_eq!(catalog.latest(&image.name).unwrap(), None);
}
