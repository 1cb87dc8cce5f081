//! The audit log: one line of JSON for each decision, in a file that only the agent reads and writes.
//!
//! Names of environment variables are written, never their values. Arguments are, up to a length: what is secret does not
//! belong there, as everybody on the computer can see them anyway. Every text of a caller's is cut, so that no line and no
//! file grows without bound.

use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use fs_err as fs;
use serde_json::{Map, Value, json};

use crate::{
    access::{Caller, Limits, Port, Request, Run, Terms, Verdict},
    folder,
};

/// What the newest file is called; older ones end in `.1` and so on.
const NAME: &str = "audit.jsonl";
/// Then another file is begun.
const LARGEST: u64 = 16 << 20;
/// Older files that are kept.
const KEPT: u32 = 4;
/// The longest text of a caller's that is written.
const TEXT: usize = 1024;
/// The most texts of a list.
const ITEMS: usize = 64;

/// An answer cannot be written down. Display is a fragment after "failed to".
#[derive(Debug, thiserror::Error)]
#[error("write the audit log in {}", folder.display())]
pub struct AuditError {
    /// Where it is.
    folder: PathBuf,
    /// Why not.
    source: io::Error,
}

/// The audit log.
#[derive(Debug)]
pub struct Audit {
    folder: PathBuf,
    largest: u64,
    open: Mutex<Open>,
}

#[derive(Debug)]
struct Open {
    file: fs::File,
    length: u64,
    /// Whether half a line may stand behind `length`.
    spoilt: bool,
}

