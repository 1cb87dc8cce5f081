//! What a Windows guest runs, in Windows PowerShell 5.1, which is part of Windows 10, Server 2016 and all later ones.
//!
//! **Not yet run on a real Windows.** The list is written from the sources that stand with each step; until somebody has
//! run it, machines with Windows boot instead. It is for images with OpenSSH, QEMU's guest agent running as the system,
//! virtio's network driver, and a card that asks DHCP in every network, also where we know the address beforehand: our own
//! bridges and QEMU's network answer with that very address, and a fixed one would have to be set with the cable unplugged.
//!
//! # How it is run
//! QEMU's agent starts a program with arguments and standard input (`guest-exec`, <https://www.qemu.org/docs/master/interop/qemu-ga-ref.html>);
//! on Windows GLib makes one command line of the arguments. So they are few and need no quoting: a fixed
//! `-EncodedCommand` (<https://learn.microsoft.com/powershell/module/microsoft.powershell.core/about/about_powershell_exe?view=powershell-5.1>),
//! which reads the program and its files from the standard input. `-Command -` would run the program line by line, as if
//! typed. PowerShell itself reads a redirected standard input and hands on the lines as `$input`
//! (`ExecutionOptions.ReadInputObjects` in ConsoleHost, <https://github.com/PowerShell/PowerShell/blob/master/src/Microsoft.PowerShell.ConsoleHost/host/msh/Executor.cs>),
//! so nobody else may read it; Ansible starts its modules so (<https://github.com/ansible/ansible/blob/devel/lib/ansible/executor/powershell/bootstrap_wrapper.ps1>).
//! The lines are base64, for the console's code page is not known. With `-EncodedCommand` PowerShell's own words on the
//! standard error are XML; ours are written past it.
//!
//! The computer's policy may log programs (script blocks) and what is handed to commands (modules): no secret is in the
//! program, and files' contents go through .NET's methods only.
//!
//! # What stays the template's
//! - **The computer's SID.** Nothing but Sysprep changes it (<https://learn.microsoft.com/troubleshoot/windows-server/setup-upgrade-and-drivers/windows-installations-disk-duplication>);
//!   VMware's `ClonePrep` keeps it, too (<https://docs.vmware.com/en/VMware-Horizon/2309/virtual-desktops/GUID-9F2216B4-BED5-4849-934D-5F69A61FFE52.html>).
//!   On Windows 11 24H2 and later and Server 2025, from KB5064081 (August 2025) on, computers with the same SID refuse each
//!   other's Kerberos and NTLM (event 6167 of `LsaSrv`): <https://support.microsoft.com/topic/strengthening-administrator-protection-and-kerberos-authentication-f67abf78-41c5-4a89-a2da-a7b2fe280270>,
//!   <https://techcommunity.microsoft.com/blog/windows-itpro-blog/hardening-administrative-actions-what-it-pros-need-to-know/4503956>.
//!   It matters to clones that use each other's shares, RPC or WinRM, or that join a domain; not to a build agent that
//!   talks to its server only. The remedy is a sysprepped image that boots, or a template of its own for each machine.
//! - **Until the next restart**: the name that `GetComputerName` and `%COMPUTERNAME%` in what runs already, LSA, `NetBIOS`
//!   and new events may show (see the step), and the product UUID, which Windows reads at boot. An agent that is to be
//!   known by its machine's name must be told it. Each reboot is a boot of the machine's own disk, with its own identity.
//! - Self-signed certificates of Remote Desktop and `WinRM`, the DHCPv6 identifier, DPAPI's keys: nothing was found that
//!   changes them by documented means in a running system.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use zeroize::Zeroizing;

use super::{Call, Step, Task, Values, blocks, uuid_text};

/// By its whole path, as in every installation on C:, so that no folder in `PATH` can put another one before it.
const POWERSHELL: &str = r"C:\Windows\System32\WindowsPowerShell\v1.0\powershell.exe";
/// `Bypass`: the policy also decides whether a command's module is loaded.
const OPTIONS: [&str; 6] =
    ["-NoLogo", "-NoProfile", "-NonInteractive", "-ExecutionPolicy", "Bypass", "-EncodedCommand"];

/// The fixed command: runs what the first line of the standard input holds, and hands it the others.
const BOOTSTRAP: &str = r"$ProgressPreference = 'SilentlyContinue'
$program, $files = @($input)
& ([ScriptBlock]::Create([Text.Encoding]::UTF8.GetString([Convert]::FromBase64String($program)))) $files
";

