//! Starts a program that is in its job before it has done anything, with three streams or a terminal, an environment of its
//! own and, if need be, as somebody else.
#![expect(unsafe_code, reason = "std starts no process that is suspended and handed out with its thread")]

use std::{
    ffi::{OsStr, OsString, c_void},
    io,
    os::windows::{
        ffi::OsStrExt as _,
        io::{AsHandle, AsRawHandle as _, BorrowedHandle, FromRawHandle as _, OwnedHandle, RawHandle},
    },
    path::Path,
    ptr::{null, null_mut},
};

use windows_sys::Win32::{
    Foundation::{HANDLE_FLAG_INHERIT, SetHandleInformation, WAIT_OBJECT_0},
    Security::{LOGON32_LOGON_SERVICE, LOGON32_PROVIDER_DEFAULT, LogonUserW},
    System::{
        Console::{CTRL_BREAK_EVENT, GenerateConsoleCtrlEvent, HPCON},
        Threading::{
            CREATE_BREAKAWAY_FROM_JOB, CREATE_NEW_PROCESS_GROUP, CREATE_NO_WINDOW, CREATE_SUSPENDED,
            CREATE_UNICODE_ENVIRONMENT, CreateProcessAsUserW, CreateProcessW, DeleteProcThreadAttributeList,
            EXTENDED_STARTUPINFO_PRESENT, GetExitCodeProcess, INFINITE, InitializeProcThreadAttributeList,
            PROC_THREAD_ATTRIBUTE_HANDLE_LIST, PROC_THREAD_ATTRIBUTE_PSEUDOCONSOLE, PROCESS_CREATION_FLAGS,
            PROCESS_INFORMATION, ResumeThread, STARTF_USESTDHANDLES, STARTUPINFOEXW,
            UpdateProcThreadAttribute, WaitForSingleObject,
        },
    },
};

use crate::windows::{
    Job, PseudoConsole,
    console::let_ctrl_c_through,
    memory::{size, wide},
};

/// The longest command line that Windows takes, in characters.
const LONGEST_LINE: usize = 32_767;

/// What to start.
#[derive(Debug)]
pub struct Program<'a> {
    /// What is executed: absolute.
    pub file: &'a Path,
    /// Its arguments, without itself.
    pub arguments: &'a [String],
    /// All of its environment.
    pub environment: &'a [(String, String)],
    /// Where it runs.
    pub folder: &'a Path,
    /// What it reads and writes.
    pub streams: Streams<'a>,
    /// As whom; nothing: as we are.
    pub account: Option<&'a Login>,
}

/// Where a program's standard streams lead.
#[derive(Clone, Copy, Debug)]
pub enum Streams<'a> {
    /// Standard input, output and error.
    Pipes([BorrowedHandle<'a>; 3]),
    /// All three are a terminal's.
    Terminal(&'a PseudoConsole),
}

/// An account that a program can be started as.
#[derive(Debug)]
pub struct Login(OwnedHandle);

impl Login {
    /// One of the two accounts of Windows' own that have few rights and no password: `LocalService`, `NetworkService`.
    /// Not yet run on a real Windows.
    ///
    /// # Errors
    /// When it is another one, or we may not: that takes the system's own rights.
    pub fn service(name: &str) -> io::Result<Self> {
        let name = name.strip_prefix(r"NT AUTHORITY\").unwrap_or(name);
        let known =
            ["LocalService", "NetworkService"].into_iter().find(|known| known.eq_ignore_ascii_case(name));
        let known = known.ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::Unsupported,
                "only LocalService and NetworkService have no password",
            )
        })?;
        let (name, domain, mut token) = (wide(known), wide("NT AUTHORITY"), null_mut());
        // SAFETY: both texts end with a zero; the new handle is ours to close.
        unsafe {
            let (kind, provider) = (LOGON32_LOGON_SERVICE, LOGON32_PROVIDER_DEFAULT);
            if LogonUserW(name.as_ptr(), domain.as_ptr(), null(), kind, provider, &raw mut token) == 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(Self(OwnedHandle::from_raw_handle(token)))
        }
    }
}

/// A program that was started.
#[derive(Debug)]
pub struct Started {
    process: OwnedHandle,
    pid: u32,
}

