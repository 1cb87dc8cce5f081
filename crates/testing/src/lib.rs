//! Support for tests that need the world: a reason when the host cannot, homes that go away, and a Linux guest that
//! boots in seconds.
//!
//! The tiny guest is an ordinary image with an ordinary `file:` recipe, so that tests take the product's own path.

mod scratch;
mod skip;
mod tiny;

pub use scratch::{lab_folder, scratch};
pub use skip::skip;
pub use tiny::{tiny_image, tiny_image_or_skip};
