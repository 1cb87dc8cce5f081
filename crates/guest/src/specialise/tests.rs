//! The interpreter, for both systems, against an agent that plays along.

use std::sync::mpsc;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    agent::{
        Limits,
        fake::{self, Play, Reply},
    },
    seed::tests::identity,
};

const SYSTEMS: [GuestOs; 2] = [GuestOs::Linux, GuestOs::Windows];

/// What came of it, and what the agent was asked to run.
async fn run(
    identity: &Identity,
    left_out: Option<Step>,
    ended: Value,
) -> (Result<(), SpecialiseError>, Vec<Value>) {
    let (told, asked) = mpsc::channel();
    let mut honest = fake::honest();
    let play: Play = Box::new(move |command, arguments, count| match command {
        "guest-exec" => {
            told.send(arguments.clone()).unwrap();
            honest(command, arguments, count)
        }
        "guest-exec-status" => Reply::Value(ended.clone()),
        _ => honest(command, arguments, count),
    });
    let agent = fake::start(b"", play);
    let limits = Limits::default();
    let mut client = Agent::connect_within(&agent.socket, limits, &CancellationToken::new()).await.unwrap();
    let done = specialise(&mut client, identity, left_out).await;
    (done, asked.try_iter().collect())
}

fn ended(code: i32, errors: &str) -> Value {
    json!({"exited": true, "exitcode": code, "err-data": BASE64_STANDARD.encode(errors)})
}

/// All that is handed over, decoded as far as it is encoded.
fn program(question: &Value) -> String {
    let input = BASE64_STANDARD.decode(question["input-data"].as_str().unwrap()).unwrap();
    let first = input.split(|byte| *byte == b'\n').next().unwrap();
    let decoded = BASE64_STANDARD.decode(first).unwrap_or_default();
    question["arg"].to_string().replace("\\n", "\n") + &String::from_utf8_lossy(&decoded)
}

#[tokio::test]
async fn a_windows_guest_starts_one_powershell_with_all_on_its_standard_input() {
    let windows = Identity { os: GuestOs::Windows, ..identity() };
    let (done, asked) = run(&windows, None, ended(0, "")).await;
    done.unwrap();
    let [question] = asked.as_slice() else { panic!("{asked:?}") };
    assert_eq!(question["path"], r"C:\Windows\System32\WindowsPowerShell\v1.0\powershell.exe");
    let arguments = question["arg"].as_array().unwrap();
    let (command, options) = arguments.split_last().unwrap();
    assert_eq!(
        json!(options),
        json!(["-NoLogo", "-NoProfile", "-NonInteractive", "-ExecutionPolicy", "Bypass", "-EncodedCommand"])
    );
    assert!(command.as_str().unwrap().starts_with("JABQ"), "not UTF-16: {command}");
    let program = program(question);
    assert!(program.contains("$name = 'agents-0'\n$mac = '52-54-00-0A-0B-0C'\n"), "{program}");
}

#[tokio::test]
async fn each_step_of_the_list_is_in_the_program_unless_it_is_left_out() {
    for os in SYSTEMS {
        let identity = Identity { os, ..identity() };
        for left_out in tasks(os).iter().map(|task| Some(task.step)).chain([None]) {
            let (done, asked) = run(&identity, left_out, ended(0, "")).await;
            done.unwrap();
            let program = program(&asked[0]);
            for Task { step, .. } in tasks(os) {
                let there = program.contains(&format!("$at = '{step:?}';\n"));
                assert_eq!(there, Some(*step) != left_out, "{os:?} {step:?} without {left_out:?}");
            }
        }
    }
}

#[test]
fn no_list_has_a_step_twice_and_random_numbers_come_first() {
    for os in SYSTEMS {
        let steps: Vec<Step> = tasks(os).iter().map(|task| task.step).collect();
        let different: std::collections::HashSet<Step> = steps.iter().copied().collect();
        assert_eq!(different.len(), steps.len(), "{os:?}");
        assert_eq!(steps[0], Step::Random, "{os:?}");
    }
}

#[tokio::test]
async fn a_failed_step_is_named_with_the_guests_words() {
    let told = async |os, errors: &str| {
        let identity = Identity { os, ..identity() };
        run(&identity, None, ended(1, errors)).await.0.unwrap_err().to_string()
    };
    insta::assert_snapshot!(told(GuestOs::Linux, "failed at Clock: Operation not permitted\n").await, @r#"give the guest its own identity: Clock: "Operation not permitted""#);
    insta::assert_snapshot!(told(GuestOs::Linux, "syntax error at -e line 1").await, @r#"give the guest its own identity: ?: "syntax error at -e line 1""#);
    let xml = "#< CLIXML\r\n<Objs/>\nfailed at Random: Zugriff: verweigert\n+ at line 1\n";
    insta::assert_snapshot!(told(GuestOs::Windows, xml).await, @r#"give the guest its own identity: Random: "Zugriff: verweigert""#);
}

#[tokio::test]
async fn values_that_would_end_a_quoted_text_are_refused_before_the_guest_runs_anything() {
    for os in SYSTEMS {
        let good = Identity { os, ..identity() };
        let mac = |mac: &str| Identity {
            network: seed::GuestNetwork { mac: mac.to_owned(), ..good.network.clone() },
            ..good.clone()
        };
        let name = |name: &str| Identity { host_name: name.to_owned(), ..good.clone() };
        for bad in [name("a'b"), name("a\u{2019}b"), name("a\"b"), mac("52:54:00:0a:0b:'c"), mac("';x")] {
            let (done, asked) = run(&bad, None, ended(0, "")).await;
            assert!(matches!(done, Err(SpecialiseError::Seed(SeedError::Invalid { .. }))), "{bad:?}");
            assert_eq!(asked, [] as [Value; 0]);
        }
    }
}
