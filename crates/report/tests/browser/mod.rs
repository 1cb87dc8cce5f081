//! Headless Chromium, with a profile of its own and no network.

use std::{path::Path, time::Duration};

use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use winstead_process::{Command, CommandError};

/// A browser, and the folder of what it is shown and draws.
pub(crate) struct Browser {
    program: &'static str,
    folder: TempDir,
}

/// As Debian, Ubuntu and Google call it.
const PROGRAMS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// Without its sandbox: it cannot have one as root, and is shown nothing but our own page. Names lead nowhere.
const ALWAYS: [&str; 8] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--hide-scrollbars",
    "--no-first-run",
    "--disable-dev-shm-usage",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--enable-logging=stderr",
];

impl Browser {
    /// The first that is installed and shows what is in our folder; `None` when none does.
    pub(crate) async fn find() -> Option<Self> {
        for program in PROGRAMS {
            let browser = Self { program, folder: tempfile::tempdir().expect("a folder for the test") };
            if browser.works().await {
                return Some(browser);
            }
        }
        None
    }

    /// Ubuntu's package is a script that asks for a snap, and a snap has a `/tmp` of its own.
    async fn works(&self) -> bool {
        self.write("hello.html", "<p>hello</p>");
        self.open("hello.html", &["--dump-dom"]).await.is_ok_and(|(dom, _)| dom.contains("<p>hello</p>"))
    }

    /// Where pages and pictures are.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Puts a page into the folder.
    pub(crate) fn write(&self, name: &str, page: &str) {
        fs_err::write(self.folder().join(name), page).expect("write a page of the test");
    }

    /// Opens a page of the folder; standard output, and what the page's console said.
    ///
    /// # Errors
    /// When the browser fails, or takes longer than two minutes.
    pub(crate) async fn open(
        &self,
        page: &str,
        arguments: &[&str],
    ) -> Result<(String, Vec<String>), CommandError> {
        let page = format!("file://{}", self.folder().join(page).display());
        let profile = format!("--user-data-dir={}", self.folder().join("profile").display());
        let command = Command::new(self.program).args(ALWAYS).arg(profile).args(arguments).arg(page);
        let command =
            command.env("HOME", self.folder()).folder(self.folder()).deadline(Duration::from_mins(2));
        let output = command.run(&CancellationToken::new()).await?;
        let said = String::from_utf8_lossy(&output.stderr);
        let console = said.lines().filter(|line| line.contains("CONSOLE")).map(str::to_owned).collect();
        Ok((output.text(), console))
    }
}
