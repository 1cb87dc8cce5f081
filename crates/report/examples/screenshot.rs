//! Makes `docs/report.png`, the picture of a report that the README shows:
//!
//! ```text
//! cargo run -p winstead-report --example screenshot               of a made-up experiment
//! cargo run -p winstead-report --example screenshot report.html   of any page
//! ```

#[path = "../tests/browser/mod.rs"]
mod browser;
#[path = "../tests/example/mod.rs"]
mod example;

use std::{
    error::Error,
    io::{BufReader, BufWriter},
    path::Path,
};

use browser::Browser;
use example::Example;
use winstead_measurement::example::Story;

const PICTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/report.png");

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let page = match std::env::args_os().nth(1) {
        Some(page) => fs_err::read_to_string(Path::new(&page))?,
        None => made_up(),
    };
    let browser = Browser::find().await.ok_or("chromium is not installed")?;
    browser.write("page.html", &page);
    let arguments = [
        "--blink-settings=preferredColorScheme=1",
        // Coloured edges of letters are for one kind of screen, and pack badly.
        "--disable-lcd-text",
        "--window-size=920,1670",
        "--screenshot=report.png",
    ];
    browser.open("page.html", &arguments).await?;
    packed(&browser.folder().join("report.png"), Path::new(PICTURE))
}

/// A page that nobody can take for a measurement: it says in each place where a played disk would be named what it is.
fn made_up() -> String {
    let mut example = Example::of(Story::RamHelps);
    example.findings.simulated = Some("MADE UP: nothing on this page was measured".to_owned());
    example.page()
}

/// Smaller than what a browser writes in a hurry: packed better, without an alpha channel that says nothing.
fn packed(from: &Path, to: &Path) -> Result<(), Box<dyn Error>> {
    let mut reader = png::Decoder::new(BufReader::new(fs_err::File::open(from)?)).read_info()?;
    let mut pixels = vec![0; reader.output_buffer_size().ok_or("the picture is too large")?];
    let picture = reader.next_frame(&mut pixels)?;
    let size = picture.color_type.samples();
    let colors: Vec<u8> =
        pixels[..picture.buffer_size()].chunks(size).flat_map(|pixel| &pixel[..3]).copied().collect();
    let file = BufWriter::new(fs_err::File::create(to)?);
    let mut encoder = png::Encoder::new(file, picture.width, picture.height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_compression(png::Compression::High);
    encoder.set_filter(png::Filter::NoFilter);
    encoder.write_header()?.write_image_data(&colors)?;
    Ok(())
}
