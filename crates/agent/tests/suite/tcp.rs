//! Over the network: TLS with certificates on both sides.

use std::{os::unix::fs::PermissionsExt as _, time::Duration};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, pki_types::ServerName},
};
use tonic::Code;
use winstead_agent::serve::{Places, Signals, serve};
use winstead_agent_client::{
    Address, Connection, chain,
    identity::{Identity, VERSIONS, provider},
};
use winstead_protocol::v1::{ClockRequest, HelloRequest, StatusRequest};

use crate::{
    certificates::{Authority, door},
    common::{Agent, PATIENCE, document, settings},
};

/// An agent whose certificate this authority has signed, and where it listens.
async fn agent(authority: &Authority, more: &str, policy: &str) -> (Agent, String) {
    let own = authority.signs(&["agent.example", "127.0.0.1"]);
    let agent = Agent::with(&(document("Agent", &door(&own, more)) + policy)).await;
    let status = agent.connect().await.agent().status(StatusRequest {}).await.expect("we are administrators");
    let doors = status.into_inner().doors;
    let door = doors.iter().find(|door| door.name == "tcp").expect("it has that door");
    assert_eq!(door.permissions, format!("certificates from {}", authority.certificate().display()));
    (agent, door.address.clone())
}

fn place(address: &str, identity: &Identity) -> Address {
    Address::Tcp(format!("tcp://{address}").parse().expect("a place"), identity.clone())
}

fn policy(rules: &str) -> String {
    document("AgentPolicy", &format!("{{rules: [{rules}]}}"))
}

/// Why somebody is not let in.
async fn refused(address: &str, identity: &Identity) -> String {
    let opened = tokio::time::timeout(PATIENCE, Connection::open(&place(address, identity))).await;
    chain(&opened.expect("it says so in time").expect_err("they are not let in"))
}

#[tokio::test]
async fn a_certificate_has_the_rights_of_its_name_and_everything_is_written_down() {
    let authority = Authority::new();
    let rules = "{name: clocks, callers: [{certificate: Ann.example}], queries: [host]}";
    let (agent, address) = agent(&authority, "", &policy(rules)).await;
    let (ann, bob) = (authority.signs(&["ann.example", "spare.example"]), authority.signs(&["bob.example"]));
    let connection = Connection::open(&place(&address, &ann)).await.expect("she is let in");
    connection.agent().hello(HelloRequest::default()).await.expect("everybody may say hello");
    connection.agent().clock(ClockRequest {}).await.expect("a rule allows it");
    let status = connection.agent().status(StatusRequest {}).await.expect_err("no rule allows it");
    assert_eq!(status.code(), Code::PermissionDenied);
    let connection = Connection::open(&place(&address, &bob)).await.expect("he is let in");
    let status = connection.agent().clock(ClockRequest {}).await.expect_err("no rule allows it");
    assert_eq!(status.message(), "asking for facts of this computer is not allowed for bob.example (tcp)");
    let log = fs_err::read_to_string(agent.state().join("audit.jsonl")).expect("it is there");
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let caller = &lines.iter().find(|line| line["rule"] == "clocks").expect("it is written down")["caller"];
    assert_eq!(caller["certificate"]["names"], serde_json::json!(["ann.example", "spare.example"]));
    assert_eq!(caller["certificate"]["sha256"].as_str().map(str::len), Some(64));
    assert_eq!((&caller["id"], &caller["administrator"]), (&"certificate:ann.example".into(), &false.into()));
    drop(connection);
    agent.stop().await;
}

#[tokio::test]
async fn without_a_rule_a_good_certificate_may_do_nothing() {
    let authority = Authority::new();
    let (agent, address) = agent(&authority, "", "").await;
    let root = authority.signs(&["root"]);
    let connection = Connection::open(&place(&address, &root)).await.expect("they are let in");
    for denied in [
        connection.agent().clock(ClockRequest {}).await.map(drop),
        connection.agent().status(StatusRequest {}).await.map(drop),
    ] {
        assert_eq!(denied.expect_err("no rule allows it").code(), Code::PermissionDenied);
    }
    drop(connection);
    agent.stop().await;
}

