//! winstead-agent in machines that start from memory: it was running when the memory was saved.

use std::{path::PathBuf, process::Stdio};

use serde_json::Value;
use winstead_testing::{DEBIAN_IMAGE, DEBIAN_IMAGE_WITH_AGENT, debian_images_with_agent_or_skip, lab_folder};

use super::{WARM, file, with_images};
use crate::lab::Lab;

/// As many as a machine has ports.
const SESSIONS: usize = 4;

fn lab_with_agent() -> Option<(Lab, PathBuf)> {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let images = runtime.block_on(debian_images_with_agent_or_skip(&lab_folder()))?;
    let lab = with_images(Lab::new(), &images);
    let path = file(&lab, 2, &[WARM], "ssh");
    let text = fs_err::read_to_string(&path).expect("the lab's file");
    let with_agent = text.replace(DEBIAN_IMAGE, DEBIAN_IMAGE_WITH_AGENT);
    fs_err::write(&path, with_agent).expect("write the lab's file");
    Some((lab, path))
}

fn by_agent(lab: &Lab, machine: &str, script: &str) -> String {
    lab.ok(&["exec", "--via", "agent", machine, "--", "sh", "-c", script])
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

#[test]
fn agents_of_clones_answer_as_themselves_and_come_back_as_themselves_from_a_restart() {
    let Some((lab, file)) = lab_with_agent() else { return };
    lab.up(&file);
    for machine in lab.machines() {
        let name = machine["metadata"]["name"].as_str().expect("a name");
        assert_eq!(machine["status"]["startedFrom"], "memory", "{machine:#}");
        assert_eq!(machine["status"]["agent"]["answers"], true, "{machine:#}");
        assert_eq!(json(&lab.ok(&["facts", name, "-o", "json"]))["hostName"], name);
        // readiness and watchdog, as systemd sees them after the start from memory.
        let unit =
            by_agent(&lab, name, "systemctl show -p Type,ActiveState,NRestarts,WatchdogUSec winstead-agent");
        for line in ["Type=notify", "ActiveState=active", "NRestarts=0", "WatchdogUSec=1min"] {
            assert!(unit.lines().any(|said| said == line), "{line}: {unit}");
        }
    }
    let both = |script: &str| ["mem-0", "mem-1"].map(|machine| by_agent(&lab, machine, script));
    for what in
        ["cat /proc/sys/kernel/random/boot_id", "cat /etc/machine-id", "head -c 32 /dev/urandom | sha256sum"]
    {
        let [first, second] = both(what);
        assert_ne!(first, second, "{what}");
    }
    let clocks = json(&lab.ok(&["clock", "mem", "-o", "json"]));
    for clock in clocks["items"].as_array().expect("a list") {
        let (ahead, error) = (clock["aheadNanos"].as_i64(), clock["errorNanos"].as_i64());
        let wrong = ahead.expect("a number").abs() - error.expect("a number");
        assert!(wrong < 50_000_000, "{clock:#}");
    }
    sessions_are_with_their_own(&lab);

    by_agent(&lab, "mem-0", "echo kept >/root/note; sync");
    let [boot, other] = both("cat /proc/sys/kernel/random/boot_id");
    lab.ok(&["reboot", "mem-0"]);
    let [new_boot, same] = both("cat /proc/sys/kernel/random/boot_id");
    assert!(new_boot != boot && same == other, "{boot} {new_boot} {other} {same}");
    assert_eq!(
        by_agent(&lab, "mem-0", "hostname; cat /root/note; test -e /run/warmed || echo booted"),
        "mem-0\nkept\nbooted\n"
    );
    lab.ok(&["reset", "mem-0"]);
    assert_eq!(by_agent(&lab, "mem-0", "test -e /root/note || cat /run/warmed"), "warm\n");
    lab.ok(&["down", "--all"]);
    lab.assert_nothing_left();
}

/// All ports of both machines at once: what comes out of each is its own machine's, from the beginning to the end.
fn sessions_are_with_their_own(lab: &Lab) {
    let script = "hostname; head -c 300000 /dev/zero | tr '\\0' x; sleep 1; hostname";
    let start = |number: usize| {
        let machine = ["mem-0", "mem-1"][number % 2];
        let mut command = lab.command(&["exec", "--via", "agent", machine, "--", "sh", "-c", script]);
        (machine, command.stdout(Stdio::piped()).spawn().expect("start winstead"))
    };
    let sessions: Vec<_> = (0..SESSIONS * 2).map(start).collect();
    for (machine, session) in sessions {
        let output = session.wait_with_output().expect("it ends");
        let expected = format!("{machine}\n{}{machine}\n", "x".repeat(300_000));
        assert!(output.stdout == expected.as_bytes(), "{machine}: {} bytes", output.stdout.len());
    }
}