/// A program that has not done anything yet, in its job.
#[derive(Debug)]
pub(crate) struct Suspended {
    started: Started,
    thread: OwnedHandle,
}

impl Suspended {
    /// Creates `program` in `job`. It is in there before its first instruction, so nothing that it starts is outside.
    ///
    /// # Errors
    /// When it cannot be started or taken in; nothing of it is left then.
    pub(crate) fn create(program: &Program<'_>, job: &Job) -> io::Result<Self> {
        let (process, thread, pid) = create(program, CREATE_SUSPENDED)?;
        let started = Started { process, pid };
        if let Err(error) = job.assign(started.process.as_handle()) {
            started.kill();
            return Err(error);
        }
        Ok(Self { started, thread })
    }

    /// It, with what is known of it already.
    pub(crate) const fn started(&self) -> &Started {
        &self.started
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// As the system has them; it is ended then.
    pub(crate) fn resume(self) -> io::Result<Started> {
        match resume(&self.thread) {
            Ok(()) => Ok(self.started),
            Err(error) => {
                self.started.kill();
                Err(error)
            }
        }
    }
}

impl Started {
    /// Starts `program` in `job`: see [`Suspended`].
    ///
    /// # Errors
    /// When it cannot be started or taken in; nothing of it is left then.
    pub fn start(program: &Program<'_>, job: &Job) -> io::Result<Self> {
        Suspended::create(program, job)?.resume()
    }

