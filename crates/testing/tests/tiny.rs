//! The tiny guest goes the product's way into the catalogue.

use fs_err as fs;
use tokio_util::sync::CancellationToken;
use winstead_image::Catalog;
use winstead_testing::{lab_folder, scratch, tiny_image_or_skip};

#[tokio::test]
async fn the_tiny_guest_becomes_an_ordinary_version() {
    let Some(image) = tiny_image_or_skip(&lab_folder()).await else { return };
    let home = scratch();
    let catalog = Catalog::open(&home.path().join("images"), &home.path().join("cache"), None);
    let version = catalog.build(&image, &|_| {}, &CancellationToken::new()).await.unwrap();
    assert_eq!(catalog.find(&image).unwrap(), Some(version.clone()));
    assert_eq!(version.virtual_size.mib_ceil(), 64);
    assert!(version.size_on_disk.mib_ceil() < 128, "{}", version.size_on_disk);
    let kernel = version.kernel.unwrap();
    assert!(fs::read(&kernel.kernel).unwrap().starts_with(b"\x7fELF"));
    assert!(kernel.initrd.unwrap().starts_with(home.path()));
}
