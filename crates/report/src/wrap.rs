//! Sentences in lines that fit a terminal.

/// What a terminal has at least.
pub(crate) const WIDTH: usize = 80;

/// The text in lines of at most [`WIDTH`], the first after `first`, the others as far in. Whatever white space or control
/// characters a document brings, only its words are left: nothing that a terminal obeys.
pub(crate) fn wrapped(first: &str, text: &str) -> String {
    let indent = " ".repeat(first.chars().count());
    let (mut lines, mut line) = (String::new(), first.to_owned());
    let mut is_empty = true;
    for word in text.split(|character: char| character.is_whitespace() || is_obeyed(character)) {
        if word.is_empty() {
            continue;
        }
        if !is_empty && line.chars().count() + 1 + word.chars().count() > WIDTH {
            lines += &format!("{line}\n");
            line.clone_from(&indent);
            is_empty = true;
        }
        if !is_empty {
            line.push(' ');
        }
        line += word;
        is_empty = false;
    }
    lines + line.trim_end() + "\n"
}

/// Whether a terminal obeys a character instead of showing it: control characters, and those that turn around the direction
/// of what follows (Unicode Annex 9), so that a text reads unlike what it is.
pub(crate) fn is_obeyed(character: char) -> bool {
    character.is_control() || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_fit_and_later_ones_stand_under_the_first() {
        let text = "word ".repeat(30);
        let lines = wrapped("- ", &text);
        assert!(lines.lines().all(|line| line.chars().count() <= WIDTH), "{lines}");
        assert_eq!(lines.lines().count(), 2);
        assert!(lines.starts_with("- word") && lines.contains("\n  word"), "{lines}");
        assert_eq!(lines.matches("word").count(), 30);
    }

    #[test]
    fn a_terminal_finds_nothing_to_obey() {
        assert_eq!(wrapped("- ", "a\u{1b}[2Jb\r\n\u{9b}c"), "- a [2Jb c\n");
        assert_eq!(wrapped("- ", "a\u{202e}b\u{2066}c"), "- a b c\n");
        assert_eq!(wrapped("- ", ""), "-\n");
        let long = "x".repeat(200);
        assert_eq!(wrapped("", &long), format!("{long}\n"));
    }
}
