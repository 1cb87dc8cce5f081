//! Winstead's own agent in a machine: reached without a network, beside others, and after it was killed.

use std::os::unix::fs::PermissionsExt;

use serde_json::Value;
use winstead_testing::Typed;

use crate::{
    bench::{assert_no_probe, document, probe},
    lab::{Lab, Ran, eventually, kill, pool, ram},
};

/// A machine with an agent and without an SSH server that answers.
fn unplugged(lab: &Lab) -> &'static str {
    let file = lab.file_with_agent(&pool("hand", 1, &ram("48MiB")));
    lab.up(&file);
    // No way in but the agent's.
    let cut = lab.run(&[
        "exec",
        "--via",
        "ssh",
        "hand-0",
        "--",
        "sh",
        "-c",
        "(sleep 1; ip link set eth0 down) >/dev/null 2>&1 &",
    ]);
    assert_eq!(cut.code, Some(0), "{cut:?}");
    "hand-0"
}

#[test]
fn files_go_in_and_out_of_a_machine_whose_network_is_down() {
    let lab = Lab::new();
    let machine = unplugged(&lab);
    let (sent, back) = (lab.folder().join("sent"), lab.folder().join("back"));
    let content: Vec<u8> =
        (0..3_000_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    fs_err::write(&sent, &content).expect("a file");
    fs_err::set_permissions(&sent, std::fs::Permissions::from_mode(0o750)).expect("its mode");
    let said = lab.run(&["-v", "cp", sent.to_str().expect("a path"), &format!("{machine}:/tmp/")]);
    assert_eq!(said.code, Some(0), "{said:?}{}", lab.logs());
    assert!(said.stderr.contains("by its agent"), "{said:?}");
    lab.ok(&["cp", &format!("{machine}:/tmp/sent"), back.to_str().expect("a path")]);
    assert!(fs_err::read(&back).expect("the copy") == content, "it is another");
    let mode = fs_err::metadata(&back).expect("the copy").permissions().mode() & 0o777;
    assert_eq!(mode, 0o750);
    lab.ok(&["down", "--all"]);
    lab.assert_nothing_left();
}

#[test]
fn whole_folders_go_in_and_out_and_links_come_as_what_they_point_to() {
    let lab = Lab::new();
    let machine = unplugged(&lab);
    let (there, back) = (lab.folder().join("there"), lab.folder().join("back"));
    fs_err::create_dir_all(there.join("empty")).expect("a folder");
    fs_err::create_dir_all(there.join("deep/er")).expect("a folder");
    fs_err::write(there.join("deep/er/file"), b"\x00\xf5\xff").expect("a file");
    std::os::unix::fs::symlink("deep/er/file", there.join("link")).expect("a link");
    let refused = lab.run(&["cp", there.to_str().expect("a path"), &format!("{machine}:/tmp/x")]);
    assert!(refused.code == Some(1) && refused.stderr.contains("-r"), "{refused:?}");
    lab.ok(&["cp", "-r", there.to_str().expect("a path"), &format!("{machine}:/tmp/x")]);
    lab.ok(&["cp", "-r", &format!("{machine}:/tmp/x"), back.to_str().expect("a path")]);
    assert!(back.join("empty").is_dir());
    for name in ["deep/er/file", "link"] {
        assert_eq!(fs_err::read(back.join(name)).expect(name), b"\x00\xf5\xff", "{name}");
    }
    assert!(!back.join("link").is_symlink());
}

#[test]
fn an_agent_that_is_killed_is_there_again_and_whoever_spoke_with_it_is_told() {
    let lab = Lab::new();
    let file = lab.file_with_agent(&pool("hand", 1, &ram("48MiB")));
    lab.up(&file);
    let machine = "hand-0";
    // As soon as a file is half there.
    let script = "(until ls /tmp/.winstead-*; do usleep 5000; done; kill -9 $(pidof winstead-agent)) >/dev/null 2>&1 &";
    let killer = lab.run(&["exec", "--via", "ssh", machine, "--", "sh", "-c", script]);
    assert_eq!(killer.code, Some(0), "{killer:?}");
    let large = lab.folder().join("large");
    fs_err::write(&large, vec![7; 30_000_000]).expect("a file");
    let cut = lab.run(&["cp", "--via", "agent", large.to_str().expect("a path"), "hand-0:/tmp/large"]);
    assert_eq!(cut.code, Some(1), "{cut:?}");
    let small = lab.folder().join("small");
    fs_err::write(&small, "after").expect("a file");
    eventually("the agent is there again", || {
        lab.run(&["cp", "--via", "agent", small.to_str().expect("a path"), "hand-0:/tmp/after"]).code
            == Some(0)
    });
}

#[test]
fn programs_run_in_a_machine_whose_network_is_down_and_streams_and_exit_codes_are_theirs() {
    let lab = Lab::new();
    let machine = unplugged(&lab);
    let ran = lab.run(&["exec", machine, "--", "sh", "-c", "echo out; echo err >&2; exit 7"]);
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (Some(7), "out\n", "err\n"));
    assert_eq!(lab.exec(machine, "kill -9 $$").code, Some(137));
    let missing = lab.run(&["exec", machine, "--", "no-such-program"]);
    assert_eq!(missing.code, Some(127), "{missing:?}");
    let none = lab.run(&["exec", "-t", "--via", "agent", machine, "--", "true"]);
    assert_eq!(none.code, Some(255), "{none:?}");
    assert!(none.stderr.contains("no terminal") && none.stderr.contains("--via ssh"), "{none:?}");
    at_a_terminal(&lab, machine);
    // Bytes of all kinds, more than fits between here and there.
    let sent = lab.folder().join("sent");
    let content: Vec<u8> =
        (0..6_000_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    fs_err::write(&sent, &content).expect("a file");
    let mut cat = lab.command(&["exec", machine, "--", "cat"]);
    cat.stdin(std::process::Stdio::from(fs_err::File::open(&sent).expect("the file").into_parts().0));
    let echoed = cat.output().expect("start winstead");
    assert_eq!(echoed.status.code(), Some(0), "{}", String::from_utf8_lossy(&echoed.stderr));
    assert!(echoed.stdout == content, "{} bytes came back as others", echoed.stdout.len());
}

/// All keys are the program's, and each new size; ours is put back when it ends, and when we are told to.
fn at_a_terminal(lab: &Lab, machine: &str) {
    let typed = |script: &str| {
        let mut command = lab.command(&["exec", "-t", machine, "--", "sh", "-c", script]);
        Typed::start(command.env("TERM", "winstead-test"))
    };
    let mut lent = typed(
        "trap 'heard=1; echo heard' INT; stty size; echo $TERM; until [ $heard ]; do usleep 20000; done; \
         until stty size | grep '37 101'; do usleep 20000; done; read line; echo \"got $line\"; exit 7",
    );
    lent.shows("24 80\r\nwinstead-test");
    assert!(!lent.is_usual(), "it is lent");
    lent.types("\u{3}");
    lent.shows("heard");
    lent.size(101, 37);
    lent.shows("37 101");
    lent.types("a\u{1d}b\r");
    lent.shows("got a\u{1d}b");
    assert_eq!(lent.ends().code(), Some(7), "{}", lent.all());
    assert!(lent.is_usual(), "it was put back");
    let mut stopped = typed("echo ready; exec sleep 1234");
    stopped.shows("ready");
    stopped.terminate();
    assert_eq!(stopped.ends().code(), Some(130), "{}", stopped.all());
    assert!(stopped.is_usual(), "it was put back");
    eventually("the program has ended, too", || lab.exec(machine, "pidof sleep").code == Some(1));
}

#[test]
fn four_programs_run_at_the_same_time_and_a_fifth_waits() {
    let lab = Lab::new();
    let machine = unplugged(&lab);
    let run = |number: usize| {
        let script = format!("sleep 1; echo {number}");
        lab.command(&["exec", "--via", "agent", machine, "--", "sh", "-c", &script])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("start winstead")
    };
    let running: Vec<_> = (0..5).map(run).collect();
    for (number, child) in running.into_iter().enumerate() {
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{number}\n"));
        assert_eq!(output.status.code(), Some(0));
    }
}

#[test]
fn the_disk_of_a_machine_whose_network_is_down_is_measured_and_an_interrupt_ends_the_probe_there() {
    let lab = Lab::new();
    let (probe, out) = (probe(), lab.folder().join("disk.json"));
    let machine = unplugged(&lab);
    let fixed = ["bench", "disk", "--machine", machine, "--probe", &probe, "--out", out.to_str().unwrap()];
    let load = ["rand-write", "--working-set", "1MiB", "--warmup", "0s", "--duration"];
    let said = lab.run(&[&["-v"], &fixed[..], &["--repeats", "2", "--"], &load, &["300ms"]].concat());
    assert_eq!(said.code, Some(0), "{said:?}{}", lab.logs());
    assert!(said.stderr.contains("by its agent"), "{said:?}");
    let list: Value = serde_json::from_str(&fs_err::read_to_string(&out).unwrap()).unwrap();
    assert_eq!((&list["kind"], list["items"].as_array().unwrap().len()), (&"ProbeResultList".into(), 2));
    assert_no_probe(&lab, machine);

    fs_err::remove_file(&out).unwrap();
    let long = [&fixed[..], &["--repeats", "1", "--"], &load, &["600s"]].concat();
    let child = lab.command(&long).spawn().expect("start winstead");
    let works = || lab.exec(machine, "pidof winstead-probe && ls -d /root/winstead-probe-*").code == Some(0);
    eventually("the probe works", works);
    kill(child.id(), rustix::process::Signal::INT).unwrap();
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(130));
    eventually("the probe has ended and removed its files", || {
        lab.exec(machine, "! pidof winstead-probe && ! ls -d /root/winstead-probe*").code == Some(0)
    });
}