/// In order; each runs between [`BEGIN`] and [`END`].
pub(super) const TASKS: &[Task] = &[
    // Windows has no call that gives its kernel's generator fresh bytes: what BCryptGenRandom was given is ignored since
    // Windows 8 (https://learn.microsoft.com/windows/win32/api/bcrypt/nf-bcrypt-bcryptgenrandom). The way is the virtual
    // machine's generation id: QEMU writes a new one into a restored guest and tells it (vmgenid_post_load in
    // https://github.com/qemu/qemu/blob/master/hw/acpi/vmgenid.c, https://www.qemu.org/docs/master/specs/vmgenid.html), and
    // Windows is said to start its generators anew (Ferguson, The Windows 10 random number generation infrastructure,
    // https://aka.ms/win10rng, which was not at hand; to be measured). All that is left to do is to make sure that
    // Windows listens: its driver runs (https://learn.microsoft.com/windows/win32/hyperv_v2/virtual-machine-generation-identifier).
    Task::new(
        Step::Random,
        r#"if ((Get-CimInstance Win32_SystemDriver -Filter "Name = 'gencounter'").State -ne 'Running') {
    throw 'Windows does not listen to its generation id: its random numbers would be the template''s'
}"#,
    ),
    // By how much, not to when, since nobody knows how long this takes; in 100 ns:
    // https://learn.microsoft.com/powershell/module/microsoft.powershell.utility/set-date?view=powershell-5.1
    Task::new(Step::Clock, "Set-Date -Adjust ([TimeSpan]::FromTicks($late)) | Out-Null"),
    // Throws away what it measured, and does not wait, for there is no network yet:
    // https://technet.microsoft.com/library/cc756161(v=ws.10).aspx
    Task::new(
        Step::TimeService,
        r"if ((Get-Service w32time).Status -eq 'Running') {
    w32tm.exe /resync /nowait | Out-Null
    if ($LASTEXITCODE) { throw ('w32tm.exe ended with ' + $LASTEXITCODE) }
}",
    ),
    // Key containers' files end with it, and are not found under another one, so theirs are renamed; those in users'
    // profiles are not (https://jensign.com/UniqueKeyContainer/index.html: not promised by Microsoft).
    Task::new(
        Step::MachineGuid,
        r#"$key = 'HKLM:\SOFTWARE\Microsoft\Cryptography'
$old = (Get-ItemProperty -Path $key -Name MachineGuid).MachineGuid
Set-ItemProperty -Path $key -Name MachineGuid -Value $uuid
Get-ChildItem -Path "$env:ProgramData\Microsoft\Crypto" -Filter "*_$old" -File -Force -Recurse |
    Rename-Item -NewName { $_.Name.Replace($old, $uuid) }"#,
    ),
    // sshd refuses keys that others can read; owner and rights are as it makes them, from the file's first moment on:
    // https://learn.microsoft.com/windows-server/administration/openssh/openssh_keymanagement and
    // https://github.com/PowerShell/openssh-portable/blob/latestw_all/contrib/win32/win32compat/w32-sshfileperm.c
    // (.NET Framework's FileStream takes rights: https://learn.microsoft.com/dotnet/api/system.io.filestream.-ctor).
    // The template's other host keys go.
    Task::new(
        Step::Files,
        r#"$rights = New-Object Security.AccessControl.FileSecurity
$rights.SetSecurityDescriptorSddlForm('O:SYG:SYD:P(A;;FA;;;SY)(A;;FA;;;BA)')
Remove-Item -Path "$env:SystemDrive/ProgramData/ssh/ssh_host_*" -Force
foreach ($line in $files) {
    $path, $text = $line.Split(' ')
    $path = "$env:SystemDrive/$path"
    if (Test-Path -LiteralPath $path) { Remove-Item -LiteralPath $path -Force }
    $bytes = [Convert]::FromBase64String($text)
    $write = [Security.AccessControl.FileSystemRights]::Write
    $file = [IO.FileStream]::new($path, [IO.FileMode]::CreateNew, $write, [IO.FileShare]::None, 4096, [IO.FileOptions]::None, $rights)
    $file.Write($bytes, 0, $bytes.Length)
    $file.Dispose()
}"#,
    ),
    // Windows takes a name at boot: https://learn.microsoft.com/windows/win32/api/sysinfoapi/nf-sysinfoapi-setcomputernameexw
    // and so does what was renamed by Rename-Computer; cloudbase-init reboots then
    // (https://github.com/cloudbase/cloudbase-init/blob/master/cloudbaseinit/plugins/common/sethostname.py). The last two
    // lines are not documented; people report that with them the name changes at once (https://gist.github.com/timnew/2373475),
    // others that only a restart changes all of it. A NetBIOS name has 15 characters: machines with the same first 15 have
    // the same one.
    Task::new(
        Step::HostName,
        r"Rename-Computer -NewName $name -Force -WarningAction SilentlyContinue
$short = $name.Substring(0, [Math]::Min(15, $name.Length)).ToUpperInvariant()
Set-ItemProperty -Path 'HKLM:\SYSTEM\CurrentControlSet\Services\Tcpip\Parameters' -Name Hostname -Value $name
Set-ItemProperty -Path 'HKLM:\SYSTEM\CurrentControlSet\Control\ComputerName\ActiveComputerName' -Name ComputerName -Value $short",
    ),
    // WSUS counts computers with the same id as one: https://technet.microsoft.com/library/dd939898(v=ws.10).aspx
    // The service makes a new one when it is started next.
    Task::new(
        Step::UpdateClient,
        r"Stop-Service -Name wuauserv -Force
$key = 'HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion\WindowsUpdate'
Remove-ItemProperty -Path $key -Name 'SusClientId', 'SusClientIdValidation' -ErrorAction SilentlyContinue",
    ),
    // A template has no network, but its image may have had one. How ipconfig ends is not read, for it may call it a failure
    // that a card with its cable unplugged has nothing to give up; what came of it is. The new lease comes by itself when
    // the cable is plugged in. https://learn.microsoft.com/windows-server/administration/windows-commands/ipconfig
    Task::new(
        Step::Lease,
        r"ipconfig.exe /release | Out-Null
if (Get-NetIPAddress -AddressFamily IPv4 -PrefixOrigin Dhcp -ErrorAction SilentlyContinue) {
    throw 'it still has an address by DHCP'
}",
    ),
    // Restarts the card: https://learn.microsoft.com/powershell/module/netadapter/set-netadapter
    // virtio's driver takes it as NetworkAddress, "Assign MAC":
    // https://github.com/virtio-win/kvm-guest-drivers-windows/blob/master/NetKVM/netkvm.inx
    Task::new(
        Step::HardwareAddress,
        r"Get-NetAdapter -Physical | Set-NetAdapter -MacAddress $mac -Confirm:$false
if ((Get-NetAdapter -Physical).MacAddress -ne $mac) { throw 'the network card did not take its address' }",
    ),
    // At its start it makes the host keys that are not there (generate_host_keys):
    // https://github.com/PowerShell/openssh-portable/blob/latestw_all/contrib/win32/win32compat/wmain_sshd.c
    Task::new(Step::SshServer, "Restart-Service -Name sshd -Force"),
    // Last, so that nothing of the template's name comes after it but the note that they were cleared:
    // https://learn.microsoft.com/dotnet/api/system.diagnostics.eventing.reader.eventlogsession.clearlog
    Task::new(
        Step::Journal,
        r"foreach ($log in 'Application', 'Security', 'Setup', 'System') {
    [Diagnostics.Eventing.Reader.EventLogSession]::GlobalSession.ClearLog($log)
}",
    ),
];