#[tokio::test]
async fn neither_side_speaks_with_one_whom_it_does_not_believe() {
    let (authority, other) = (Authority::new(), Authority::new());
    let (agent, address) = agent(&authority, "", "").await;
    let good = authority.signs(&["ann.example"]);
    let forged = Identity { authority: authority.certificate(), ..other.signs(&["ann.example"]) };
    let said = refused(&address, &forged).await;
    assert!(said.contains("received fatal alert"), "{said}");
    let said = refused(&address, &authority.signs_until(&["late.example"], 2001)).await;
    assert!(said.contains("CertificateExpired"), "{said}");
    let misled = Identity { authority: other.certificate(), ..good.clone() };
    let said = refused(&address, &misled).await;
    assert!(said.contains("invalid peer certificate"), "{said}");
    let elsewhere = address.replace("127.0.0.1", "localhost");
    let said = refused(&elsewhere, &good).await;
    assert!(said.contains("invalid peer certificate"), "it has another name: {said}");
    Connection::open(&place(&address, &good)).await.expect("she is let in");
    agent.stop().await;
}

#[tokio::test]
async fn nobody_is_let_in_without_a_certificate() {
    let authority = Authority::new();
    let (agent, address) = agent(&authority, "", "").await;
    let authorities = authority.signs(&["any.example"]).read().expect("they are read").authorities;
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&VERSIONS)
        .expect("there is one")
        .with_root_certificates(authorities)
        .with_no_client_auth();
    let stream = TcpStream::connect(&address).await.expect("it listens");
    let name = ServerName::try_from("127.0.0.1").expect("an address");
    let mut stream = TlsConnector::from(std::sync::Arc::new(config))
        .connect(name, stream)
        .await
        .expect("our side is through");
    let error =
        tokio::time::timeout(PATIENCE, stream.read_u8()).await.expect("in time").expect_err("refused");
    assert!(error.to_string().contains("CertificateRequired"), "{error}");
    agent.stop().await;
}

#[tokio::test]
async fn half_a_handshake_holds_nothing_and_plain_words_are_no_handshake() {
    let authority = Authority::new();
    let (agent, address) = agent(&authority, ", limits: {clients: 1, handshake: 300ms}", "").await;
    let good = authority.signs(&["ann.example"]);
    // The local one that asked for the door has left, or soon will have.
    let mut silent = TcpStream::connect(&address).await.expect("it listens");
    silent.write_all(&[0x16, 3, 1]).await.expect("it reads");
    let mut plain = TcpStream::connect(&address).await.expect("it listens");
    plain.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.expect("it reads");
    for stream in [&mut silent, &mut plain] {
        let mut said = Vec::new();
        _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut said)).await.expect("it hangs up in time");
        assert!(!said.windows(2).any(|two| two == b"\x00\x04"), "no settings: {said:?}");
    }
    let connection = Connection::open(&place(&address, &good)).await.expect("there is a seat");
    connection.agent().hello(HelloRequest::default()).await.expect("it answers");
    drop(connection);
    agent.stop().await;
}

#[tokio::test]
async fn one_name_cannot_take_all_seats() {
    let authority = Authority::new();
    let (agent, address) = agent(&authority, ", limits: {clients: 8}", "").await;
    let (ann, bob) = (authority.signs(&["ann.example"]), authority.signs(&["bob.example"]));
    let mut held = Vec::new();
    for _ in 0..2 {
        let connection = Connection::open(&place(&address, &ann)).await.expect("a quarter is hers");
        connection.agent().hello(HelloRequest::default()).await.expect("it answers");
        held.push(connection);
    }
    let third = Connection::open(&place(&address, &ann)).await.expect("she is told");
    let status = third.agent().hello(HelloRequest::default()).await.expect_err("more than a quarter");
    assert_eq!(status.code(), Code::Unavailable);
    let other = Connection::open(&place(&address, &bob)).await.expect("there is a seat");
    other.agent().hello(HelloRequest::default()).await.expect("it answers");
    drop((held, third, other));
    agent.stop().await;
}