#[test]
fn many_machines_are_measured_by_their_agents_without_an_ssh_server_that_is_waited_for() {
    let lab = Lab::new();
    let (probe, out) = (probe(), lab.folder().join("results"));
    let pool = pool("many", 1, &ram("48MiB")).replace("ready: {", "ready: {probe: started, ");
    let file = lab.file_with_agent(&pool);
    let load = "rand-write --working-set 1MiB --warmup 0s --duration 500ms";
    lab.ok(&[
        &["bench", "contention", "--via", "agent", "-f", file.to_str().unwrap(), "--probe", &probe][..],
        &["--out", out.to_str().unwrap(), "--agents", "2", "--arms", "ram", "--repeats", "1"],
        &["--workload", load],
    ]
    .concat());
    let run = document(&out)["runs"][0].clone();
    assert_eq!(run["via"], "agent");
    let machines = run["workloads"][0]["machines"].clone();
    assert_eq!(machines.as_array().unwrap().len(), 2);
    for machine in machines.as_array().unwrap() {
        assert_eq!(machine["failure"], Value::Null, "{machine:#}");
        assert!(machine["result"]["operations"]["write"]["count"].as_u64() > Some(0), "{machine:#}");
    }
    lab.assert_nothing_left();
}

#[test]
fn an_experiment_goes_on_by_the_way_that_it_began_unless_another_is_asked_for() {
    let lab = Lab::new();
    let (probe, out) = (probe(), lab.folder().join("results"));
    let file = lab.file_with_agent(&pool("ways", 1, &ram("48MiB")));
    let measure = |more: &[&str]| {
        let load = "rand-write --working-set 1MiB --warmup 0s --duration 200ms";
        let fixed =
            ["bench", "contention", "-f", file.to_str().unwrap(), "--probe", &probe, "--workload", load];
        let design = ["--out", out.to_str().unwrap(), "--agents", "1", "--arms", "ram", "--repeats", "2"];
        let said = lab.run(&[&fixed, &design, more].concat());
        assert_eq!(said.code, Some(0), "{said:?}");
        let found = document(&out);
        let ways =
            found["runs"].as_array().unwrap().iter().map(|run| run["via"].as_str().unwrap().to_owned());
        (ways.collect::<Vec<_>>(), said.stderr)
    };
    let again = || fs_err::remove_file(out.join("runs/002-ram-1.json")).unwrap();
    assert_eq!(measure(&["--via", "ssh"]).0, ["ssh", "ssh"]);
    again();
    // Its agent would answer.
    assert_eq!(measure(&[]).0, ["ssh", "ssh"]);
    again();
    let (ways, said) = measure(&["--via", "agent"]);
    assert_eq!(ways, ["ssh", "agent"]);
    assert!(said.contains("the runs before were made by ssh"), "{said}");
    lab.assert_nothing_left();
}

