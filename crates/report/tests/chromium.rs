//! The page in a real browser: light, dark, narrow, on paper, with a keyboard. Skipped where there is no Chromium.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod browser;
mod example;

use std::{collections::BTreeSet, io::Cursor};

use browser::Browser;
use example::Example;
use serde_json::Value;
use winstead_measurement::example::Story;
use winstead_testing::skip;

const MEASURE: &str = include_str!("measure.js");

/// The browser, with the page of a story in its folder as `page.html`.
async fn browser_or_skip(story: Story) -> Option<(Browser, String)> {
    let Some(browser) = Browser::find().await else {
        skip("no Chromium is installed that can read the test's folder");
        return None;
    };
    let page = Example::of(story).page();
    browser.write("page.html", &page);
    Some((browser, page))
}

/// The page without its policy, which would forbid what a test adds.
fn without_policy(page: &str) -> String {
    let (before, rest) = page.split_once("<meta http-equiv=\"Content-Security-Policy\"").unwrap();
    format!("{before}{}", rest.split_once('>').unwrap().1)
}

/// A picture's width, its colours, and that of its first corner.
fn colors(png: &[u8]) -> (u32, BTreeSet<Vec<u8>>, Vec<u8>) {
    let mut reader = png::Decoder::new(Cursor::new(png)).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let picture = reader.next_frame(&mut pixels).unwrap();
    let pixels = &pixels[..picture.buffer_size()];
    let size = picture.color_type.samples();
    (picture.width, pixels.chunks(size).map(<[u8]>::to_vec).collect(), pixels[..3].to_vec())
}

#[tokio::test]
async fn a_browser_complains_of_nothing_and_shows_the_verdict_first() {
    let Some((browser, _)) = browser_or_skip(Story::SimulatedLimit).await else { return };
    let (dom, console) = browser.open("page.html", &["--dump-dom"]).await.unwrap();
    assert_eq!(console, Vec::<String>::new());
    let body = dom.split_once("<body>").unwrap().1;
    let heading = body.find("<h1").unwrap();
    assert!(body[heading..].contains("RAM is faster at p99"), "{}", &body[heading..heading + 300]);
    assert_eq!(body[..heading].matches("<p").count(), 0);
}

#[tokio::test]
async fn the_page_is_light_or_dark_as_the_reader_has_it() {
    let Some((browser, _)) = browser_or_skip(Story::RamHelps).await else { return };
    for (name, scheme, is_light) in [("light.png", "1", true), ("dark.png", "0", false)] {
        let scheme = format!("--blink-settings=preferredColorScheme={scheme}");
        let arguments = ["--window-size=1000,1600", &scheme, &format!("--screenshot={name}")];
        let (_, console) = browser.open("page.html", &arguments).await.unwrap();
        assert_eq!(console, Vec::<String>::new());
        let (width, colors, corner) = colors(&fs_err::read(browser.folder().join(name)).unwrap());
        assert_eq!(width, 1000);
        assert!(colors.len() > 50, "{name} has {} colours: nothing is drawn", colors.len());
        assert_eq!(corner.iter().all(|channel| *channel > 200), is_light, "{name}: {corner:?}");
        assert_eq!(corner.iter().all(|channel| *channel < 60), !is_light, "{name}: {corner:?}");
    }
}

/// What `measure.js` finds in a window of so many pixels.
async fn measured(browser: &Browser, page: &str, width: u32) -> Value {
    let script = format!("<script>{MEASURE}</script></body>");
    browser.write("measured.html", &without_policy(page).replace("</body>", &script));
    // No window of a desktop's Chromium is as narrow as a telephone; a frame is.
    let frame =
        format!("<iframe src=\"measured.html\" style=\"width:{width}px;height:800px;border:0\"></iframe>");
    let listener = "<script>addEventListener('message', told => { document.body.dataset.told = 1; document.querySelector('pre').textContent = JSON.stringify(told.data); })</script>";
    browser.write("frame.html", &format!("<!DOCTYPE html><body>{listener}<pre></pre>{frame}"));
    let arguments = ["--window-size=1200,900", "--virtual-time-budget=10000", "--dump-dom"];
    let (dom, console) = browser.open("frame.html", &arguments).await.unwrap();
    assert_eq!(console, Vec::<String>::new());
    let told = dom.split_once("<pre>").unwrap().1.split_once("</pre>").unwrap().0;
    serde_json::from_str(told).unwrap_or_else(|error| panic!("{error}: {told:?}"))
}

#[tokio::test]
async fn on_a_telephone_nothing_leaves_the_window_and_plots_can_be_read() {
    let Some((browser, page)) = browser_or_skip(Story::SimulatedLimit).await else { return };
    let found = measured(&browser, &page, 360).await;
    assert_eq!(found["windowWidth"], 360, "{found:#}");
    assert!(found["pageWidth"].as_u64() <= Some(360), "{found:#}");
    assert_eq!(found["beyond"], Value::Array(Vec::new()), "{found:#}");
    assert_eq!((&found["wide"], &found["narrow"]), (&0.into(), &found["plots"]), "{found:#}");
    assert!(found["smallestLetters"].as_f64() >= Some(10.0), "{found:#}");
    assert!(found["headingTop"].as_f64() <= Some(60.0), "{found:#}");
}

#[tokio::test]
async fn a_keyboard_reaches_every_plots_numbers_and_every_run() {
    let Some((browser, page)) = browser_or_skip(Story::RamHelps).await else { return };
    let found = measured(&browser, &page, 1000).await;
    assert_eq!(found["plots"], 6, "{found:#}");
    assert_eq!(found["plotsReached"], found["plots"], "{found:#}");
    assert_eq!((&found["wide"], &found["narrow"]), (&found["plots"], &0.into()), "{found:#}");
    assert_eq!(found["runsReached"], 30, "those of both workloads with most machines are open: {found:#}");
    assert_eq!(found["first"], "skip", "{found:#}");
    assert_eq!(found["leapfrogging"], 0, "the order of the keyboard is the page's: {found:#}");
}

#[tokio::test]
async fn on_paper_the_numbers_of_the_plots_are_open() {
    let Some((browser, page)) = browser_or_skip(Story::RamHelps).await else { return };
    browser.write("closed.html", &without_policy(&page).replace("::details-content", "::nothing"));
    let mut pages = Vec::new();
    for name in ["page", "closed"] {
        let file = format!("--print-to-pdf={name}.pdf");
        browser.open(&format!("{name}.html"), &["--no-pdf-header-footer", &file]).await.unwrap();
        let pdf = fs_err::read(browser.folder().join(format!("{name}.pdf"))).unwrap();
        pages.push(String::from_utf8_lossy(&pdf).matches("/Type /Page\n").count());
    }
    assert!(pages[0] > pages[1] && pages[1] > 2, "pages with open and with closed numbers: {pages:?}");
}
