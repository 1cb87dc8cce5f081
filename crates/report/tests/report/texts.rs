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

/// Whoever quotes a line, a cell or a section quotes that the disk was played.
#[test]
fn a_played_disk_is_said_in_every_output_with_what_is_recommended() {
    let example = Example::of(Story::SimulatedLimit);
    let mark = "SIMULATED: the disk was held to 500 operations and 50 MiB a second";
    let unwrapped = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let recommended = |text: &str, begin: &str, end: &str| {
        let section = text.split_once(begin).and_then(|(_, rest)| rest.split_once(end)).expect("a section").0;
        unwrapped(section)
    };
    let terminal = terminal(&example.findings);
    let terminal = recommended(&terminal, "How many machines", "latency: durable-write");
    let markdown = markdown(&example.findings);
    let markdown = recommended(&markdown, "### How many machines", "### latency");
    for text in [terminal, markdown] {
        assert_eq!(
            text.matches(mark).count(),
            text.matches("- latency").count() + text.matches("- rand-write").count()
        );
        assert!(text.contains("for p99 within 5 ms"), "{text}");
    }
    let page = example.page();
    let section = recommended(&page, "<section id=\"recommendations\">", "</section>");
    assert_eq!(section.matches(mark).count(), 1 + section.matches("<p>").count(), "{section}");
    let json = serde_json::to_value(Document::of(&example.findings)).expect("JSON");
    assert_eq!(json["simulated"], mark);
    let sentences = json["recommendations"][0]["sentences"].as_array().expect("sentences");
    assert!(
        sentences.iter().all(|said| said.as_str().is_some_and(|said| said.ends_with(mark))),
        "{sentences:?}"
    );
    let rows = csv(&example.document).expect("rows");
    assert!(
        rows.lines().next().is_some_and(|head| head.ends_with("disk_limit_iops,disk_limit_bytes_per_second"))
    );
    for row in rows.lines().skip(1) {
        let limited = row.ends_with(",500,52428800");
        assert_eq!(limited, !row.contains(",ram,"), "{row}");
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
