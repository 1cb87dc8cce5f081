//! The rival: a shell script as a person would write it, that starts guests and waits for the same readiness. Pure.

use std::path::Path;

use crate::{bench::guests::Guest, command::quoted};

/// How one guest is started, and where it answers.
#[derive(Clone, Debug)]
pub(super) struct Start {
    pub(super) command: String,
    /// What ends when it answers.
    pub(super) wait: String,
}

/// Waits for a guest as `winstead up` does.
pub(super) fn wait(guest: &Guest, xtask: &Path) -> String {
    let [xtask, run] = [xtask, &guest.run].map(|path| quoted(&path.display().to_string()));
    format!("{xtask} ready {} {} {run}", quoted(&guest.uid), guest.port)
}

/// The captured QEMU, started as Winstead starts it: in a session and as a user of its own.
pub(super) fn qemu(guest: &Guest, as_root: bool, xtask: &Path) -> Start {
    let (user, group) = guest.owner;
    let drop = format!("setpriv --reuid={user} --regid={group} --clear-groups --no-new-privs -- ");
    let argv = guest.argv.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
    let (run, drop) = (quoted(&guest.run.display().to_string()), if as_root { drop.as_str() } else { "" });
    Start {
        command: format!("cd {run}\n    setsid {drop}{argv} > qemu.log 2>&1 < /dev/null &\n    disown"),
        wait: wait(guest, xtask),
    }
}

/// The script: as many guests at a time as `parallel`, each until SSH says its banner. A person's own loop around `ssh`
/// would notice later and slow the guests down; that would be a comparison of waiting, not of starting.
pub(super) fn text(starts: &[Start], parallel: usize) -> String {
    let mut script = String::from("#!/bin/bash\n# Written by `./x bench`.\n");
    for (number, start) in starts.iter().enumerate() {
        script.push_str(&format!("guest_{number}() {{\n    {}\n    {}\n}}\n", start.command, start.wait));
    }
    let names: Vec<String> = (0..starts.len()).map(|number| format!("guest_{number}")).collect();
    script.push_str(&format!(
        "for guest in {}; do\n    while [ \"$(jobs -rp | wc -l)\" -ge {parallel} ]; do wait -n; done\n    $guest &\ndone\nwait\n",
        names.join(" ")
    ));
    script
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guests_are_started_some_at_a_time_and_waited_for() {
        let guest = Guest {
            name: "a-0".into(),
            uid: "u".into(),
            argv: vec!["qemu-system-x86_64".into(), "-name".into(), "it's".into()],
            owner: (7, 8),
            port: 2222,
            run: "/r/run".into(),
        };
        let start = qemu(&guest, true, Path::new("/x/xtask"));
        insta::assert_snapshot!(start.command, @r"
        cd /r/run
            setsid setpriv --reuid=7 --regid=8 --clear-groups --no-new-privs -- qemu-system-x86_64 -name 'it'\''s' > qemu.log 2>&1 < /dev/null &
            disown
        ");
        let text = text(&[start.clone(), start], 2);
        assert!(text.contains("for guest in guest_0 guest_1; do") && text.contains("-ge 2 ]"), "{text}");
        assert!(text.contains("    /x/xtask ready u 2222 /r/run\n"), "{text}");
    }
}
