//! What commands answer when all is well.

use std::path::Path;

use serde_json::Value;

use crate::sandbox::{Ran, Sandbox, pool, without_host};

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn the_schema_is_json_and_says_which_dialect_it_is() {
    let schema = json(&Sandbox::new().ok(&["schema"]));
    assert!(schema["$schema"].as_str().unwrap().starts_with("https://json-schema.org/"), "{schema}");
    assert!(schema.to_string().contains("replicas"));
}

#[test]
fn an_empty_home_has_empty_lists_of_every_kind() {
    let sandbox = Sandbox::new();
    for (word, kind) in [
        ("machines", "MachineList"),
        ("machine", "MachineList"),
        ("pools", "PoolList"),
        ("images", "ImageList"),
    ] {
        let list = json(&sandbox.ok(&["get", word, "-o", "json"]));
        let expected = serde_json::json!({"apiVersion": "winstead.dev/v1alpha1", "kind": kind, "items": []});
        assert_eq!(list, expected);
    }
    insta::assert_snapshot!(sandbox.ok(&["get", "machines", "-o", "yaml"]), @r"
    apiVersion: winstead.dev/v1alpha1
    kind: MachineList
    items: []
    ");
    insta::assert_snapshot!(sandbox.run(&["get", "machines"]).whole(), @r"
    exit code 0
    no machines
    ");
}

#[test]
fn the_host_is_described_with_integers() {
    let hosts = json(&Sandbox::new().ok(&["get", "hosts", "-o", "json"]));
    let host = &hosts["items"][0];
    assert_eq!((&host["kind"], &host["metadata"]["name"]), (&"Host".into(), &"local".into()));
    assert!(host["status"]["memoryTotalBytes"].as_u64() > Some(1 << 20), "{host}");
    assert_eq!(host["status"]["machines"], 0);
}

#[test]
fn a_plan_says_what_it_would_do_and_changes_nothing() {
    let sandbox = Sandbox::new();
    sandbox.write("pool.yaml", &pool("64MiB"));
    let plan = json(&sandbox.ok(&["plan", "-f", "pool.yaml", "-o", "json"]));
    assert_eq!((&plan["kind"], &plan["admitted"]), (&"Plan".into(), &true.into()));
    assert_eq!(plan["builds"], serde_json::json!(["tiny"]));
    assert_eq!(
        plan["changes"][1],
        serde_json::json!({"machine": "agents-1", "action": "create", "why": "new"})
    );
    assert_eq!(plan["memory"]["lines"][0]["size"], 128 << 20);
    assert_eq!(json(&sandbox.ok(&["get", "pools", "-o", "json"]))["items"], serde_json::json!([]));
}

#[test]
fn a_plan_is_readable_and_its_exit_code_tells_that_there_are_changes() {
    let sandbox = Sandbox::new();
    sandbox.write("pool.yaml", &pool("64MiB"));
    let ran = sandbox.run(&["plan", "-f", "pool.yaml", "--exit-code", "--steps"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(10), ""));
    insta::assert_snapshot!(without_host(&ran.stdout), @r"
    + build image tiny
    MACHINE | CHANGE | WHY
    + | agents-0 … agents-1 (2) | create | new
    2 to create, 0 unchanged

    Steps of create:
    1. journal: Provisioning
    2. make its folder
    3. place the image in RAM
    4. make the overlay
    5. write its identity
    6. join the network
    7. journal: Booting
    8. start QEMU
    9. let the guest run
    10. wait until the guest answers

    Memory
    agents: 2 × 64 MiB guest RAM | 128 MiB
    agents: 2 × 320 MiB QEMU itself | 640 MiB
    agents: 2 × 8 MiB overlay cap | 16 MiB
    reserve for growing overlays | 1 MiB
    reserve for the host | 1 MiB
    needed | 786 MiB
    ");
}

#[test]
fn the_steps_of_a_start_from_memory_say_what_becomes_a_machines_own() {
    let sandbox = Sandbox::new();
    sandbox.write("pool.yaml", &pool("64MiB").replace("{cpus: 1", "{start: memory, cpus: 1"));
    let steps = &json(&sandbox.ok(&["plan", "-f", "pool.yaml", "--steps", "-o", "json"]))["steps"];
    let actions: Vec<&Value> = steps.as_array().unwrap().iter().map(|list| &list["action"]).collect();
    assert_eq!(actions, ["template", "create"]);
    let own = steps[1]["steps"].as_array().unwrap().iter().filter_map(Value::as_str);
    let own: Vec<&str> = own.filter(|step| step.contains("identity:")).collect();
    insta::assert_snapshot!(own.join("\n"), @"give it its own identity: random numbers, clock, files, host name, boot and product id, hardware address, log, SSH server");
}

#[test]
fn a_plan_without_changes_has_nothing_to_do() {
    let sandbox = Sandbox::new();
    sandbox.write("none.yaml", &pool("64MiB").replace("replicas: 2", "replicas: 0"));
    let ran = sandbox.run(&["plan", "-f", "none.yaml", "-o", "json"]);
    assert_eq!(json(&ran.stdout)["changes"], serde_json::json!([]));
}

#[test]
fn files_come_from_folders_and_standard_input_alike() {
    let sandbox = Sandbox::new();
    fs_err::create_dir(sandbox.path("pools")).unwrap();
    sandbox.write("pools/a.yml", &pool("64MiB"));
    let from_folder = sandbox.ok(&["plan", "-f", "pools", "-o", "json"]);
    let mut piped = sandbox.command(&["plan", "-f", "-", "-o", "json"]);
    let from_input = sandbox.ended(&piped.write_stdin(pool("64MiB")).output().unwrap());
    assert_eq!(json(&from_folder)["changes"], json(&from_input.stdout)["changes"]);
}

#[test]
fn the_quickstart_can_be_planned() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/quickstart.yaml");
    let ran = Sandbox::new().run(&["plan", "-f", file.to_str().unwrap(), "-o", "json"]);
    // A small computer refuses it, with the same plan shown.
    assert!(matches!(ran.code, Some(0 | 3)), "{ran:?}");
    assert_eq!(json(&ran.stdout)["changes"].as_array().unwrap().len(), 4);
}

#[test]
fn taking_down_what_is_not_there_is_done_already() {
    let sandbox = Sandbox::new();
    sandbox.write("pool.yaml", &pool("64MiB"));
    insta::assert_snapshot!(sandbox.run(&["down", "--all"]).whole(), @r"
    exit code 0
    nothing was left to take away
    ");
    insta::assert_snapshot!(sandbox.run(&["down", "-f", "pool.yaml"]).whole(), @r"
    exit code 0
    nothing was left to take away
    ");
    insta::assert_snapshot!(sandbox.run(&["down", "--all", "--dry-run"]).whole(), @r"
    exit code 0
    nothing to do
    ");
    assert_eq!(sandbox.run(&["down", "--all", "-q"]).whole(), "exit code 0\n");
}

/// Runs a command whose standard output nobody reads any more, as after `| head -1`.
fn unread(sandbox: &Sandbox, arguments: &[&str]) -> Ran {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let program = env!("CARGO_BIN_EXE_winstead");
    #[expect(clippy::disallowed_methods, reason = "the test is the user's shell: it closes the pipe itself")]
    let mut command = std::process::Command::new(program);
    command.env_clear().env("WINSTEAD_HOME", sandbox.home()).current_dir(sandbox.path("")).args(arguments);
    sandbox.ended(&command.stdout(writer).output().expect("start winstead"))
}

#[test]
fn a_reader_that_goes_away_changes_neither_exit_code_nor_complaints() {
    let sandbox = Sandbox::new();
    sandbox.write("pool.yaml", &pool("64MiB"));
    sandbox.write("huge.yaml", &pool("10TiB"));
    for arguments in [&["schema"][..], &["completions", "bash"], &["man"]] {
        assert_eq!(unread(&sandbox, arguments).whole(), "exit code 0\n", "{arguments:?}");
    }
    let changes = unread(&sandbox, &["plan", "-f", "pool.yaml", "--exit-code"]);
    assert_eq!(changes.whole(), "exit code 10\n");
    for arguments in [&["plan", "-f", "huge.yaml"][..], &["up", "--dry-run", "-f", "huge.yaml"]] {
        let refused = unread(&sandbox, arguments);
        assert_eq!(refused.code, Some(3), "{refused:?}");
        assert!(refused.stderr.contains("error: failed to"), "{refused:?}");
    }
}
