//! Words to a command line for the guest's shell: SSH carries one line, never an argv.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::{OsStrExt, OsStringExt},
};

use winstead_spec::GuestOs;

/// A word that the guest's shell cannot be given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("quote the argument {word:?} for the guest's shell: {reason}")]
pub struct QuoteError {
    /// The word.
    pub word: OsString,
    /// Why not.
    pub reason: &'static str,
}

/// The words as one command line for the guest's login shell, such that the program gets exactly these words.
///
/// Linux: any POSIX shell. Windows: OpenSSH gives the line to `cmd.exe /c` unless the registry says otherwise, and the
/// program splits it again by the rules of the C run-time; both are taken care of. A Windows image whose default shell
/// is PowerShell is not supported. (The Windows rules follow the documentation and have not been run on Windows yet.)
///
/// # Errors
/// For a NUL byte; on Windows also for a line break, which `cmd.exe` takes as the end, and for bytes that are no
/// Unicode.
pub fn quote(os: GuestOs, argv: &[OsString]) -> Result<OsString, QuoteError> {
    match os {
        GuestOs::Linux => posix(argv),
        GuestOs::Windows => windows(argv),
    }
}

fn posix(argv: &[OsString]) -> Result<OsString, QuoteError> {
    let mut line = Vec::new();
    for word in argv {
        let quoted =
            shlex::bytes::try_quote(word.as_bytes()).map_err(|_| refuse(word, "it holds a NUL byte"))?;
        separate(&mut line);
        line.extend_from_slice(&quoted);
    }
    Ok(OsString::from_vec(line))
}

fn separate(line: &mut Vec<u8>) {
    if !line.is_empty() {
        line.push(b' ');
    }
}

fn windows(argv: &[OsString]) -> Result<OsString, QuoteError> {
    let mut line = String::new();
    for word in argv {
        let text = word.to_str().ok_or_else(|| refuse(word, "it is no Unicode text"))?;
        if text.contains(['\0', '\r', '\n']) {
            return Err(refuse(word, "it holds a NUL or a line break"));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(&escape_for_cmd(&quote_for_c_runtime(text)));
    }
    Ok(line.into())
}

/// Microsoft's "Parsing C command-line arguments": backslashes count only before a double quote, where each is doubled.
fn quote_for_c_runtime(word: &str) -> String {
    if !word.is_empty() && !word.contains([' ', '\t', '"']) {
        return word.to_owned();
    }
    let (mut quoted, mut backslashes) = (String::from("\""), 0);
    for letter in word.chars() {
        match letter {
            '\\' => backslashes += 1,
            '"' => quoted.push_str(&"\\".repeat(backslashes * 2 + 1)),
            _ => quoted.push_str(&"\\".repeat(backslashes)),
        }
        if letter != '\\' {
            quoted.push(letter);
            backslashes = 0;
        }
    }
    quoted.push_str(&"\\".repeat(backslashes * 2));
    quoted.push('"');
    quoted
}

/// A caret before each letter that means something to cmd.exe, quotes too, so that it never is inside quotes and sees
/// every caret. `^%NAME^%` names the variable `NAME^`, which does not exist, and stays as it is without its carets.
fn escape_for_cmd(word: &str) -> String {
    let mut escaped = String::with_capacity(word.len());
    for letter in word.chars() {
        if "()%!^\"<>&|".contains(letter) {
            escaped.push('^');
        }
        escaped.push(letter);
    }
    escaped
}

fn refuse(word: &OsStr, reason: &'static str) -> QuoteError {
    QuoteError { word: word.to_owned(), reason }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(words: &[&str]) -> Vec<OsString> {
        words.iter().map(OsString::from).collect()
    }

    #[test]
    fn posix_words_are_quoted_where_they_must_be() {
        let line = quote(GuestOs::Linux, &words(&["sh", "-c", "echo $HOME; ls 'a b'", "", "*"])).unwrap();
        insta::assert_snapshot!(line.to_str().unwrap(), @r#"sh -c 'echo $HOME; ls '"'a b'" '' '*'"#);
        let bytes = OsString::from_vec(vec![b'a', 0xff, b' ']);
        assert!(quote(GuestOs::Linux, &[bytes]).unwrap().as_bytes().contains(&0xff));
    }

    #[test]
    fn windows_words_survive_cmd_and_the_c_runtime() {
        let line = quote(
            GuestOs::Windows,
            &words(&["cmd", "dir", r"C:\Program Files\", "", r#"say "hi"\"#, "100%", "a&b|c>d^e"]),
        )
        .unwrap();
        insta::assert_snapshot!(line.to_str().unwrap(), @r#"cmd dir ^"C:\Program Files\\^" ^"^" ^"say \^"hi\^"\\^" 100^% a^&b^|c^>d^^e"#);
    }

    #[test]
    fn words_that_cannot_be_carried_are_refused_by_name() {
        let error = quote(GuestOs::Windows, &words(&["echo", "a\nb"])).unwrap_err();
        insta::assert_snapshot!(error, @r#"quote the argument "a\nb" for the guest's shell: it holds a NUL or a line break"#);
        assert!(quote(GuestOs::Linux, &words(&["a\0b"])).is_err());
        quote(GuestOs::Linux, &words(&["a\nb"])).unwrap();
    }

    /// Undoes cmd.exe's carets, then splits as the C run-time does: the reader's side of the contract.
    fn split_windows(line: &str) -> Vec<String> {
        let mut plain = String::new();
        let mut letters = line.chars();
        while let Some(letter) = letters.next() {
            plain.extend(if letter == '^' { letters.next() } else { Some(letter) });
        }
        let (mut found, mut word, mut quoted, mut begun, mut backslashes) =
            (Vec::new(), String::new(), false, false, 0);
        for letter in plain.chars() {
            if letter == '\\' {
                backslashes += 1;
                begun = true;
                continue;
            }
            let kept = if letter == '"' { backslashes / 2 } else { backslashes };
            word.push_str(&"\\".repeat(kept));
            let literal = letter == '"' && backslashes % 2 == 1;
            backslashes = 0;
            match letter {
                '"' if !literal => (quoted, begun) = (!quoted, true),
                ' ' | '\t' if !quoted => {
                    if begun {
                        found.push(std::mem::take(&mut word));
                    }
                    begun = false;
                }
                _ => {
                    word.push(letter);
                    begun = true;
                }
            }
        }
        word.push_str(&"\\".repeat(backslashes));
        if begun {
            found.push(word);
        }
        found
    }

    proptest! {
        #[test]
        fn a_posix_shell_reads_back_what_was_quoted(argv in prop::collection::vec("[^\0]{0,12}", 1..5)) {
            let line = posix(&argv.iter().map(OsString::from).collect::<Vec<_>>()).unwrap();
            prop_assert_eq!(shlex::split(line.to_str().unwrap()).unwrap(), argv);
        }

        #[test]
        fn windows_reads_back_what_was_quoted(argv in prop::collection::vec(r#"[a-c \\"%^&|()<>!\t]{0,10}"#, 1..5)) {
            let line = windows(&argv.iter().map(OsString::from).collect::<Vec<_>>()).unwrap();
            prop_assert_eq!(split_windows(line.to_str().unwrap()), argv);
        }
    }
}
