//! No bytes of a file may panic the reader, take long, or make it report a place that does not exist.

use std::path::PathBuf;

use proptest::prelude::*;
use winstead_spec::{Documents, Problems, Source, parse};

const EXAMPLES: [&str; 9] = [
    include_str!("../../../examples/quickstart.yaml"),
    include_str!("../../../examples/bridge.yaml"),
    include_str!("../../../examples/disk.yaml"),
    include_str!("../../../examples/memory.yaml"),
    include_str!("../../../examples/cloud-image.yaml"),
    include_str!("../../../examples/windows.yaml"),
    include_str!("../../../examples/host.yaml"),
    include_str!("../../../examples/agent.yaml"),
    include_str!("terrible.yaml"),
];

/// Pieces that mean something to YAML or to us.
const PIECES: [&str; 30] = [
    ":",
    "- ",
    "? ",
    "{",
    "}",
    "[",
    "]",
    "\t",
    "\r\n",
    "\r",
    "\u{feff}",
    "\u{85}",
    "&a ",
    "*a",
    "<<: ",
    "!!str ",
    "---\n",
    "...\n",
    "%YAML 1.2\n",
    "'",
    "\"",
    "\\x00",
    "\0",
    "|\n",
    ">-\n",
    "# ",
    "null",
    "-1",
    "1e999",
    "ü\u{301}",
];

fn read(text: String) -> Result<Documents, Problems> {
    let lines = text.lines().count() + text.matches(['\r', '\u{85}', '\u{2028}', '\u{2029}']).count() + 1;
    let result = parse(&[Source { name: "f".into(), folder: PathBuf::from("/srv"), text }]);
    if let Err(problems) = &result {
        assert!(!problems.0.is_empty());
        for problem in &problems.0 {
            assert!((1..=lines).contains(&problem.line) && problem.column >= 1, "{problem} of {lines} lines");
            assert!(!problem.to_string().contains(|c: char| c.is_control()), "{problem:?}");
        }
    }
    result
}

/// An example with a few places overwritten.
fn mutated() -> impl Strategy<Value = String> {
    let edit = (any::<prop::sample::Index>(), 0_usize..12, prop::sample::select(&PIECES[..]));
    (prop::sample::select(&EXAMPLES[..]), prop::collection::vec(edit, 1..6)).prop_map(|(example, edits)| {
        edits.into_iter().fold(example.to_owned(), |text, (at, removed, piece)| {
            let chars: Vec<char> = text.chars().collect();
            let at = at.index(chars.len() + 1);
            let rest = (at + removed).min(chars.len());
            chars[..at].iter().chain(&piece.chars().collect::<Vec<_>>()).chain(&chars[rest..]).collect()
        })
    })
}

/// An example of which some lines are left out or stand twice.
fn shuffled() -> impl Strategy<Value = String> {
    (prop::sample::select(&EXAMPLES[..]), prop::collection::vec(0_usize..8, 80)).prop_map(
        |(example, counts)| {
            let lines = example.lines().zip(counts.iter().cycle());
            lines
                .flat_map(|(line, count)| {
                    std::iter::repeat_n(format!("{line}\n"), [0, 2, 1, 1, 1, 1, 1, 1][*count])
                })
                .collect()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        _ = read(String::from_utf8_lossy(&bytes).into_owned());
    }

    #[test]
    fn any_pieces_of_yaml_are_read_or_refused(pieces in prop::collection::vec(prop::sample::select(&PIECES[..]), 0..60)) {
        _ = read(pieces.concat());
    }

    #[test]
    fn mutated_examples_are_read_or_refused(text in mutated()) {
        _ = read(text);
    }

    #[test]
    fn examples_with_missing_and_doubled_lines_are_read_or_refused(text in shuffled()) {
        _ = read(text);
    }
}

#[test]
fn windows_line_ends_and_a_byte_order_mark_change_nothing() {
    let [fine @ .., terrible] = EXAMPLES;
    for example in fine {
        let windows = format!("\u{feff}{}", example.replace('\n', "\r\n"));
        assert_eq!(read(windows), read(example.to_owned()));
    }
    let places = |text: String| read(text).unwrap_err().to_string();
    assert_eq!(places(terrible.replace('\n', "\r\n")), places(terrible.to_owned()));
}

#[test]
fn a_billion_laughs_are_refused_at_once() {
    let mut text = "a: &a [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for (name, before) in "bcdefghi".chars().zip("abcdefgh".chars()) {
        text += &format!("{name}: &{name} [{}]\n", vec![format!("*{before}"); 9].join(", "));
    }
    let started = std::time::Instant::now();
    assert!(read(text).is_err());
    assert!(started.elapsed().as_secs() < 2);
}

#[test]
fn large_files_are_read_in_bounded_time() {
    let key = |n: usize| format!("key{n}: 1\n");
    let hostile = [
        (0..30_000).map(key).collect::<String>(),
        "a: 1\n".repeat(60_000),
        "---\na\n".repeat(50_000),
        "--- }\n".repeat(50_000),
        format!("{}: 1\n", "k".repeat(1_000_000)),
        format!("kind: \"{}\"\n", "k".repeat(1_000_000)),
        format!("metadata: {{name: \"{}\"}}\n", "k".repeat(1_000_000)),
        "- ".repeat(30) + &"[".repeat(30),
        "? ".repeat(500_000),
        "&a ".repeat(300_000),
        "\"\\\n".repeat(300_000),
        "a:\n ".repeat(200_000),
    ];
    for text in hostile {
        let started = std::time::Instant::now();
        let head: String = text.chars().take(20).collect();
        let problems = read(text).unwrap_err();
        assert!(started.elapsed().as_secs() < 20, "{head:?}: {:?}", started.elapsed());
        assert!(problems.0.iter().all(|problem| problem.to_string().len() < 1000), "{head:?}");
    }
}