#[test]
fn a_machine_says_what_it_is_and_comes_back_from_a_restart_with_what_is_on_its_disk() {
    let lab = Lab::new();
    lab.up(&lab.file_with_agent(&pool("hand", 1, &ram("48MiB"))));
    let status = lab.machine("hand-0")["status"]["agent"].clone();
    assert_eq!((&status["answers"], &status["version"]), (&true.into(), &env!("CARGO_PKG_VERSION").into()));
    let facts = json(&lab.ok(&["facts", "hand-0", "-o", "json"]));
    assert_eq!(facts["hostName"], "hand-0", "{facts:#}");
    assert!(facts["features"].as_array().is_some_and(|features| !features.is_empty()), "{facts:#}");
    let described = lab.ok(&["describe", "hand-0"]);
    assert!(described.contains("cgroup-v2") && described.contains("Agent:"), "{described}");
    assert!(lab.ok(&["get", "machines", "-o", "wide"]).contains("AGENT"));
    let clocks = json(&lab.ok(&["clock", "hand", "-o", "json"]));
    let (ahead, error) =
        (clocks["items"][0]["aheadNanos"].as_i64(), clocks["items"][0]["errorNanos"].as_u64());
    assert!(ahead.zip(error).is_some_and(|(_, error)| error > 0), "{clocks:#}");

    let boot = || lab.exec("hand-0", "cat /proc/sys/kernel/random/boot_id").stdout;
    let before = boot();
    lab.exec("hand-0", "echo kept >/root/note; sync");
    let back = json(&lab.ok(&["reboot", "hand-0", "-o", "json"]));
    assert!(back["items"][0]["seconds"].as_f64() > Some(0.0), "{back:#}");
    assert_ne!(boot(), before, "it is the same boot");
    assert_eq!(lab.exec("hand-0", "cat /root/note").stdout, "kept\n");
    assert_eq!(lab.phases(), ["Ready"]);
}