#[tokio::test]
async fn an_agent_whose_key_others_can_read_does_not_start() {
    let authority = Authority::new();
    let own = authority.signs(&["127.0.0.1"]);
    fs_err::set_permissions(&own.key, std::fs::Permissions::from_mode(0o640)).expect("it is ours");
    let folder = tempfile::tempdir().expect("a folder");
    let places = Places { runtime: folder.path().join("run"), state: folder.path().join("state") };
    let file = folder.path().join("agent.yaml");
    fs_err::write(&file, document("Agent", &door(&own, ""))).expect("it is written");
    let settings = settings(places, vec![file]);
    let said = chain(&serve(&settings, &Signals::default()).await.expect_err("others may read it"));
    let expected = format!(
        "trust the key: {}: others may read it (mode 640, expected 600)",
        fs_err::canonicalize(&own.key).expect("it is there").display()
    );
    assert_eq!(said, expected);
    fs_err::write(&own.key, "").expect("it is ours");
    fs_err::set_permissions(&own.key, std::fs::Permissions::from_mode(0o600)).expect("it is ours");
    let said = chain(&serve(&settings, &Signals::default()).await.expect_err("there is no key in it"));
    assert_eq!(said, format!("find a key in {}", own.key.display()));
}

#[tokio::test]
async fn certificates_are_read_again_and_wrong_ones_change_nothing() {
    let (authority, next) = (Authority::new(), Authority::new());
    let (agent, address) = agent(&authority, "", "").await;
    let old = authority.signs(&["ann.example"]);
    let held = Connection::open(&place(&address, &old)).await.expect("she is let in");
    // The agent's files become those of another authority.
    let (own, renewed) = (authority.signs(&["agent.example", "127.0.0.1"]), next.signs(&["127.0.0.1"]));
    fs_err::write(&own.key, "nothing").expect("it is ours");
    reloaded(&agent, |problem| problem.contains("find a key in")).await;
    Connection::open(&place(&address, &old)).await.expect("as before");
    for (from, to) in [
        (&renewed.certificate, &own.certificate),
        (&renewed.key, &own.key),
        (&renewed.authority, &own.authority),
    ] {
        fs_err::copy(from, to).expect("it is ours");
    }
    reloaded(&agent, str::is_empty).await;
    let new = next.signs(&["ann.example"]);
    Connection::open(&place(&address, &new)).await.expect("she is let in");
    let stale = Identity { authority: next.certificate(), ..old };
    assert!(refused(&address, &stale).await.contains("received fatal alert"));
    held.agent().hello(HelloRequest::default()).await.expect("what is open stays");
    drop(held);
    agent.stop().await;
}

/// Lets the agent read its files again, until it says this of it.
async fn reloaded(agent: &Agent, wanted: impl Fn(&str) -> bool) {
    agent.signals.reload.notify_one();
    let connection = agent.connect().await;
    let said = async {
        loop {
            let status = connection.agent().status(StatusRequest {}).await.expect("we are administrators");
            if wanted(&status.into_inner().policy.expect("it is told").problem) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, said).await.expect("it reads them");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_reaches_it_by_flags_and_by_the_environment() {
    let authority = Authority::new();
    let (agent, address) = agent(&authority, "", "").await;
    let ann = authority.signs(&["ann.example"]);
    let command = |configure: &dyn Fn(&mut assert_cmd::Command)| {
        let mut command = assert_cmd::Command::cargo_bin("winstead-agent").expect("it is built");
        configure(command.env_clear().arg("hello"));
        let output = command.output().expect("it starts");
        let text = |bytes| String::from_utf8(bytes).expect("it is text");
        (output.status.success(), text(output.stdout) + &text(output.stderr))
    };
    let address = format!("tcp://{address}");
    let (well, said) = command(&|command| {
        command.args(["--address", &address]).arg("--cert").arg(&ann.certificate);
        command.arg("--key").arg(&ann.key).arg("--ca").arg(&ann.authority);
    });
    assert!(well, "{said}");
    let environment = |command: &mut assert_cmd::Command| {
        command.env("WINSTEAD_AGENT_ADDRESS", &address).env("WINSTEAD_AGENT_CERT", &ann.certificate);
        command.env("WINSTEAD_AGENT_KEY", &ann.key).env("WINSTEAD_AGENT_CA", &ann.authority);
    };
    let (well, said) = command(&environment);
    assert!(well, "{said}");
    let (well, said) = command(&|command| _ = command.args(["--address", &address]));
    assert!(!well);
    assert_eq!(
        said,
        format!(
            "error: failed to reach {address} without --cert, --key and --ca (or WINSTEAD_AGENT_CERT, _KEY and _CA)\n"
        )
    );
    fs_err::set_permissions(&ann.key, std::fs::Permissions::from_mode(0o604)).expect("it is ours");
    let (well, said) = command(&environment);
    assert!(!well && said.contains("others may read it (mode 604, expected 600)"), "{said}");
    agent.stop().await;
}
