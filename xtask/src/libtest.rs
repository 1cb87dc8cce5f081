//! Reads what cargo and Rust's test harness print: counts, failures, and the lines by which a test says that this host
//! cannot run it. Pure.

use crate::command::Stream;

/// What a test writes to standard error before it returns early (`winstead_testing::skip`).
const SKIP: &str = "skipped: ";

/// The sum of what was read so far.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    passed: usize,
    failed: usize,
    /// Test programs that were started, and those that reported a result. Cargo says the first on standard error, the
    /// programs say the second on standard output, so their order is not known; their number is.
    programs: (usize, usize),
    /// The names of failed tests.
    failures: Vec<String>,
    /// Each reason, with the test's name where it is known.
    skips: Vec<String>,
    section: Section,
    owner: Option<String>,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Section {
    /// Progress, one line a test.
    #[default]
    Progress,
    /// What passing tests wrote: looked at for skips, not shown.
    Successes,
    /// What failing tests wrote.
    Failures,
}

impl Tally {
    /// Tests that ran to their end.
    #[must_use]
    pub(crate) fn passed(&self) -> usize {
        // A skipping test passes as far as the harness knows.
        self.passed.saturating_sub(self.skips.len())
    }

    /// Tests that this host could not run.
    #[must_use]
    pub(crate) fn skipped(&self) -> usize {
        self.skips.len()
    }

    /// Takes one line; says whether it is worth showing.
    pub(crate) fn read(&mut self, stream: Stream, line: &str) -> bool {
        let words = line.trim();
        if let Some(reason) = words.strip_prefix(SKIP) {
            let owner =
                self.owner.as_ref().filter(|_| stream == Stream::Out && self.section == Section::Successes);
            self.skips.push(owner.map_or_else(|| reason.to_owned(), |owner| format!("{owner}: {reason}")));
            return false;
        }
        match stream {
            Stream::Err => {
                self.read_cargo(words);
                true
            }
            Stream::Out => self.read_harness(line),
        }
    }

    /// Tests that failed, and programs that died before they could say so.
    #[must_use]
    pub(crate) fn failed(&self) -> usize {
        self.failed + self.dead_programs()
    }

    /// Test programs that ended without a result.
    #[must_use]
    pub(crate) fn dead_programs(&self) -> usize {
        self.programs.0.saturating_sub(self.programs.1)
    }

    /// The names of failed tests, as far as they were printed.
    #[must_use]
    pub(crate) fn failures(&self) -> &[String] {
        &self.failures
    }

    /// Why tests were skipped.
    #[must_use]
    pub(crate) fn skips(&self) -> &[String] {
        &self.skips
    }

    fn read_cargo(&mut self, words: &str) {
        if words.starts_with("Running ") || words.starts_with("Doc-tests ") {
            self.programs.0 += 1;
        }
    }

    fn read_harness(&mut self, line: &str) -> bool {
        if let Some(counts) = line.strip_prefix("test result: ") {
            self.count(counts);
            return true;
        }
        match line {
            "successes:" => self.section = Section::Successes,
            "failures:" => self.section = Section::Failures,
            _ => {}
        }
        if let Some(name) = heading(line) {
            self.owner = Some(name.to_owned());
        }
        match self.section {
            Section::Progress => self.read_progress(line),
            Section::Successes => false,
            Section::Failures => true,
        }
    }

    fn read_progress(&mut self, line: &str) -> bool {
        match line.strip_prefix("test ").and_then(|rest| rest.split_once(" ... ")) {
            Some((name, "FAILED")) => self.failures.push(name.to_owned()),
            Some((name, outcome)) if outcome.starts_with("ignored") => {
                let reason = outcome.strip_prefix("ignored, ").unwrap_or("ignored, without a reason");
                self.skips.push(format!("{name}: {reason}"));
            }
            _ => {}
        }
        !line.is_empty()
    }

    fn count(&mut self, counts: &str) {
        let number = |what: &str| {
            let part = counts.split([';', '.']).map(str::trim).find_map(|part| part.strip_suffix(what));
            part.and_then(|number| number.trim().parse::<usize>().ok()).unwrap_or(0)
        };
        // Both are among the skips, as far as they are ones, which are taken away again.
        self.passed += number(" passed") + number(" ignored");
        self.failed += number(" failed");
        self.programs.1 += 1;
        self.section = Section::Progress;
    }
}

/// The test named in `---- NAME stdout ----`.
fn heading(line: &str) -> Option<&str> {
    line.strip_prefix("---- ")?.strip_suffix(" ----")?.split_whitespace().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[(Stream, &str)]) -> (Tally, Vec<String>) {
        let mut tally = Tally::default();
        let shown = lines
            .iter()
            .filter(|(stream, line)| tally.read(*stream, line))
            .map(|(_, line)| (*line).to_owned());
        let shown = shown.collect();
        (tally, shown)
    }

    /// As cargo 1.95 prints it with `--show-output`.
    const CAPTURED: &[(Stream, &str)] = &[
        (Stream::Err, "     Running unittests src/lib.rs (target/debug/deps/a-1)"),
        (Stream::Out, ""),
        (Stream::Out, "running 4 tests"),
        (Stream::Out, "test one ... ok"),
        (Stream::Out, "test two ... ok"),
        (Stream::Out, "test three ... FAILED"),
        (Stream::Out, "test four ... ignored, it measures"),
        (Stream::Out, "successes:"),
        (Stream::Out, "---- two stdout ----"),
        (Stream::Out, "skipped: not root"),
        (Stream::Out, "successes:"),
        (Stream::Out, "    one"),
        (Stream::Out, "failures:"),
        (Stream::Out, "---- three stdout ----"),
        (Stream::Out, "assertion failed"),
        (
            Stream::Out,
            "test result: FAILED. 2 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s",
        ),
        (Stream::Err, "   Doc-tests winstead_spec"),
        (
            Stream::Out,
            "test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
        ),
    ];

    #[test]
    fn passed_failed_and_skipped_are_told_apart() {
        let (tally, _) = read(CAPTURED);
        assert_eq!((tally.passed(), tally.failed(), tally.skipped()), (1, 1, 2));
        assert_eq!(tally.failures(), ["three"]);
        assert_eq!(tally.skips(), ["four: it measures", "two: not root"]);
    }

    #[test]
    fn what_passing_tests_wrote_is_hidden_and_what_failing_tests_wrote_is_shown() {
        let (_, shown) = read(CAPTURED);
        assert!(shown.contains(&"assertion failed".to_owned()));
        assert!(!shown.iter().any(|line| line.contains("two stdout") || line == "    one"), "{shown:?}");
    }

    #[test]
    fn a_skip_written_past_the_harness_counts_too() {
        let (tally, _) = read(&[(Stream::Err, "skipped: no /dev/kvm")]);
        assert_eq!(tally.skips(), ["no /dev/kvm"]);
    }

    #[test]
    fn a_test_program_that_died_is_a_failure() {
        let (tally, _) = read(&[(Stream::Err, "     Running tests/boot.rs (target/debug/deps/boot-1)")]);
        assert_eq!((tally.failed(), tally.dead_programs()), (1, 1));
    }
}