/// What PowerShell wants to read first, before the values.
const PARAMETERS: &str = "param([string[]] $files)\n";

/// What comes before the steps. Commands of script modules (`NetAdapter`) look at the global preference only; the PowerShell
/// of a 32-bit agent sees another registry.
const BEGIN: &str = r"$global:ErrorActionPreference = 'Stop'
$at = 'begin'
try {
if (-not [Environment]::Is64BitProcess) { throw 'this is a 32-bit PowerShell' }
";

/// What comes after them: how they fail. In UTF-8, whatever the console's code page is, on a line of its own.
const END: &str = r#"} catch {
    $words = [Text.Encoding]::UTF8.GetBytes("`nfailed at ${at}: $_`n")
    [Console]::OpenStandardError().Write($words, 0, $words.Length)
    exit 1
}
exit 0
"#;

pub(super) fn call(values: &Values<'_>, tasks: &[Task]) -> Call {
    let arguments = OPTIONS.map(str::to_owned).into_iter().chain([encoded_command(BOOTSTRAP)]).collect();
    Call { program: POWERSHELL, arguments, input: input(values, tasks) }
}

/// As `-EncodedCommand` takes it: base64 of UTF-16, little end first.
fn encoded_command(command: &str) -> String {
    let bytes: Vec<u8> = command.encode_utf16().flat_map(u16::to_le_bytes).collect();
    BASE64_STANDARD.encode(bytes)
}

/// Lines of ASCII: the program, then each file's path and contents.
fn input(values: &Values<'_>, tasks: &[Task]) -> Zeroizing<Vec<u8>> {
    let mut input = Zeroizing::new(BASE64_STANDARD.encode(program(values, tasks)).into_bytes());
    for file in &values.files {
        let contents = Zeroizing::new(BASE64_STANDARD.encode(file.contents.bytes()));
        input.extend(format!("\n{} ", file.path).bytes());
        input.extend(contents.bytes());
    }
    input.push(b'\n');
    input
}