    /// Starts `program` so that it outlives us and our job, with a console of its own that nobody sees.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn detached(program: &Program<'_>) -> io::Result<Self> {
        let (process, _, pid) = match create(program, CREATE_NO_WINDOW | CREATE_BREAKAWAY_FROM_JOB) {
            // Our job lets nobody go: then it ends with that, as we do.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                create(program, CREATE_NO_WINDOW)
            }
            created => created,
        }?;
        Ok(Self { process, pid })
    }

    /// Its number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits for its end; its code. Blocks.
    ///
    /// # Errors
    /// As the system has them.
    pub fn wait(&self) -> io::Result<u32> {
        let mut code = 0;
        // SAFETY: the handle is open, and there is room for a number.
        unsafe {
            let process = self.process.as_raw_handle();
            if WaitForSingleObject(process, INFINITE) != WAIT_OBJECT_0
                || GetExitCodeProcess(process, &raw mut code) == 0
            {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(code)
    }

    /// Asks it to end as Ctrl-Break in the console that it shares with us would: it and those that it started, unless
    /// they have left its group, and not us.
    ///
    /// # Errors
    /// When there is no console, or it is gone.
    pub fn ask_to_end(&self) -> io::Result<()> {
        // SAFETY: nothing is handed over but numbers.
        let done = unsafe { GenerateConsoleCtrlEvent(CTRL_BREAK_EVENT, self.pid) };
        if done == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Ends it at once, and nothing else.
    pub(crate) fn kill(&self) {
        use windows_sys::Win32::System::Threading::TerminateProcess;
        // SAFETY: the handle is open. It fails where it has ended already.
        unsafe { TerminateProcess(self.process.as_raw_handle(), 1) };
    }
}

impl AsHandle for Started {
    fn as_handle(&self) -> BorrowedHandle<'_> {
        self.process.as_handle()
    }
}

fn resume(thread: &OwnedHandle) -> io::Result<()> {
    // SAFETY: the handle is open.
    match unsafe { ResumeThread(thread.as_raw_handle()) } {
        u32::MAX => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// The process, its first thread and its number.
fn create(
    program: &Program<'_>,
    flags: PROCESS_CREATION_FLAGS,
) -> io::Result<(OwnedHandle, OwnedHandle, u32)> {
    let (file, folder) = (wide(program.file), wide(program.folder));
    let mut line = command_line(program.file, program.arguments)?;
    let environment = environment_block(program.environment)?;
    let attribute = Attribute::of(program.streams)?;
    let start = attribute.start();
    let inherits = i32::from(!attribute.handles.is_empty());
    let flags = flags | attribute.flags() | CREATE_UNICODE_ENVIRONMENT | EXTENDED_STARTUPINFO_PRESENT;
    let mut made = PROCESS_INFORMATION::default();
    let (info, made_at) = ((&raw const start).cast(), &raw mut made);
    // SAFETY: all texts end with zeros, the list lives until the call has returned, both new handles are ours to close.
    unsafe {
        let (file, line) = (file.as_ptr(), line.as_mut_ptr());
        let (environment, folder) = (environment.as_ptr().cast(), folder.as_ptr());
        let done = match program.account {
            None => CreateProcessW(
                file,
                line,
                null(),
                null(),
                inherits,
                flags,
                environment,
                folder,
                info,
                made_at,
            ),
            Some(Login(token)) => {
                let token = token.as_raw_handle();
                CreateProcessAsUserW(
                    token,
                    file,
                    line,
                    null(),
                    null(),
                    inherits,
                    flags,
                    environment,
                    folder,
                    info,
                    made_at,
                )
            }
        };
        if done == 0 {
            return Err(io::Error::last_os_error());
        }
        Ok((
            OwnedHandle::from_raw_handle(made.hProcess),
            OwnedHandle::from_raw_handle(made.hThread),
            made.dwProcessId,
        ))
    }
}

/// The list of the one attribute that a new process is started with: the only handles that it gets, whatever else here could
/// be inherited, or its terminal.
struct Attribute {
    list: Vec<u64>,
    streams: [RawHandle; 3],
    /// Those of them that can be inherited until this is dropped; the list leads to these. A terminal's are none of ours.
    handles: Box<[RawHandle]>,
}

impl Attribute {
    fn of(streams: Streams<'_>) -> io::Result<Self> {
        match streams {
            Streams::Pipes(pipes) => Self::pipes(pipes.map(|stream| stream.as_raw_handle())),
            Streams::Terminal(console) => Self::terminal(console),
        }
    }

    fn pipes(streams: [RawHandle; 3]) -> io::Result<Self> {
        let mut handles = streams.to_vec();
        handles.sort_unstable();
        handles.dedup();
        let attribute = Self::new(streams, handles)?;
        for handle in &attribute.handles {
            // SAFETY: it is open: its owner is borrowed.
            if unsafe { SetHandleInformation(*handle, HANDLE_FLAG_INHERIT, HANDLE_FLAG_INHERIT) } == 0 {
                return Err(io::Error::last_os_error());
            }
        }
        let (at, length) = (attribute.handles.as_ptr().cast(), size_of_val(&*attribute.handles));
        // SAFETY: the handles live as long as the list.
        unsafe { attribute.set(PROC_THREAD_ATTRIBUTE_HANDLE_LIST, at, length)? };
        Ok(attribute)
    }

    /// No streams: where there are none, Windows takes the terminal's. Ours, which lead elsewhere, it would take before those.
    fn terminal(console: &PseudoConsole) -> io::Result<Self> {
        let_ctrl_c_through()?;
        let attribute = Self::new([null_mut(); 3], Vec::new())?;
        let console = std::ptr::without_provenance(console.handle().cast_unsigned());
        // SAFETY: this attribute is the console itself, which is borrowed until the program has been started.
        unsafe { attribute.set(PROC_THREAD_ATTRIBUTE_PSEUDOCONSOLE, console, size_of::<HPCON>())? };
        Ok(attribute)
    }

    fn new(streams: [RawHandle; 3], handles: Vec<RawHandle>) -> io::Result<Self> {
        let mut needed = 0;
        // SAFETY: it says how much room is needed, and fails.
        unsafe { InitializeProcThreadAttributeList(null_mut(), 1, 0, &raw mut needed) };
        let mut list = vec![0_u64; needed.div_ceil(size_of::<u64>())];
        // SAFETY: there is as much room as was asked for.
        let done =
            unsafe { InitializeProcThreadAttributeList(list.as_mut_ptr().cast(), 1, 0, &raw mut needed) };
        if done == 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { list, streams, handles: handles.into_boxed_slice() })
    }

    /// # Safety
    /// What the value leads to lives as long as this.
    unsafe fn set(&self, what: u32, value: *const c_void, length: usize) -> io::Result<()> {
        // SAFETY: the list has room for one, and is not moved.
        let done = unsafe {
            let list = self.pointer();
            UpdateProcThreadAttribute(list, 0, what as usize, value, length, null_mut(), null())
        };
        if done == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    fn start(&self) -> STARTUPINFOEXW {
        let mut start = STARTUPINFOEXW::default();
        start.StartupInfo.cb = size::<STARTUPINFOEXW>();
        start.StartupInfo.dwFlags = STARTF_USESTDHANDLES;
        [start.StartupInfo.hStdInput, start.StartupInfo.hStdOutput, start.StartupInfo.hStdError] =
            self.streams;
        start.lpAttributeList = self.pointer();
        start
    }

    /// Whoever is the first of a group can be sent Ctrl-Break, and hears no Ctrl-C, which is a terminal's own business.
    fn flags(&self) -> PROCESS_CREATION_FLAGS {
        if self.handles.is_empty() { 0 } else { CREATE_NEW_PROCESS_GROUP }
    }

    fn pointer(&self) -> *mut c_void {
        self.list.as_ptr().cast_mut().cast()
    }
}

impl Drop for Attribute {
    fn drop(&mut self) {
        // SAFETY: it was initialised, and this is its end.
        unsafe { DeleteProcThreadAttributeList(self.pointer()) };
        for handle in &self.handles {
            // SAFETY: it is open: its owner is borrowed. Where it stays, another child of ours might get it, too.
            unsafe { SetHandleInformation(*handle, HANDLE_FLAG_INHERIT, 0) };
        }
    }
}

/// A command line that the usual parser (that of Microsoft's C runtime) takes apart into the same words.
///
/// # Errors
/// When a word has a zero in it, the line is too long, or the program is a batch file: `cmd.exe` reads those by other
/// rules, by which an argument could become a command.
fn command_line(file: &Path, arguments: &[String]) -> io::Result<Vec<u16>> {
    let invalid = |why: &str| io::Error::new(io::ErrorKind::InvalidInput, why.to_owned());
    let is_batch = file
        .extension()
        .is_some_and(|end| ["bat", "cmd"].iter().any(|batch| end.eq_ignore_ascii_case(batch)));
    if is_batch {
        return Err(invalid("a batch file is no program: name cmd.exe and give it the file"));
    }
    let mut line = OsString::new();
    line.push("\"");
    line.push(file);
    line.push("\"");
    for argument in arguments {
        line.push(" ");
        line.push(quoted(argument));
    }
    let line = wide(line);
    match line.iter().position(|unit| *unit == 0) {
        Some(end) if end + 1 < line.len() => Err(invalid("an argument has a zero character")),
        _ if line.len() > LONGEST_LINE => Err(invalid("the arguments are too long")),
        _ => Ok(line),
    }
}

/// Backslashes are themselves, but before a quotation mark each of them is doubled.
fn quoted(word: &str) -> String {
    if !word.is_empty() && !word.contains([' ', '\t', '\n', '\u{b}', '"']) {
        return word.to_owned();
    }
    let mut out = String::from("\"");
    let mut slashes = 0;
    for character in word.chars() {
        match character {
            '\\' => slashes += 1,
            '"' => {
                out.extend(std::iter::repeat_n('\\', slashes + 1));
                slashes = 0;
            }
            _ => slashes = 0,
        }
        out.push(character);
    }
    out.extend(std::iter::repeat_n('\\', slashes));
    out.push('"');
    out
}

/// `NAME=VALUE`, sorted as Windows wants it, each ended by a zero and all by another. What every program needs to find the
/// system's libraries is there unless it is set otherwise.
fn environment_block(given: &[(String, String)]) -> io::Result<Vec<u16>> {
    let mut all: std::collections::BTreeMap<String, (&str, &str)> = std::collections::BTreeMap::new();
    for (name, value) in USUAL {
        all.insert(name.to_uppercase(), (name, value));
    }
    for (name, value) in given {
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "this is no name of a variable"));
        }
        all.insert(name.to_uppercase(), (name, value));
    }
    let mut block: Vec<u16> = Vec::new();
    for (name, value) in all.values() {
        block.extend(OsStr::new(&format!("{name}={value}")).encode_wide().chain([0]));
    }
    block.push(0);
    Ok(block)
}

