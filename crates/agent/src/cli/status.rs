//! `winstead-agent status`: what the running agent is at.

use clap::Args;
use serde_json::{Value, json};
use winstead_protocol::v1::{PolicyStatus, StatusRequest, StatusResponse};

use crate::cli::{Failure, Format, reach::Reach, runtime, show};

/// Shows what the running agent is at: its doors and who may connect, its policy, who is there. For administrators.
#[derive(Clone, Debug, Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    reach: Reach,
    /// How to show it.
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Format,
}

/// Asks and shows.
///
/// # Errors
/// When nobody answers, or we may not ask.
pub(crate) fn run(args: &StatusArgs) -> Result<(), Failure> {
    let status = runtime()?.block_on(async {
        let connection = args.reach.open().await?;
        let answer = connection.agent().status(StatusRequest {}).await.map_err(super::refusal)?;
        Ok::<_, Failure>(answer.into_inner())
    })?;
    match args.output {
        Format::Text => show(&text(&status)),
        Format::Json => show(&format!("{:#}\n", as_json(&status))),
    }
}

fn text(status: &StatusResponse) -> String {
    let mut text = format!(
        "winstead-agent {}, since {}: {} clients, {} processes, {} tunnels\n",
        status.version,
        time(status.started_unix_ms),
        status.clients,
        status.processes,
        status.tunnels
    );
    for door in &status.doors {
        text += &format!("door {}: {} ({})\n", door.name, door.address, door.permissions);
    }
    text += &policy(&status.policy.clone().unwrap_or_default());
    if !status.metrics_address.is_empty() {
        text += &format!("metrics: http://{}/metrics\n", status.metrics_address);
    }
    text
}

fn policy(policy: &PolicyStatus) -> String {
    let mut text = match policy.present {
        true => format!(
            "policy: read {}, what no rule allows is refused; rules: {}\n",
            time(policy.read_unix_ms),
            if policy.rules.is_empty() { "none".to_owned() } else { policy.rules.join(", ") }
        ),
        false => "policy: none; administrators at `local` and the host at `guest` may do everything, others nothing\n"
            .to_owned(),
    };
    if !policy.problem.is_empty() {
        text += &format!("policy: the newest files are not followed: {}\n", policy.problem);
    }
    text
}

fn as_json(status: &StatusResponse) -> Value {
    let policy = status.policy.clone().unwrap_or_default();
    let doors = status
        .doors
        .iter()
        .map(|door| json!({ "name": door.name, "address": door.address, "permissions": door.permissions }));
    json!({
        "version": status.version,
        "instanceId": status.instance_id,
        "started": time(status.started_unix_ms),
        "doors": doors.collect::<Vec<_>>(),
        "policy": {
            "present": policy.present,
            "rules": policy.rules,
            "read": time(policy.read_unix_ms),
            "problem": if policy.problem.is_empty() { Value::Null } else { json!(policy.problem) },
        },
        "clients": status.clients,
        "processes": status.processes,
        "tunnels": status.tunnels,
        "metricsAddress": if status.metrics_address.is_empty() { Value::Null } else { json!(status.metrics_address) },
    })
}

fn time(unix_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(unix_ms).map_or_else(|_| unix_ms.to_string(), |time| time.to_string())
}