/// It holds no secret, for the computer may log it.
fn program(values: &Values<'_>, tasks: &[Task]) -> String {
    let identity = values.identity;
    let head = format!(
        "$name = {}\n$mac = {}\n$uuid = {}\n$late = {}\n",
        quoted(&identity.host_name),
        quoted(&identity.network.mac.to_ascii_uppercase().replace(':', "-")),
        quoted(&uuid_text(&identity.machine_id)),
        values.late / 100,
    );
    [PARAMETERS, &head, BEGIN, &blocks(tasks, "& {"), END].concat()
}

/// A literal text. PowerShell takes typographic quotes for plain ones; each is doubled:
/// <https://learn.microsoft.com/powershell/module/microsoft.powershell.core/about/about_quoting_rules>.
fn quoted(text: &str) -> String {
    let doubled = text.chars().flat_map(|char| {
        let quote = matches!(char, '\'' | '\u{2018}' | '\u{2019}' | '\u{201a}' | '\u{201b}');
        std::iter::repeat_n(char, 1 + usize::from(quote))
    });
    format!("'{}'", doubled.collect::<String>())
}

#[cfg(test)]
mod tests {
    use winstead_spec::GuestOs;

    use super::*;
    use crate::seed::{self, Identity, tests::identity};

    fn windows() -> Identity {
        Identity { os: GuestOs::Windows, ..identity() }
    }

    fn values(identity: &Identity) -> Values<'_> {
        Values { identity, files: seed::files(identity).unwrap(), boot: [0; 16], late: -1_500_000_000 }
    }

    #[test]
    fn the_program_of_a_windows_guest() {
        insta::assert_snapshot!(program(&values(&windows()), TASKS));
    }

    #[test]
    fn a_step_that_is_left_out_is_not_in_the_program() {
        for left_out in TASKS {
            let others: Vec<Task> = TASKS.iter().filter(|task| task.step != left_out.step).copied().collect();
            let program = program(&values(&windows()), &others);
            assert!(!program.contains(left_out.code), "{:?}", left_out.step);
            assert!(others.iter().all(|task| program.contains(task.code)));
        }
    }

    #[test]
    fn arguments_are_the_same_for_all_and_fit_into_a_command_line() {
        let arguments = call(&values(&windows()), TASKS).arguments;
        let other = Identity { host_name: "b-1".to_owned(), ..windows() };
        assert_eq!(arguments, call(&values(&other), &TASKS[..1]).arguments);
        // Nothing in them that a command line has to quote; it has at most 32,767 characters (CreateProcess).
        let harmless = |char: char| char.is_ascii_alphanumeric() || "-+/=".contains(char);
        assert!(arguments.iter().all(|argument| argument.chars().all(harmless)));
        assert!(arguments.concat().len() < 2000, "{}", arguments.concat().len());
        let encoded = BASE64_STANDARD.decode(arguments.last().unwrap()).unwrap();
        let units: Vec<u16> = encoded.chunks(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
        assert_eq!(String::from_utf16(&units).unwrap(), BOOTSTRAP);
    }

    #[test]
    fn secrets_come_by_standard_input_only_and_not_in_the_program() {
        let identity = windows();
        let call = call(&values(&identity), TASKS);
        let text = std::str::from_utf8(&call.input).unwrap();
        let (first, files) = text.split_once('\n').unwrap();
        let program = String::from_utf8(BASE64_STANDARD.decode(first).unwrap()).unwrap();
        let key = identity.host_key.private_openssh.expose();
        assert!(key.lines().all(|line| !program.contains(line) && !call.arguments.concat().contains(line)));
        let files: Vec<(&str, Vec<u8>)> = files
            .lines()
            .map(|line| line.split_once(' ').unwrap())
            .map(|(path, text)| (path, BASE64_STANDARD.decode(text).unwrap()))
            .collect();
        let public_key = format!("{}\n", identity.host_key.public_openssh);
        let expected: [(&str, &str); 3] = [
            ("ProgramData/ssh/ssh_host_ed25519_key", key),
            ("ProgramData/ssh/ssh_host_ed25519_key.pub", &public_key),
            ("ProgramData/ssh/administrators_authorized_keys", "ssh-ed25519 AAAAclient winstead\n"),
        ];
        assert_eq!(files, expected.map(|(path, text)| (path, text.as_bytes().to_vec())));
    }

    #[test]
    fn a_quoted_text_ends_where_it_should() {
        assert_eq!(quoted("agents-0"), "'agents-0'");
        assert_eq!(quoted("'; evil; '"), "'''; evil; '''");
        assert_eq!(quoted("a\u{2019}b\u{201b}"), "'a\u{2019}\u{2019}b\u{201b}\u{201b}'");
        assert_eq!(quoted("$(evil) `\""), "'$(evil) `\"'");
    }
}
