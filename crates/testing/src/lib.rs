//! Support for tests that need the world: a reason when the host cannot, homes that go away, programs that are not
//! installed, and a Linux guest that boots in seconds.
//!
//! The tiny guest is an ordinary image with an ordinary `file:` recipe, so that tests take the product's own path.

mod apt;
mod built;
mod debian;
mod kept;
mod programs;
mod scratch;
mod skip;
mod tiny;
mod typed;
mod wine;

pub use built::{static_agent, static_probe};
pub use debian::{
    DEBIAN_IMAGE, DEBIAN_IMAGE_WITH_AGENT, debian_images_or_skip, debian_images_with_agent_or_skip,
};
pub use programs::{Program, program_or_skip};
pub use scratch::{lab_folder, scratch};
pub use skip::skip;
pub use tiny::{tiny_image, tiny_image_or_skip, tiny_image_with_agent};
pub use typed::Typed;
pub use wine::{Executable, Wine};
