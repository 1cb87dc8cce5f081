//! The rival: a shell script as a person would write it, that starts guests and waits for the same readiness. Pure.

use crate::{bench::guests::Guest, command::quoted};

/// How one guest is started, and where it answers.
#[derive(Clone, Debug)]
pub(super) struct Start {
    pub(super) command: String,
    pub(super) port: u16,
}

/// The captured QEMU, started as Winstead starts it: in a session and as a user of its own.
pub(super) fn qemu(guest: &Guest, as_root: bool) -> Start {
    let (user, group) = guest.owner;
    let drop = format!("setpriv --reuid={user} --regid={group} --clear-groups --no-new-privs -- ");
    let argv = guest.argv.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
    let (run, drop) = (quoted(&guest.run.display().to_string()), if as_root { drop.as_str() } else { "" });
    Start {
        command: format!("cd {run}\n    setsid {drop}{argv} > qemu.log 2>&1 < /dev/null &\n    disown"),
        port: guest.port,
    }
}

/// The script: as many guests at a time as `parallel`, each until SSH says its banner. One connection is pending at a
/// time; asking more often would slow the guests down and make the rival worse than it is.
pub(super) fn text(starts: &[Start], parallel: usize) -> String {
    let mut script = String::from(
        r#"#!/bin/bash
# Written by `./x bench`.
ready() { # QEMU accepts before the guest has an address and tells it late: first attempts are given up soon
    local patience=3 tries=0
    until [ "$(timeout $patience bash -c 'exec 3<>/dev/tcp/127.0.0.1/$0 && head -c 4 <&3' "$1" 2> /dev/null)" = SSH- ]; do
        tries=$((tries + 1))
        if [ $tries -ge 8 ]; then patience=60; fi
        sleep 0.2
    done
}
"#,
    );
    for (number, start) in starts.iter().enumerate() {
        script
            .push_str(&format!("guest_{number}() {{\n    {}\n    ready {}\n}}\n", start.command, start.port));
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
        let start = qemu(&guest, true);
        insta::assert_snapshot!(start.command, @r"
        cd /r/run
            setsid setpriv --reuid=7 --regid=8 --clear-groups --no-new-privs -- qemu-system-x86_64 -name 'it'\''s' > qemu.log 2>&1 < /dev/null &
            disown
        ");
        let text = text(&[start.clone(), start], 2);
        assert!(text.contains("for guest in guest_0 guest_1; do") && text.contains("-ge 2 ]"), "{text}");
        assert!(text.contains("    ready 2222\n"), "{text}");
    }
}
