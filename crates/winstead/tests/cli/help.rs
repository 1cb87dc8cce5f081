//! The help is part of the product: pinned word by word.

use crate::sandbox::Sandbox;

const COMMANDS: [&[&str]; 31] = [
    &[],
    &["plan"],
    &["up"],
    &["get"],
    &["describe"],
    &["ssh"],
    &["exec"],
    &["cp"],
    &["console"],
    &["logs"],
    &["facts"],
    &["clock"],
    &["reboot"],
    &["reset"],
    &["down"],
    &["image"],
    &["image", "build"],
    &["image", "list"],
    &["image", "verify"],
    &["image", "rm"],
    &["template"],
    &["template", "list"],
    &["template", "rm"],
    &["bench"],
    &["bench", "disk"],
    &["bench", "contention"],
    &["bench", "compare"],
    &["bench", "explain"],
    &["report"],
    &["schema"],
    &["man"],
];

fn help(words: &[&str]) -> String {
    Sandbox::new().ok(&[words, &["--help"]].concat())
}

#[test]
fn help_is_as_it_was() {
    for words in COMMANDS {
        let name = ["help"].iter().chain(words).copied().collect::<Vec<_>>().join("_");
        insta::assert_snapshot!(name, help(words));
    }
}

#[test]
fn help_fits_a_terminal_and_its_examples_are_not_broken() {
    for words in COMMANDS {
        let text = help(words);
        for line in text.lines() {
            assert!(line.chars().count() <= 100, "{line}");
        }
        let examples =
            text.split_once("Examples:\n").unwrap_or_else(|| panic!("{words:?} has no examples")).1;
        for line in examples.lines().take_while(|line| !line.is_empty()) {
            assert!(line.starts_with("  "), "a broken example of {words:?}: {line}");
        }
    }
}

#[test]
fn completions_exist_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = Sandbox::new().ok(&["completions", shell]);
        assert!(script.contains("winstead") && script.contains("describe"), "{shell}: {script}");
    }
}

#[test]
fn manual_pages_are_printed_or_written_and_the_folder_is_the_last_word() {
    let sandbox = Sandbox::new();
    assert!(sandbox.ok(&["man"]).contains(".TH winstead 1"));
    assert_eq!(sandbox.ok(&["man", "--dir", "pages"]), "pages\n");
    let page = fs_err::read_to_string(sandbox.path("pages/winstead-image-build.1")).unwrap();
    assert!(page.contains("winstead image build \\-f agents.yaml"), "{page}");
}