#[test]
fn an_agent_that_does_not_answer_is_told_and_not_waited_for_long() {
    let lab = Lab::new();
    lab.up(&lab.file_with_agent(&pool("hand", 1, &ram("48MiB"))));
    let stopped =
        lab.run(&["exec", "--via", "ssh", "hand-0", "--", "sh", "-c", "kill -STOP $(pidof winstead-agent)"]);
    assert_eq!(stopped.code, Some(0), "{stopped:?}");
    let begun = std::time::Instant::now();
    let machine = lab.machine("hand-0");
    let took = begun.elapsed();
    assert_eq!(machine["status"]["agent"]["answers"], false, "{machine:#}");
    assert!(machine["status"]["agent"]["message"].as_str().is_some(), "{machine:#}");
    assert!(took < std::time::Duration::from_secs(10), "{took:?}");
    assert!(lab.ok(&["describe", "hand-0"]).contains("no answer"));
    // SSH needs no terminal of ours to give a program one. An input that has ended would hang that one up.
    let mut command = lab.command(&["-v", "exec", "-t", "hand-0", "--", "test", "-t", "0"]);
    let piped = std::process::Stdio::piped;
    let mut child = command.stdin(piped()).stdout(piped()).stderr(piped()).spawn().expect("start winstead");
    let open = child.stdin.take();
    let terminal = Ran::of(&child.wait_with_output().expect("it ends"));
    drop(open);
    assert!(terminal.stderr.contains("no terminal to lend"), "{terminal:?}");
    assert_eq!(terminal.code, Some(0), "{terminal:?}");
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}
