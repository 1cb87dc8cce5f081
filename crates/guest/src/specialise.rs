//! What makes a guest that was started from another one's memory itself: a list of steps for each operating system, run
//! by one interpreter before anything reaches the guest or is reached by it.
//!
//! A clone wakes up with everything that its template had in memory: name, keys, clock, random numbers. The lists are
//! data, so that they can be shown, pinned, and tested with one step left out.
//!
//! A Linux guest runs them as one Perl program (Debian's perl-base is in every system): under emulation each further
//! process costs a tenth of a second.

use std::time::Duration;

use jiff::Timestamp;
use ssh_key::rand_core::{OsRng, RngCore};
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::{
    agent::{Agent, AgentError, Ended},
    hexadecimal,
    seed::{self, Contents, Identity, SeedError},
};

/// How long all steps together may take.
const LIMIT: Duration = Duration::from_secs(60);
/// How often the guest's clock is asked for; the quickest answer counts.
const CLOCK_SAMPLES: usize = 3;
/// Fresh randomness from the host: twice what the kernel's generator holds (256 bits).
const RANDOM_BYTES: usize = 64;

/// One step towards an identity of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// The kernel's random number generator gets fresh bytes from the host, and starts anew with them.
    Random,
    /// The clock goes on by what it stood still.
    Clock,
    /// All files of the seed: host name, machine-id, SSH host key, who may log in, network. The journal, the SSH server and the
    /// bus read theirs from there later.
    Files,
    /// The kernel's host name.
    HostName,
    /// What programs read as this boot's identity and as the computer's: the kernel cannot change its own.
    BootAndProduct,
    /// The journal begins, under the machine-id and boot that it reads now: in the template its service waits for this.
    Journal,
    /// The SSH server starts, with the key that it reads now: it waits, too. It listens when this is done.
    Ssh,
    /// The network card's address, and with it the DHCP identity, which our images make from it.
    HardwareAddress,
}

/// The steps of a Linux guest of our own images.
pub const LINUX: &[Step] = &[
    // First, and before anything that draws random numbers.
    Step::Random,
    Step::Clock,
    Step::Files,
    Step::HostName,
    Step::BootAndProduct,
    Step::HardwareAddress,
    // Last: from here on, others run in the guest.
    Step::Journal,
    Step::Ssh,
];

impl Step {
    /// What a Linux guest runs for it, after [`BEGIN`]. Numbers of system calls are x86-64's.
    const fn linux(self) -> &'static str {
        match self {
            // RNDRESEEDCRNG (random(4)): what is only written is used a minute later at the earliest.
            Self::Random => {
                r"open(my $urandom, '+<', '/dev/urandom') or failed();
syswrite($urandom, $random) == length($random) or failed();
ioctl($urandom, 0x5207, 0) or failed();"
            }
            // clock_gettime, clock_settime: by how much, not to when, since nobody knows how long this takes.
            Self::Clock => {
                r"my $time = pack('qq', 0, 0);
syscall(228, 0, $time) == 0 or failed();
my ($seconds, $nanos) = unpack('qq', $time);
$nanos += $late % 1_000_000_000;
$seconds += ($late - $late % 1_000_000_000) / 1_000_000_000 + int($nanos / 1_000_000_000);
syscall(227, 0, pack('qq', $seconds, $nanos % 1_000_000_000)) == 0 or failed();"
            }
            Self::Files => {
                r"while (length $seed) {
    my ($path, $mode, $size) = unpack('Z*Z*Z*', $seed);
    substr($seed, 0, length($path . $mode . $size) + 3, '');
    my $bytes = substr($seed, 0, $size, '');
    if (substr($path, -1) eq '/') {
        mkdir $path, 0700;
        chmod(oct($mode), $path) or failed();
    } else {
        unlink $path;
        # O_WRONLY, O_CREAT, O_EXCL
        put($path, 1 | 64 | 128, $bytes, oct($mode));
    }
}"
            }
            // sethostname
            Self::HostName => "syscall(170, $name, length $name) == 0 or failed();",
            // O_WRONLY, O_TRUNC: the template has mounted them where programs look.
            Self::BootAndProduct => {
                r"put('/run/winstead/boot_id', 1 | 512, $boot . chr(10));
put('/run/winstead/product_uuid', 1 | 512, $uuid . chr(10));"
            }
            Self::Journal => "wake('systemd-journald');",
            // Ten seconds: where it does not start, whoever waits for it says so.
            Self::Ssh => {
                r"wake('ssh');
for (1 .. 5000) {
    last if -e '/run/sshd.pid';
    select(undef, undef, undef, 0.002);
}"
            }
            // SIOCSIFHWADDR; virtio's driver takes it while the card is up.
            Self::HardwareAddress => {
                r"socket(my $any, 2, 2, 0) or failed();
opendir(my $cards, '/sys/class/net') or failed();
while (my $card = readdir $cards) {
    next if $card eq 'lo' or $card eq '.' or $card eq '..';
    ioctl($any, 0x8924, pack('a16SH12x16', $card, 1, $mac)) or failed();
}"
            }
        }
    }
}