impl Audit {
    /// Opens the log in a folder that is locked down, and goes on where it ends.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(folder: &Path) -> Result<Self, AuditError> {
        Self::with_largest(folder, LARGEST)
    }

    fn with_largest(folder: &Path, largest: u64) -> Result<Self, AuditError> {
        let open = open(folder).map_err(|source| AuditError { folder: folder.to_owned(), source })?;
        Ok(Self { folder: folder.to_owned(), largest, open: Mutex::new(open) })
    }

    /// Writes one answer down. It blocks for as long as the system takes to take a few hundred bytes into its memory.
    ///
    /// # Errors
    /// When that cannot be done: then what was allowed must not happen. Nothing of the line is left.
    pub fn write(&self, caller: &Caller, request: Request<'_>, verdict: &Verdict) -> Result<(), AuditError> {
        let line = format!("{}\n", line(caller, request, verdict));
        self.append(line.as_bytes()).map_err(|source| AuditError { folder: self.folder.clone(), source })
    }

    /// From now on as on a full disk.
    #[cfg(all(test, target_os = "linux"))]
    pub(crate) fn fill_up(&self) {
        self.locked().file = fs::OpenOptions::new().append(true).open("/dev/full").expect("it is there");
    }

    fn append(&self, line: &[u8]) -> io::Result<()> {
        let mut open = self.locked();
        if open.length > 0 && open.length + line.len() as u64 > self.largest {
            self.begin_another(&mut open)?;
        }
        if open.spoilt {
            open.file.set_len(open.length)?;
            open.spoilt = false;
        }
        let written = open.file.write_all(line);
        match &written {
            Ok(()) => open.length += line.len() as u64,
            // Half a line would spoil the next one: it goes now, or before that.
            Err(_) => open.spoilt = open.file.set_len(open.length).is_err(),
        }
        written
    }

    fn begin_another(&self, open: &mut Open) -> io::Result<()> {
        let old = |number: u32| self.folder.join(format!("{NAME}.{number}"));
        for number in (1..KEPT).rev() {
            match fs::rename(old(number), old(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::rename(self.folder.join(NAME), old(1))?;
        *open = self::open(&self.folder)?;
        Ok(())
    }

    fn locked(&self) -> MutexGuard<'_, Open> {
        // Whoever panicked in here left a file and its length, which are good.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn open(folder: &Path) -> io::Result<Open> {
    let file = folder::open_private(&folder.join(NAME))?;
    let length = file.metadata()?.len();
    Ok(Open { file, length, spoilt: false })
}

fn line(caller: &Caller, request: Request<'_>, verdict: &Verdict) -> Value {
    let mut line = Map::new();
    let mut put = |key: &str, value: Value| _ = line.insert(key.to_owned(), value);
    put("time", json!(jiff::Timestamp::now().to_string()));
    put("caller", who(caller));
    put("request", what(request));
    match verdict {
        Verdict::Allowed(terms) => {
            put("decision", json!("allowed"));
            put("rule", json!(terms.rule));
            put("terms", given(terms));
        }
        Verdict::NeedsDigest => put("decision", json!("needs-digest")),
        Verdict::Refused(nearest) => {
            put("decision", json!("denied"));
            let nearest = nearest.as_ref();
            put("nearest", json!(nearest.map(|(rule, why)| json!({ "rule": rule, "why": why.to_string() }))));
        }
    }
    Value::Object(line)
}

fn who(caller: &Caller) -> Value {
    let account = &caller.account;
    let process = caller.process.as_ref().map(|process| {
        json!({
            "pid": process.pid,
            "started": process.started,
            "program": process.program.as_ref().map(|path| short(&path.to_string_lossy())),
            "sha256": process.sha256.as_ref().map(winstead_spec::Sha256::hex),
        })
    });
    let certificate = account
        .certificate
        .as_ref()
        .map(|certificate| json!({ "names": texts(&certificate.names), "sha256": certificate.sha256.hex() }));
    json!({
        "door": caller.door.to_string(),
        "account": short(&account.name),
        "id": short(&account.id),
        "groups": texts(&account.groups),
        "administrator": account.administrator,
        "certificate": certificate,
        "process": process,
        "container": caller.container.as_ref().map(|container| short(container)),
    })
}

fn what(request: Request<'_>) -> Value {
    match request {
        Request::Run(run) => program(run),
        Request::Process { owner } => json!({ "kind": "process", "owner": short(owner) }),
        Request::Tunnel(port) => json!({ "kind": "tunnel", "port": short(&port.to_string()) }),
        Request::Read(path) => json!({ "kind": "read", "path": short(&path.to_string_lossy()) }),
        Request::Write(path) => json!({ "kind": "write", "path": short(&path.to_string_lossy()) }),
        Request::Reboot => json!({ "kind": "reboot" }),
        Request::Query(query) => json!({ "kind": "query", "about": query.to_string() }),
        Request::AddRoute(network) => json!({ "kind": "route", "network": short(network) }),
    }
}

fn program(run: &Run) -> Value {
    let names: Vec<String> = run.environment.iter().map(|(name, _)| name.clone()).collect();
    let ports: Vec<String> = Port::ranges(&run.ports).iter().map(ToString::to_string).collect();
    json!({
        "kind": "run",
        "program": short(&run.program.to_string_lossy()),
        "sha256": run.sha256.as_ref().map(winstead_spec::Sha256::hex),
        "signer": run.signer.as_ref().map(|signer| json!({
            "subject": short(&signer.subject),
            "sha256": signer.sha256.hex(),
        })),
        "arguments": texts(&run.arguments),
        "environment": texts(&names),
        "folder": run.folder.as_ref().map(|path| short(&path.to_string_lossy())),
        "account": run.account.as_ref().map(|account| short(account)),
        "limits": limits(&run.limits),
        "ports": texts(&ports),
    })
}

fn given(terms: &Terms) -> Value {
    json!({ "account": terms.account, "limits": limits(&terms.limits) })
}

fn limits(limits: &Limits) -> Value {
    json!({
        "memoryBytes": limits.memory.map(winstead_spec::ByteSize::bytes),
        "processes": limits.processes,
        "cpuMilli": limits.cpu_milli,
    })
}

/// The first texts of a list, each cut; how many are left out is the last one.
fn texts(all: &[String]) -> Vec<String> {
    let mut texts: Vec<String> = all.iter().take(ITEMS).map(|text| short(text)).collect();
    if all.len() > ITEMS {
        texts.push(format!("… {} more", all.len() - ITEMS));
    }
    texts
}

fn short(text: &str) -> String {
    if text.len() <= TEXT {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(TEXT);
    format!("{}… {} bytes more", &text[..end], text.len() - end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Account, Door, Why};

    fn caller() -> Caller {
        let account = Account { name: "ann".to_owned(), id: "7".to_owned(), ..Account::default() };
        Caller { door: Door::Local, account, process: None, container: None }
    }

    fn allowed() -> Verdict {
        Verdict::Allowed(Terms { rule: "r".to_owned(), ..Terms::default() })
    }

    fn lines(folder: &Path, name: &str) -> Vec<Value> {
        let text = fs::read_to_string(folder.join(name)).expect("the file is there");
        text.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
    }

    #[test]
    fn a_line_has_names_of_variables_and_never_their_values() {
        let folder = tempfile::tempdir().expect("a folder");
        let audit = Audit::open(folder.path()).expect("it opens");
        let environment = vec![("TOKEN".to_owned(), "hunter2".to_owned())];
        let ports = "tcp/80-4000".parse().map(|range| Port::each(&range).collect()).expect("ports");
        let run = Run { program: "/bin/true".into(), environment, ports, ..Run::default() };
        audit.write(&caller(), Request::Run(&run), &allowed()).expect("there is room");
        let refused = Verdict::Refused(Some(("near".to_owned(), Why::Digest)));
        audit.write(&caller(), Request::Reboot, &refused).expect("there is room");
        let lines = lines(folder.path(), NAME);
        assert_eq!(lines[0]["request"]["environment"], json!(["TOKEN"]));
        assert!(!lines[0].to_string().contains("hunter2"));
        assert_eq!(lines[0]["request"]["ports"], json!(["tcp/80-4000"]), "all of them, however many");
        assert_eq!((&lines[0]["decision"], &lines[0]["rule"]), (&json!("allowed"), &json!("r")));
        assert_eq!(lines[1]["nearest"], json!({ "rule": "near", "why": "the program has another digest" }));
    }

    #[test]
    fn no_line_grows_with_what_a_caller_sends() {
        let long = "ä".repeat(1 << 20);
        let run = Run {
            program: long.clone().into(),
            arguments: vec![long; 1000],
            environment: vec![("B".repeat(1 << 16), String::new()); 1000],
            ..Run::default()
        };
        let line = line(&caller(), Request::Run(&run), &allowed()).to_string();
        assert!(line.len() < 200_000, "{}", line.len());
    }

    #[test]
    fn old_files_are_kept_and_the_oldest_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let audit = Audit::with_largest(folder.path(), 600).expect("it opens");
        for _ in 0..40 {
            audit.write(&caller(), Request::Reboot, &allowed()).expect("there is room");
        }
        for number in 1..=KEPT {
            assert!(!lines(folder.path(), &format!("{NAME}.{number}")).is_empty());
        }
        let files = fs::read_dir(folder.path()).expect("the folder is there").count();
        assert_eq!(files, KEPT as usize + 1);
        drop(audit);
        let before = lines(folder.path(), NAME).len();
        let audit = Audit::open(folder.path()).expect("it opens again");
        audit.write(&caller(), Request::Reboot, &allowed()).expect("there is room");
        assert_eq!(lines(folder.path(), NAME).len(), before + 1);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn on_a_full_disk_nothing_is_written_and_it_is_said() {
        let folder = tempfile::tempdir().expect("a folder");
        let audit = Audit::open(folder.path()).expect("it opens");
        audit.fill_up();
        let refused = audit.write(&caller(), Request::Reboot, &allowed()).expect_err("it is full");
        assert_eq!(refused.source.kind(), io::ErrorKind::StorageFull);
        *audit.locked() = open(folder.path()).expect("there is room again");
        audit.write(&caller(), Request::Reboot, &allowed()).expect("there is room again");
        assert_eq!(lines(folder.path(), NAME).len(), 1);
    }
}
