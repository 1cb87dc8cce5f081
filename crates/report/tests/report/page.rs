//! The page as a document: nothing of what it is told becomes markup, nothing is loaded, every plot can be read and checked.

use std::collections::BTreeSet;

use base64::{Engine, prelude::BASE64_STANDARD};
use sha2::{Digest, Sha256};
use winstead_measurement::{
    Contention,
    example::{Story, contention, probe_result},
    import::{self, Measured},
};
use winstead_report::{Runs, Source, html_of_runs};
use winstead_statistics::Seed;

use crate::example::Example;

const HOSTILE: &str = "\"'></title></style><script>alert(1)</script><img src=x onerror=alert(2)>&lt;";

/// What stands between two marks, each time.
fn all_between<'a>(text: &'a str, begin: &str, end: &str) -> Vec<&'a str> {
    text.split(begin).skip(1).filter_map(|rest| rest.split_once(end).map(|(found, _)| found)).collect()
}

fn between<'a>(text: &'a str, begin: &str, end: &str) -> &'a str {
    all_between(text, begin, end).first().unwrap_or_else(|| panic!("nothing after {begin}"))
}

/// An experiment in which every word is hostile.
fn hostile() -> Contention {
    let mut document = contention(Story::SimulatedLimit);
    let hostile = || HOSTILE.to_owned();
    document.winstead = hostile();
    let (host, machine) = (&mut document.host, &mut document.design.machine);
    host.cpu_model = Some(hostile());
    for text in [
        &mut host.kernel,
        &mut host.qemu,
        &mut host.accelerator,
        &mut machine.pool,
        &mut machine.image,
        &mut machine.os,
    ] {
        *text = hostile();
    }
    host.disk.file_system = Some(hostile());
    host.disk.options = Some(hostile());
    host.disk.device = Some(hostile());
    for workload in &mut document.design.workloads {
        workload.name += HOSTILE;
        workload.arguments.push(hostile());
    }
    for run in &mut document.runs {
        run.started_from.insert(hostile(), 1);
        for workload in &mut run.workloads {
            workload.name += HOSTILE;
            workload.walls.iter_mut().for_each(|wall| wall.evidence = hostile());
            for sample in &mut workload.host {
                let disks = std::mem::take(&mut sample.disks);
                sample.disks = disks.into_values().map(|disk| (hostile(), disk)).collect();
                sample.pressure.insert(hostile(), 0.5);
            }
            for machine in &mut workload.machines {
                machine.machine = hostile();
                machine.failure = machine.failure.as_ref().map(|_| hostile());
                if let Some(result) = &mut machine.result {
                    result["notes"] = serde_json::json!([HOSTILE]);
                    result["parameters"]["workload"] = HOSTILE.into();
                    result["operations"] = rename(&result["operations"]);
                }
            }
        }
    }
    document
}

