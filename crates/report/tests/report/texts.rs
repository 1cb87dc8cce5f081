//! What a report says as text: pinned for a made-up experiment.

use winstead_measurement::example::Story;
use winstead_report::{Document, csv, markdown, terminal};

use crate::example::Example;

#[test]
fn a_terminal_shows_the_verdict_the_numbers_and_what_weakens_them() {
    let example = Example::of(Story::RamHelps);
    let text = terminal(&example.findings);
    insta::assert_snapshot!("terminal", text);
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "{} columns: {line}", line.chars().count());
    }
}

#[test]
fn a_played_disk_is_said_before_the_numbers() {
    for text in [Story::SimulatedLimit].map(Example::of).map(|example| terminal(&example.findings)) {
        let (mark, numbers) = (text.find("SIMULATED"), text.find("p99.9"));
        assert!(mark.is_some() && mark < numbers, "{text}");
    }
}

#[test]
fn when_ram_does_not_help_the_first_line_says_so() {
    let text = terminal(&Example::of(Story::CpuIsTheWall).findings);
    let first = text.lines().next().unwrap_or_default();
    assert!(first.contains("not"), "{first}");
}

#[test]
fn markdown_is_as_it_was() {
    insta::assert_snapshot!("markdown", markdown(&Example::of(Story::SimulatedLimit).findings));
}

#[test]
fn every_run_is_a_row() {
    let text = csv(&Example::of(Story::RamHelps).document).expect("rows");
    let few: Vec<&str> = text.split("\r\n").step_by(24).collect();
    insta::assert_snapshot!("csv", few.join("\n"));
}

#[test]
fn a_program_finds_kind_version_and_whole_nanoseconds() {
    let example = Example::of(Story::RamHelps);
    let json = serde_json::to_value(Document::of(&example.findings)).expect("JSON");
    assert_eq!((&json["kind"], &json["version"]), (&"Findings".into(), &1.into()));
    assert_eq!(json["workloads"][0]["name"], "latency");
    assert!(json["workloads"][0]["cells"][0]["percentiles"][2]["nanos"].as_f64() > Some(1e5), "{json}");
}
