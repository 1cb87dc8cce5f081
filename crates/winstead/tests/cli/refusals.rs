//! What commands refuse: exit codes, places in files, hints.

use crate::sandbox::{Sandbox, pool, without_host};

#[test]
fn commands_that_need_a_file_say_how_to_give_one() {
    let sandbox = Sandbox::new();
    insta::assert_snapshot!(sandbox.run(&["up"]).whole(), @r"
    exit code 2
    error: failed to find a file: none is given
    hint: winstead up -f FILE
    ");
    insta::assert_snapshot!(sandbox.run(&["plan"]).whole(), @r"
    exit code 2
    error: failed to find a file: none is given
    hint: winstead plan -f FILE
    ");
    insta::assert_snapshot!(sandbox.run(&["down"]).whole(), @r"
    exit code 2
    error: failed to choose what to take down: nothing is named
    hint: winstead down NAME, -f FILE, or --all for everything of this home
    ");
    insta::assert_snapshot!(sandbox.run(&["up", "-f", "none.yaml"]).whole(), @r"
    exit code 2
    error: failed to read none.yaml
      cause: failed to open file `none.yaml`: No such file or directory (os error 2)
    hint: -f takes files, folders, and - for standard input
    ");
    fs_err::create_dir(sandbox.path("empty")).unwrap();
    insta::assert_snapshot!(sandbox.run(&["up", "-f", "empty"]).whole(), @r"
    exit code 2
    error: failed to read empty: there is no *.yaml or *.yml file in it
    hint: name the file itself: -f FILE
    ");
}

#[test]
fn all_problems_of_a_file_are_told_with_their_places() {
    let sandbox = Sandbox::new();
    let text = pool("8G").replace("replicas", "replcas");
    sandbox.write("agents.yaml", &text);
    insta::assert_snapshot!(sandbox.run(&["up", "-f", "agents.yaml"]).whole(), @r#"
    exit code 2
    error: failed to read agents.yaml: 2 problems
      agents.yaml:12:3: spec.replcas: unknown key; did you mean `replicas`?
      agents.yaml:13:30: spec.machine.memory: "G" is not a unit; did you mean `8GiB`?
    hint: `winstead schema` prints what a file may hold; editors can read it
    "#);
    assert!(!sandbox.home().exists(), "a wrong file changes nothing");
}

#[test]
fn a_wrong_command_line_ends_with_2() {
    let sandbox = Sandbox::new();
    for arguments in [
        &["nonsense"][..],
        &[],
        &["get"],
        &["get", "things"],
        &["exec", "agents-0"],
        &["cp", "a", "b"],
        &["cp", "agents-0:a", "agents-1:b"],
        &["down", "--all", "agents"],
        &["get", "machines", "-o", "xml"],
        &["get", "machines", "none-0"],
        &["image", "list", "none"],
        &["image", "rm", "none"],
        &["logs", "agents"],
    ] {
        let ran = sandbox.run(arguments);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{arguments:?}: {ran:?}");
        assert!(ran.stderr.contains("rror") || ran.stderr.contains("Usage"), "{arguments:?}: {ran:?}");
    }
}

#[test]
fn an_unknown_machine_is_a_wrong_name_and_for_exec_a_command_that_could_not_run() {
    let sandbox = Sandbox::new();
    insta::assert_snapshot!(sandbox.run(&["describe", "agents-0"]).whole(), @"
    exit code 2
    error: failed to find the machine agents-0
    hint: `winstead get machines`, `get pools`, `get templates` and `get images` show what is there
    ");
    for (arguments, code) in [
        (&["reset", "agents-0"][..], 2),
        (&["down", "agents-0"], 2),
        (&["logs", "agents-0"], 2),
        (&["console", "agents-0"], 2),
        (&["cp", "x", "agents-0:"], 2),
        (&["exec", "agents-0", "--", "true"], 255),
        (&["exec", "agents", "--", "true"], 255),
        (&["ssh", "agents-0"], 255),
    ] {
        let ran = sandbox.run(arguments);
        assert_eq!(ran.code, Some(code), "{arguments:?}: {ran:?}");
        assert!(ran.stderr.contains("hint: "), "{arguments:?}: {ran:?}");
    }
}

#[test]
fn what_does_not_fit_is_refused_with_the_sum_line_by_line() {
    let sandbox = Sandbox::new();
    sandbox.write("huge.yaml", &pool("10TiB"));
    for arguments in [
        &["up", "-f", "huge.yaml"][..],
        &["plan", "-f", "huge.yaml"],
        &["up", "--dry-run", "-f", "huge.yaml"],
    ] {
        let ran = sandbox.run(arguments);
        assert_eq!(ran.code, Some(3), "{ran:?}");
        insta::allow_duplicates! {
            insta::assert_snapshot!(without_host(&ran.stderr), @r"
            agents: 2 × 10 TiB guest RAM | 20 TiB
            agents: 2 × 320 MiB QEMU itself | 640 MiB
            agents: 2 × 8 MiB overlay cap | 16 MiB
            reserve for growing overlays | 1 MiB
            reserve for the host | 1 MiB
            needed | 20 TiB
            ");
        }
        assert!(ran.stderr.contains("hint: "), "{ran:?}");
    }
    assert!(sandbox.ok(&["get", "machines"]).is_empty());
}

#[test]
fn colours_are_used_only_when_asked_for() {
    let sandbox = Sandbox::new();
    let escapes = |arguments: &[&str]| sandbox.run(arguments).stderr.contains('\u{1b}');
    assert!(!escapes(&["up"]), "a pipe gets no colours");
    assert!(escapes(&["up", "--color", "always"]));
    assert!(!escapes(&["up", "--color", "never"]));
}

#[test]
fn an_image_that_no_file_and_no_catalogue_has_is_named() {
    let sandbox = Sandbox::new();
    sandbox.write("pool.yaml", &pool("64MiB").replace("image: tiny", "image: tinny"));
    insta::assert_snapshot!(sandbox.run(&["up", "-f", "pool.yaml"]).whole(), @r"
    exit code 2
    error: failed to find the image tinny that pool agents starts from
    hint: did you mean `tiny`?
    ");
}

#[test]
fn hints_name_the_home_that_was_named() {
    let sandbox = Sandbox::new();
    let ran = sandbox.run(&["--home", "other", "get", "machines", "none-0"]);
    assert!(ran.stderr.contains("hint: `winstead --home other get machines` shows"), "{ran:?}");
    let ran = sandbox.run(&["get", "machines", "none-0"]);
    assert!(ran.stderr.contains("hint: `winstead get machines` shows"), "{ran:?}");
}

#[test]
fn an_empty_variable_counts_as_unset_and_an_empty_option_does_not() {
    let sandbox = Sandbox::new();
    let state = sandbox.path("state");
    let mut command = sandbox.command(&["get", "machines"]);
    command.env("WINSTEAD_HOME", "").env("WINSTEAD_ARTIFACTS", "").env("XDG_STATE_HOME", &state);
    // Root has a home of the system's, which no test may touch.
    if !rustix::process::geteuid().is_root() {
        let ran = sandbox.ended(&command.output().unwrap());
        assert_eq!(ran.whole(), "exit code 0\nno machines\n");
        assert!(state.join("winstead/journal.sqlite").exists());
    }
    command = sandbox.command(&["schema"]);
    let ran =
        sandbox.ended(&command.env("WINSTEAD_HOME", "").env("WINSTEAD_ARTIFACTS", "").output().unwrap());
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    assert_eq!(sandbox.run(&["--home", "", "get", "machines"]).code, Some(2));
}

#[test]
fn commands_for_machines_with_an_agent_name_what_is_not_there() {
    let sandbox = Sandbox::new();
    insta::assert_snapshot!(sandbox.run(&["facts", "agents-0"]).whole(), @r"
    exit code 2
    error: failed to find the machine agents-0
    hint: `winstead get machines`, `get pools`, `get templates` and `get images` show what is there
    ");
    insta::assert_snapshot!(sandbox.run(&["clock", "agents"]).whole(), @r"
    exit code 2
    error: failed to find the pool agents
    hint: `winstead get machines` and `get pools` show what is there
    ");
    insta::assert_snapshot!(sandbox.run(&["reboot", "agents-0", "agents-1"]).whole(), @r"
    exit code 2
    error: failed to find the machine agents-0
    hint: `winstead get machines`, `get pools`, `get templates` and `get images` show what is there
    ");
    let ran = sandbox.run(&["bench", "disk", "--via", "ssh"]);
    assert!(ran.code == Some(2) && ran.stderr.contains("--machine <NAME>"), "{ran:?}");
}