/// What comes before the steps: how they fail, how they write files, and what came in on the standard input. What a guest
/// does for the first time is translated under emulation, so it does without modules, patterns and buffered files.
const BEGIN: &str = r"my $at = 'begin';
sub failed { die 'failed at ', $at, ': ', $!, chr(10) }
umask 0;
sub put {
    my ($path, $how, $bytes, $mode) = @_;
    sysopen(my $file, $path, $how, $mode) or failed();
    syswrite($file, $bytes) == length($bytes) or failed();
}
sub wake {
    my $pipe = '/run/winstead/asleep/' . $_[0];
    # O_WRONLY: until somebody waits at the other end.
    sysopen(my $opened, $pipe, 1) or failed();
    unlink $pipe or failed();
}
my $seed = '';
1 while sysread(STDIN, $seed, 65536, length $seed);
my $random = substr($seed, 0, 64, '');
";

/// A clone that did not become itself: it must not be reached.
#[derive(Debug, thiserror::Error)]
pub enum SpecialiseError {
    /// Its files could not be made.
    #[error("make the guest's own identity")]
    Seed(#[from] SeedError),
    /// The agent did not do it.
    #[error("give the guest its own identity")]
    Agent(#[from] AgentError),
    /// A step failed.
    #[error("give the guest its own identity: {at}: {said:?}")]
    Step {
        /// The step; `?` when the guest did not say.
        at: String,
        /// The guest's words.
        said: String,
    },
}

/// Runs `steps` in a guest that was started from its template's memory, whose clock runs again. The guest must not be
/// reachable before this has returned.
///
/// # Errors
/// See [`SpecialiseError`]; the guest is half of what it should be then.
pub async fn specialise(
    agent: &mut Agent,
    identity: &Identity,
    steps: &[Step],
) -> Result<(), SpecialiseError> {
    let input = input(&seed::files(identity)?);
    let mut boot = [0; 16];
    OsRng.fill_bytes(&mut boot);
    // A random UUID says so (RFC 9562, version 4), as the kernel's own does.
    (boot[6], boot[8]) = (boot[6] & 0x0f | 0x40, boot[8] & 0x3f | 0x80);
    let late = late(agent).await?;
    let program = program(identity, boot, late, steps);
    let ended = agent.run("/usr/bin/perl", &["-e", &program], &input, LIMIT).await?;
    if ended.code == Some(0) { Ok(()) } else { Err(failed(&ended)) }
}

/// What the program reads: fresh random bytes, then each file's path, mode and length, and the file.
fn input(files: &[seed::SeedFile]) -> Zeroizing<Vec<u8>> {
    let mut input = Zeroizing::new(vec![0; RANDOM_BYTES]);
    OsRng.fill_bytes(&mut input);
    for file in files {
        let end = if file.contents == Contents::Folder { "/" } else { "" };
        let bytes = file.contents.bytes();
        input.extend(format!("/{}{end}\0{:o}\0{}\0", file.path, file.mode, bytes.len()).bytes());
        input.extend(bytes);
    }
    input
}

/// By how many nanoseconds the guest's clock is behind ours.
async fn late(agent: &mut Agent) -> Result<i64, AgentError> {
    let mut best: Option<(Duration, i64)> = None;
    for _ in 0..CLOCK_SAMPLES {
        let (begun, before) = (Instant::now(), Timestamp::now().as_nanosecond());
        let guest = agent.time().await?;
        let took = begun.elapsed();
        // The guest read its clock somewhere in between.
        let middle = before + i128::try_from(took.as_nanos() / 2).unwrap_or_default();
        let late = i64::try_from(middle - i128::from(guest)).unwrap_or(i64::MAX);
        if best.is_none_or(|(quickest, _)| took < quickest) {
            best = Some((took, late));
        }
    }
    Ok(best.map_or(0, |(_, late)| late))
}

/// What a Linux guest runs: `late` is in nanoseconds. It holds no secret, for everybody in the guest can read it.
fn program(identity: &Identity, boot: [u8; 16], late: i64, steps: &[Step]) -> String {
    let uuid = |bytes: &[u8]| {
        let digits = hexadecimal(bytes);
        [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-")
    };
    // A host name and a hardware address that went into a seed have nothing in them that ends a quoted text.
    let mut program = format!(
        "my ($name, $mac, $uuid, $boot, $late) = ('{}', '{}', '{}', '{}', {late});\n{BEGIN}",
        identity.host_name,
        identity.network.mac.replace(':', ""),
        uuid(&identity.machine_id),
        uuid(&boot),
    );
    for step in steps {
        program.push_str(&format!("$at = '{step:?}';\n{{\n{}\n}}\n", step.linux()));
    }
    program
}

/// What the guest said of its failure.
fn failed(ended: &Ended) -> SpecialiseError {
    let said = String::from_utf8_lossy(&ended.errors);
    let told = said.trim().strip_prefix("failed at ").and_then(|told| told.split_once(": "));
    let (at, said) = told.unwrap_or(("?", said.trim()));
    SpecialiseError::Step { at: at.to_owned(), said: said.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::tests::identity;

    #[test]
    fn the_program_of_a_linux_guest() {
        let program = program(&identity(), [0xab; 16], -1_500_000_000, LINUX);
        insta::assert_snapshot!(program);
    }

    #[test]
    fn a_step_that_is_left_out_is_not_in_the_program() {
        for left_out in LINUX {
            let others: Vec<Step> = LINUX.iter().copied().filter(|step| step != left_out).collect();
            let program = program(&identity(), [0; 16], 0, &others);
            assert!(!program.contains(left_out.linux()), "{left_out:?}");
            assert!(others.iter().all(|step| program.contains(step.linux())));
        }
    }

    #[test]
    fn no_secret_is_in_the_program_which_everybody_in_the_guest_can_read() {
        let identity = identity();
        let program = program(&identity, [0; 16], 0, LINUX);
        let key = identity.host_key.private_openssh.expose();
        assert!(key.lines().all(|line| !program.contains(line)));
        let input = input(&seed::files(&identity).unwrap());
        assert!(input.windows(key.len()).any(|window| window == key.as_bytes()));
    }

    #[test]
    fn each_files_path_mode_and_length_come_before_it() {
        let text = |path: &str, contents| seed::SeedFile { path: path.to_owned(), mode: 0o640, contents };
        let files = [text("a", Contents::Public("hé".to_owned())), text("b", Contents::Folder)];
        let bytes = input(&files);
        assert_eq!(&bytes[RANDOM_BYTES..], "/a\x00640\x003\0hé/b/\x00640\x000\0".as_bytes());
        assert_ne!(bytes[..RANDOM_BYTES], input(&files)[..RANDOM_BYTES], "not random");
    }

    #[test]
    fn a_failed_step_is_named_with_the_guests_words() {
        let ended = |errors: &str| Ended { code: Some(2), output: Vec::new(), errors: errors.into() };
        let told = |errors: &str| failed(&ended(errors)).to_string();
        insta::assert_snapshot!(told("failed at Clock: Operation not permitted\n"), @r#"give the guest its own identity: Clock: "Operation not permitted""#);
        insta::assert_snapshot!(told("syntax error at -e line 1"), @r#"give the guest its own identity: ?: "syntax error at -e line 1""#);
    }

    /// Only what touches nothing of this computer: the file steps, by the real Perl.
    #[tokio::test]
    async fn perl_understands_the_program_and_writes_the_files() {
        let place = tempfile::tempdir().unwrap();
        let inside = |path: &str| place.path().join(path);
        let file = |path: &str, mode, contents| seed::SeedFile {
            path: inside(path).display().to_string().trim_start_matches('/').to_owned(),
            mode,
            contents,
        };
        let files = [
            file("folder", 0o700, Contents::Folder),
            file("folder/text", 0o444, Contents::Public("line\n\0\u{e9}\n".to_owned())),
            file("empty", 0o600, Contents::Public(String::new())),
        ];
        fs_err::write(inside("empty"), "old").unwrap();
        let stop = tokio_util::sync::CancellationToken::new();
        let run = |steps: &[Step], options: &[&str]| {
            let program = program(&identity(), [0; 16], 0, steps);
            let command = winstead_process::Command::new("perl").args(options).args(["-e", &program]);
            command.input(input(&files).to_vec())
        };
        run(LINUX, &["-Mstrict", "-c"]).run(&stop).await.unwrap();
        // Twice: what is there already is replaced.
        for _ in 0..2 {
            run(&[Step::Files], &[]).run(&stop).await.unwrap();
        }
        assert_eq!(fs_err::read(inside("folder/text")).unwrap(), "line\n\0\u{e9}\n".as_bytes());
        assert_eq!(fs_err::read(inside("empty")).unwrap(), b"");
        let mode = |path: &str| {
            use std::os::unix::fs::PermissionsExt;
            fs_err::metadata(inside(path)).unwrap().permissions().mode() & 0o7777
        };
        assert_eq!([mode("folder"), mode("folder/text"), mode("empty")], [0o700, 0o444, 0o600]);
    }
}