/// A clean environment: nothing of the agent's own.
const USUAL: [(&str, &str); 6] = [
    ("ComSpec", r"C:\Windows\System32\cmd.exe"),
    ("PATH", r"C:\Windows\System32;C:\Windows;C:\Windows\System32\Wbem"),
    ("PATHEXT", ".COM;.EXE;.BAT;.CMD"),
    ("SystemDrive", "C:"),
    ("SystemRoot", r"C:\Windows"),
    ("TEMP", r"C:\Windows\Temp"),
];

#[cfg(test)]
mod tests {
    use std::{
        io::{PipeReader, PipeWriter, Read as _, pipe},
        time::{Duration, Instant},
    };

    use super::*;
    use crate::{access::Limits, windows::ClientProcess};

    struct Shell {
        started: Started,
        job: Job,
        _input: PipeWriter,
        output: PipeReader,
    }

    /// `cmd.exe /c` with a standard input that stays open.
    fn shell(arguments: &[&str], environment: &[(String, String)]) -> Shell {
        let arguments: Vec<String> = ["/c"].iter().chain(arguments).map(|word| (*word).to_owned()).collect();
        let ((read, _input), (output, write)) = (pipe().expect("a pipe"), pipe().expect("a pipe"));
        let program = Program {
            file: Path::new(r"C:\Windows\System32\cmd.exe"),
            arguments: &arguments,
            environment,
            folder: Path::new(r"C:\Windows"),
            streams: Streams::Pipes([read.as_handle(), write.as_handle(), write.as_handle()]),
            account: None,
        };
        let job = Job::new(&Limits::default()).expect("a job");
        let started = Started::start(&program, &job).expect("it starts");
        Shell { started, job, _input, output }
    }

