//! What a Linux guest of our own images runs, in Perl: Debian's perl-base is in every system.

use ssh_key::rand_core::{OsRng, RngCore};
use zeroize::Zeroizing;

use super::{Call, Step, Task, Values, blocks, uuid_text};
use crate::seed::{Contents, SeedFile};

/// Fresh randomness from the host: twice what the kernel's generator holds (256 bits).
const RANDOM_BYTES: usize = 64;

/// In order; each runs after [`BEGIN`]. Numbers of system calls are x86-64's.
pub(super) const TASKS: &[Task] = &[
    // First, and before anything that draws random numbers: fresh bytes from the host. RNDRESEEDCRNG (random(4)): what is
    // only written is used a minute later at the earliest.
    Task::new(
        Step::Random,
        r"open(my $urandom, '+<', '/dev/urandom') or failed();
syswrite($urandom, $random) == length($random) or failed();
ioctl($urandom, 0x5207, 0) or failed();",
    ),
    // clock_gettime, clock_settime: by how much, not to when, since nobody knows how long this takes.
    Task::new(
        Step::Clock,
        r"my $time = pack('qq', 0, 0);
syscall(228, 0, $time) == 0 or failed();
my ($seconds, $nanos) = unpack('qq', $time);
$nanos += $late % 1_000_000_000;
$seconds += ($late - $late % 1_000_000_000) / 1_000_000_000 + int($nanos / 1_000_000_000);
syscall(227, 0, pack('qq', $seconds, $nanos % 1_000_000_000)) == 0 or failed();",
    ),
    // All files of the seed: host name, machine-id, SSH host key, who may log in, network. The journal, the SSH server and
    // the bus read theirs from there later.
    Task::new(
        Step::Files,
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
}",
    ),
    // The kernel's host name: sethostname.
    Task::new(Step::HostName, "syscall(170, $name, length $name) == 0 or failed();"),
    // The kernel cannot change its own: the template has mounted files where programs look. O_WRONLY, O_TRUNC.
    Task::new(
        Step::BootAndProduct,
        r"put('/run/winstead/boot_id', 1 | 512, $boot . chr(10));
put('/run/winstead/product_uuid', 1 | 512, $uuid . chr(10));",
    ),
    // SIOCSIFHWADDR; virtio's driver takes it while the card is up. Our images make their DHCP identity from it.
    Task::new(
        Step::HardwareAddress,
        r"socket(my $any, 2, 2, 0) or failed();
opendir(my $cards, '/sys/class/net') or failed();
while (my $card = readdir $cards) {
    next if $card eq 'lo' or $card eq '.' or $card eq '..';
    ioctl($any, 0x8924, pack('a16SH12x16', $card, 1, $mac)) or failed();
}",
    ),
    // Last: from here on, others run in the guest. The journal begins, under the machine-id and boot that it reads now: in
    // the template its service waits for this.
    Task::new(Step::Journal, "wake('systemd-journald');"),
    // It starts with the key that it reads now: it waits, too, and listens when this is done. Ten seconds: where it does not
    // start, whoever waits for it says so.
    Task::new(
        Step::SshServer,
        r"wake('ssh');
for (1 .. 5000) {
    last if -e '/run/sshd.pid';
    select(undef, undef, undef, 0.002);
}",
    ),
];

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

pub(super) fn call(values: &Values<'_>, tasks: &[Task]) -> Call {
    let arguments = vec!["-e".to_owned(), program(values, tasks)];
    Call { program: "/usr/bin/perl", arguments, input: input(&values.files) }
}

/// What the program reads: fresh random bytes, then each file's path, mode and length, and the file.
fn input(files: &[SeedFile]) -> Zeroizing<Vec<u8>> {
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

/// It holds no secret, for everybody in the guest can read it.
fn program(values: &Values<'_>, tasks: &[Task]) -> String {
    // A host name and a hardware address that went into a seed have nothing in them that ends a quoted text.
    let head = format!(
        "my ($name, $mac, $uuid, $boot, $late) = ('{}', '{}', '{}', '{}', {});\n",
        values.identity.host_name,
        values.identity.network.mac.replace(':', ""),
        uuid_text(&values.identity.machine_id),
        uuid_text(&values.boot),
        values.late,
    );
    head + BEGIN + &blocks(tasks, "{")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::{self, Identity, tests::identity};

    fn values(identity: &Identity) -> Values<'_> {
        let files = seed::files(identity).unwrap();
        Values { identity, files, boot: [0xab; 16], late: -1_500_000_000 }
    }

    #[test]
    fn the_program_of_a_linux_guest() {
        insta::assert_snapshot!(program(&values(&identity()), TASKS));
    }

    #[test]
    fn a_step_that_is_left_out_is_not_in_the_program() {
        for left_out in TASKS {
            let others: Vec<Task> = TASKS.iter().filter(|task| task.step != left_out.step).copied().collect();
            let program = program(&values(&identity()), &others);
            assert!(!program.contains(left_out.code), "{:?}", left_out.step);
            assert!(others.iter().all(|task| program.contains(task.code)));
        }
    }

    #[test]
    fn no_secret_is_in_the_program_which_everybody_in_the_guest_can_read() {
        let identity = identity();
        let call = call(&values(&identity), TASKS);
        let key = identity.host_key.private_openssh.expose();
        assert!(key.lines().all(|line| !call.arguments.concat().contains(line)));
        assert!(call.input.windows(key.len()).any(|window| window == key.as_bytes()));
    }

    #[test]
    fn each_files_path_mode_and_length_come_before_it() {
        let text = |path: &str, contents| SeedFile { path: path.to_owned(), mode: 0o640, contents };
        let files = [text("a", Contents::Public("hé".to_owned())), text("b", Contents::Folder)];
        let bytes = input(&files);
        assert_eq!(&bytes[RANDOM_BYTES..], "/a\x00640\x003\0hé/b/\x00640\x000\0".as_bytes());
        assert_ne!(bytes[..RANDOM_BYTES], input(&files)[..RANDOM_BYTES], "not random");
    }

    /// Only what touches nothing of this computer: the file steps, by the real Perl.
    #[tokio::test]
    async fn perl_understands_the_program_and_writes_the_files() {
        let place = tempfile::tempdir().unwrap();
        let inside = |path: &str| place.path().join(path);
        let file = |path: &str, mode, contents| SeedFile {
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
        let identity = identity();
        let run = |tasks: &[Task], options: &[&str]| {
            let program = program(&values(&identity), tasks);
            let command = winstead_process::Command::new("perl").args(options).args(["-e", &program]);
            command.input(input(&files).to_vec())
        };
        run(TASKS, &["-Mstrict", "-c"]).run(&stop).await.unwrap();
        let only_files: Vec<Task> = TASKS.iter().filter(|task| task.step == Step::Files).copied().collect();
        // Twice: what is there already is replaced.
        for _ in 0..2 {
            run(&only_files, &[]).run(&stop).await.unwrap();
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
