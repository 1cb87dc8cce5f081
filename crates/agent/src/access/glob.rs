//! Globs: of paths, and of containers, which are paths too.
//!
//! Our own, because there is no pattern that is wrong (so a policy needs no second check of its texts), and because the
//! time it takes is bounded by the lengths of both texts, whatever they are.

/// Whether `text` is meant by `pattern`: `?` is one character and `*` any number of them, both within one folder; `**`
/// goes beyond, and `**/` may be nothing at all. All else is itself.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let tokens = tokens(pattern);
    let mut places = vec![false; tokens.len() + 1];
    places[0] = true;
    let mut before = '/';
    spread(&tokens, &mut places, before);
    for letter in text.chars() {
        let mut next = vec![false; places.len()];
        for (place, token) in tokens.iter().enumerate().filter(|(place, _)| places[*place]) {
            match token {
                Token::Itself(wanted) => next[place + 1] |= *wanted == letter,
                Token::One => next[place + 1] |= letter != '/',
                Token::Some => next[place] |= letter != '/',
                Token::Any | Token::Folders => next[place] = true,
            }
        }
        (places, before) = (next, letter);
        spread(&tokens, &mut places, before);
    }
    places[tokens.len()]
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Itself(char),
    /// `?`
    One,
    /// `*`
    Some,
    /// `**`
    Any,
    /// `**/`, where a folder's name may begin.
    Folders,
}

fn tokens(pattern: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = pattern;
    while let Some(letter) = rest.chars().next() {
        let begins = matches!(tokens.last(), None | Some(Token::Itself('/') | Token::Folders));
        let (token, length) = match letter {
            '*' if begins && rest.starts_with("**/") => (Token::Folders, 3),
            '*' if rest.starts_with("**") => (Token::Any, 2),
            '*' => (Token::Some, 1),
            '?' => (Token::One, 1),
            letter => (Token::Itself(letter), letter.len_utf8()),
        };
        tokens.push(token);
        rest = &rest[length..];
    }
    tokens
}

/// Goes on to the places behind tokens that may be nothing here.
fn spread(tokens: &[Token], places: &mut [bool], before: char) {
    for (place, token) in tokens.iter().enumerate() {
        let nothing = match token {
            Token::Some | Token::Any => true,
            Token::Folders => before == '/',
            Token::Itself(_) | Token::One => false,
        };
        places[place + 1] |= places[place] && nothing;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_star_stays_in_its_folder_and_two_do_not() {
        for (pattern, text, expected) in [
            ("/var/log/*.log", "/var/log/a.log", true),
            ("/var/log/*.log", "/var/log/b/a.log", false),
            ("/var/log/**", "/var/log/b/a.log", true),
            ("/var/log/**", "/var/log/", true),
            ("/var/log/**", "/var/log", false),
            ("/var/log/**", "/var/logs/a", false),
            ("/a/**/b", "/a/b", true),
            ("/a/**/b", "/a/x/y/b", true),
            ("/a/**/b", "/a/xb", false),
            ("/a/**b", "/a/xb", true),
            ("/a**/b", "/axy/b", true),
            ("/a/?", "/a/ä", true),
            ("/a/?", "/a//", false),
            ("/a/[b]", "/a/b", false),
            ("**/**/a", "a", true),
            ("", "", true),
            ("", "a", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn a_pattern_made_to_take_long_does_not() {
        let pattern = "*a".repeat(500);
        assert!(!matches(&pattern, &"a".repeat(499)));
        assert!(matches(&pattern, &"a".repeat(500)));
    }

    proptest! {
        #[test]
        fn a_text_without_stars_means_itself_alone(pattern in "[^*?]{0,20}", other in "\\PC{0,20}") {
            prop_assert!(matches(&pattern, &pattern));
            prop_assert_eq!(matches(&pattern, &other), pattern == other);
        }

        #[test]
        fn a_star_in_place_of_a_part_still_fits(text in "[a-c/]{0,20}", at in any::<prop::sample::Index>(), length in 0_usize..5) {
            let at = at.index(text.len() + 1);
            let end = (at + length).min(text.len());
            let star = if text[at..end].contains('/') { "**" } else { "*" };
            let pattern = format!("{}{star}{}", &text[..at], &text[end..]);
            // `**/` behind a `/` is whole folders, which a part of one is not.
            if !pattern.contains("**/") {
                prop_assert!(matches(&pattern, &text), "{} {}", pattern, text);
            }
        }
    }
}