    #[test]
    fn a_program_s_code_and_output_come_back() {
        let mut shell = shell(
            &["echo", "%GREETING%", "%CARGO_MANIFEST_DIR%&", "exit", "7"],
            &[("GREETING".to_owned(), "hello".to_owned())],
        );
        assert_eq!(shell.started.wait().expect("it ends"), 7);
        let mut said = String::new();
        shell.output.read_to_string(&mut said).expect("text");
        // The agent's own environment is not there: cmd leaves the name as it is.
        assert_eq!(said.trim(), "hello %CARGO_MANIFEST_DIR%");
    }

    #[test]
    fn all_that_a_program_started_ends_with_its_job() {
        for by_closing in [false, true] {
            let mut shell = shell(&["cmd.exe", "/c", "pause"], &[]);
            // The inner one says to press a key, so it really runs: Wine's server may crash when a process is ended while
            // it still begins.
            shell.output.read_exact(&mut [0]).expect("it says something");
            let all = shell.job.processes().expect("numbers");
            assert!(all.len() >= 2, "{all:?}");
            let all: Vec<_> = all.into_iter().map(ClientProcess::open).collect();
            if by_closing {
                drop(shell.job);
            } else {
                shell.job.terminate(9).expect("it ends");
                assert_eq!(shell.started.wait().expect("it ended"), 9);
            }
            for process in all {
                let process = process.expect("it ran a moment ago");
                until(|| !process.is_running());
            }
        }
    }

    #[test]
    fn words_come_out_as_they_went_in() {
        let words = ["plain", "", "two words", r#"say "hi""#, r"C:\my dir\", r#"a\\"b"#];
        assert_eq!(
            words.map(quoted),
            ["plain", "\"\"", "\"two words\"", r#""say \"hi\"""#, r#""C:\my dir\\""#, r#""a\\\\\"b""#]
        );
    }

    #[test]
    fn what_could_be_read_otherwise_is_refused() {
        let line = |file: &str, word: &str| command_line(Path::new(file), &[word.to_owned()]);
        assert!(line(r"C:\a.exe", "b").is_ok());
        assert!(line(r"C:\a.BAT", "b").is_err() && line(r"C:\a.exe", "b\0c").is_err());
        assert!(line(r"C:\a.exe", &"b".repeat(40_000)).is_err());
        let variable = |name: &str| environment_block(&[(name.to_owned(), "x".to_owned())]);
        assert!(variable("A").is_ok() && variable("A=B").is_err() && variable("").is_err());
    }

    #[test]
    fn only_accounts_without_a_password_can_be_named() {
        assert_eq!(
            Login::service("Administrator").expect_err("it has one").kind(),
            io::ErrorKind::Unsupported
        );
    }

    fn until(mut there: impl FnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !there() {
            assert!(Instant::now() < deadline, "it does not come");
            std::thread::yield_now();
        }
    }
}
