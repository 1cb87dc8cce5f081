//! A home of the test's own, an empty environment, and the binary run in them.

use std::{path::PathBuf, process::Output};

use assert_cmd::Command;

/// One home; gone after the test.
pub(crate) struct Sandbox {
    folder: tempfile::TempDir,
}

/// How a command ended, with everything that varies hidden.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Sandbox {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder for the test") }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.path("home")
    }

    /// A file in the folder that commands run in.
    pub(crate) fn write(&self, name: &str, text: &str) {
        fs_err::write(self.path(name), text).expect("write a file of the test");
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_winstead"));
        command.env_clear().env("HOME", self.folder.path()).env("WINSTEAD_HOME", self.home());
        command.current_dir(self.folder.path()).args(arguments);
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        self.ended(&self.command(arguments).output().expect("start winstead"))
    }

    pub(crate) fn ended(&self, output: &Output) -> Ran {
        let text = |bytes| self.redacted(&String::from_utf8_lossy(bytes));
        Ran { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }

    /// The text without the name of this test's folder.
    pub(crate) fn redacted(&self, text: &str) -> String {
        text.replace(&self.folder.path().display().to_string(), "[FOLDER]")
    }

    /// Runs a command that must succeed, and returns what it wrote on standard output.
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        let ran = self.run(arguments);
        assert_eq!(ran.code, Some(0), "winstead {}: {}", arguments.join(" "), ran.stderr);
        ran.stdout
    }
}

impl Ran {
    /// Everything in one text, for snapshots.
    pub(crate) fn whole(&self) -> String {
        let code = self.code.map_or_else(|| "a signal".to_owned(), |code| code.to_string());
        format!("exit code {code}\n{}{}", self.stdout, self.stderr)
    }
}

/// A plan or a sum without what the host's memory has to do with: lines, and the width of columns.
pub(crate) fn without_host(text: &str) -> String {
    let varies = |line: &&str| {
        ["available", "too much", "---", "error:", "hint:"].iter().any(|word| line.contains(word))
    };
    let lines = text.lines().filter(|line| !varies(line)).map(|line| {
        let words: Vec<&str> = line.split("  ").filter(|word| !word.is_empty()).map(str::trim).collect();
        words.join(" | ")
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// A pool of an image that has still to be built.
pub(crate) fn pool(memory: &str) -> String {
    format!(
        "apiVersion: winstead.dev/v1alpha1\nkind: Image\nmetadata: {{name: tiny}}\nspec:\n  debian: {{suite: trixie}}\n---\n\
         apiVersion: winstead.dev/v1alpha1\nkind: Pool\nmetadata: {{name: agents}}\nspec:\n  image: tiny\n  replicas: 2\n  \
         machine: {{cpus: 1, memory: {memory}, disk: {{store: ram, cap: 8MiB}}}}\n---\n\
         apiVersion: winstead.dev/v1alpha1\nkind: Host\nmetadata: {{name: local}}\nspec:\n  memory: {{reserve: 1MiB}}\n  \
         growth: {{reserve: 1MiB, step: 1MiB}}\n"
    )
}