fn rename(operations: &serde_json::Value) -> serde_json::Value {
    let operations = operations.as_object().expect("operations");
    operations
        .iter()
        .map(|(name, done)| (format!("{name}{HOSTILE}"), done.clone()))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

#[test]
fn nothing_that_a_document_says_becomes_markup() {
    let page = Example::new(hostile()).page();
    for markup in ["<script", "<img", "onerror=alert(2)>", "</title></style>"] {
        assert!(!page.contains(markup), "{markup}");
    }
    assert!(page.contains("&lt;script&gt;alert(1)"), "what is said is shown all the same");
    assert_eq!(page.matches("<style>").count(), 1);
}

#[test]
fn nor_does_anything_that_runs_of_one_disk_say() {
    let mut result = probe_result(900.0);
    result["notes"] = serde_json::json!([HOSTILE]);
    result["folder"] = HOSTILE.into();
    result["program"] = serde_json::json!({"name": HOSTILE, "version": HOSTILE});
    result["parameters"]["workload"] = HOSTILE.into();
    result["operations"] = rename(&result["operations"]);
    let Ok(Measured::Runs(named)) = import::read(result.to_string().as_bytes()) else { panic!("{result}") };
    let source = Source::of(HOSTILE, b"made up", 1);
    let page = html_of_runs(&Runs::of(&named, Seed(1)), &source);
    for markup in ["<script", "<img", "</title></style>", "http:", "https:", " src=\"", "url("] {
        assert!(!page.contains(markup), "{markup}");
    }
    assert_eq!(all_between(&page, "<svg", "</svg>").len(), 2);
}

#[test]
fn nothing_is_loaded_and_only_the_pages_own_style_is_allowed() {
    let page = Example::of(Story::SimulatedLimit).page();
    for loading in [
        "http:",
        "https:",
        " src=",
        "<link",
        "@import",
        "url(",
        "<script",
        " style=",
        "<iframe",
        "javascript:",
    ] {
        assert!(!page.contains(loading), "{loading}");
    }
    let hash = BASE64_STANDARD.encode(Sha256::digest(between(&page, "<style>", "</style>")));
    let policy = between(&page, "Content-Security-Policy\" content=\"", "\"");
    assert_eq!(
        policy,
        format!("default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'")
    );
    for link in all_between(&page, "href=\"", "\"") {
        let target = link.strip_prefix('#').unwrap_or_else(|| panic!("{link} leads out of the page"));
        assert_eq!(page.matches(&format!(" id=\"{target}\"")).count(), 1, "{link}");
    }
}

#[test]
fn the_verdict_comes_first_and_a_played_disk_is_said_beside_every_plot() {
    let example = Example::of(Story::SimulatedLimit);
    let page = example.page();
    let body = between(&page, "<body>", "</body>");
    let (skip, heading) = (body.find("class=\"skip\""), body.find("<h1"));
    assert!(skip < heading && heading < body.find("<p") && heading < body.find("<ul"), "{}", &body[..400]);
    let mark = example.findings.simulated.expect("a played disk").replace(" %", "\u{a0}%");
    for figure in all_between(&page, "<figure>", "</figure>") {
        assert!(figure.contains(&mark), "{figure}");
    }
    assert!(!Example::of(Story::RamHelps).page().contains("class=\"simulated\""));
}

#[test]
fn every_drawing_has_a_title_and_a_description_of_its_own() {
    let page = Example::of(Story::RamHelps).page();
    let mut ids = BTreeSet::new();
    for id in all_between(&page, " id=\"", "\"") {
        assert!(ids.insert(id), "{id} is there twice");
    }
    let drawings = all_between(&page, "<svg", "</svg>");
    assert_eq!(
        drawings.len(),
        2 * (3 * 2 + 60 * 2),
        "of each workload three plots, wide and narrow, and two panels of each run"
    );
    for drawing in drawings {
        for (attribute, element) in [("aria-labelledby", "title"), ("aria-describedby", "desc")] {
            let id = between(drawing, &format!("{attribute}=\""), "\"");
            let said = between(drawing, &format!("<{element} id=\"{id}\">"), "<");
            assert!(!said.is_empty(), "{drawing}");
        }
    }
}

#[test]
fn an_experiment_that_was_interrupted_at_once_still_has_a_page() {
    let mut document = contention(Story::RamHelps);
    document.runs.clear();
    let example = Example::new(document);
    assert!(example.page().contains("0 of 60 planned"));
    assert!(!winstead_report::terminal(&example.findings).is_empty());
}

#[test]
fn a_page_says_by_which_way_machines_were_entered_also_where_some_runs_do_not_say() {
    let mut example = Example::of(Story::RamHelps);
    assert!(example.page().contains("one for all of a run: agent in 60 runs"));
    example.document.runs[0].via = None;
    assert!(example.page().contains("agent in 59 runs, unknown in 1 runs"));
}

/// Durations in a text, in milliseconds.
fn durations(text: &str) -> Vec<f64> {
    let words: Vec<&str> = text.split([' ', '(', ')']).collect();
    let millis = |pair: &[&str]| {
        let unit = [("ns", 1e-6), ("µs", 1e-3), ("ms", 1.0), ("s", 1e3)]
            .into_iter()
            .find(|(unit, _)| *unit == pair[1])?
            .1;
        Some(pair[0].parse::<f64>().ok()? * unit)
    };
    words.windows(2).filter_map(millis).collect()
}

#[test]
fn every_number_of_a_plot_is_in_a_table_beside_it() {
    let page = Example::of(Story::RamHelps).page();
    let mut checked = 0;
    for figure in all_between(&page, "<figure>", "</figure>") {
        let table = between(figure, "<details class=\"numbers\">", "</details>");
        let cells: Vec<&str> = all_between(table, "<td", "</td>")
            .into_iter()
            .filter_map(|cell| cell.split_once('>'))
            .map(|(_, cell)| cell)
            .collect();
        let numbers: Vec<f64> = cells
            .iter()
            .flat_map(|cell| cell.split([' ', '(', ')', '-']))
            .filter_map(|word| word.parse().ok())
            .collect();
        for title in all_between(figure, "<title>", "</title>") {
            for millis in durations(title) {
                assert!(
                    numbers.iter().any(|number| (number - millis).abs() <= 0.0006 + millis * 0.006),
                    "{title}: {millis}"
                );
                checked += 1;
            }
            if let Some((rate, _)) = title.split_once(" a second") {
                let rate = rate.rsplit(' ').next().unwrap_or_default();
                assert!(
                    cells.iter().any(|cell| cell.split(", ").any(|number| number == rate)),
                    "{title}: {rate}"
                );
                checked += 1;
            }
        }
    }
    assert!(checked > 200, "only {checked} numbers were looked for");
}

/// Relative luminance and contrast as WCAG 2.2 defines them.
fn contrast(one: &str, other: &str) -> f64 {
    let luminance = |color: &str| {
        let digits = color.trim_start_matches('#');
        let digits = if digits.len() == 3 {
            digits.chars().flat_map(|digit| [digit, digit]).collect()
        } else {
            digits.to_owned()
        };
        let channel = |at: usize| {
            let value = f64::from(u8::from_str_radix(&digits[at..at + 2], 16).expect("a colour")) / 255.0;
            if value <= 0.040_45 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * channel(0) + 0.7152 * channel(2) + 0.0722 * channel(4)
    };
    let (one, other) = (luminance(one), luminance(other));
    (one.max(other) + 0.05) / (one.min(other) + 0.05)
}

#[test]
fn colours_are_readable_in_the_light_in_the_dark_and_on_paper() {
    let page = Example::of(Story::RamHelps).page();
    let palettes = all_between(&page, ":root {", "}");
    assert_eq!(palettes.len(), 3);
    for palette in palettes {
        let color = |name: &str| between(palette, &format!("--{name}: "), ";");
        let letters =
            ["ink", "soft", "ram", "disk", "noflush", "first", "second", "third", "fourth", "fifth"];
        for name in letters {
            let found = contrast(color(name), color("paper"));
            assert!(found >= 4.5, "--{name} on --paper: {found:.1}");
        }
        assert!(contrast(color("warning"), color("warning-paper")) >= 4.5);
        assert!(contrast(color("ink"), color("raised")) >= 4.5);
    }
}
