//! Rules in words, for people who look at a policy.

use winstead_spec::{AgentRule, CallerRule, CertificateRule, ContainerRule, RunRule, SignerRule};

/// A caller of a rule: `at local, account ann, in /kubepods.slice/**`.
#[must_use]
pub fn caller(caller: &CallerRule) -> String {
    let door = caller.door.map_or("at any door".to_owned(), |door| format!("at {door}"));
    let key = |word: &str, value: &Option<String>| value.as_ref().map(|value| format!("{word} {value}"));
    let program = caller.program.as_ref().map(|program| format!("program sha256:{}", program.short()));
    let parts = [
        Some(door),
        caller.administrator.then(|| "administrator".to_owned()),
        key("account", &caller.account),
        key("group", &caller.group),
        caller.container.as_ref().map(container),
        program,
        caller.certificate.as_ref().map(certificate),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn certificate(certificate: &CertificateRule) -> String {
    match certificate {
        CertificateRule::Name(name) => format!("certificate of {name}"),
        CertificateRule::Fingerprint(sha256) => format!("certificate sha256:{}", sha256.short()),
    }
}

fn container(container: &ContainerRule) -> String {
    match container {
        ContainerRule::None => "outside of containers".to_owned(),
        ContainerRule::Glob(glob) => format!("in {glob}"),
    }
}

/// What a rule allows, in one line for each kind.
#[must_use]
pub fn allowed(rule: &AgentRule) -> Vec<String> {
    if rule.all {
        return vec!["everything".to_owned()];
    }
    let mut lines: Vec<String> = rule.run.iter().map(program).collect();
    let mut list = |what: &str, items: Vec<String>| {
        if !items.is_empty() {
            lines.push(format!("{what} {}", items.join(", ")));
        }
    };
    list("open tunnels to", rule.tunnels.iter().map(ToString::to_string).collect());
    list("read", rule.read.clone());
    list("write", rule.write.clone());
    list("ask for", rule.queries.iter().map(|query| format!("{query:?}").to_lowercase()).collect());
    list("add routes to", rule.routes.iter().map(ToString::to_string).collect());
    if rule.reboot {
        lines.push("restart the computer".to_owned());
    }
    lines
}

fn program(run: &RunRule) -> String {
    let digests: Vec<String> = run.sha256.iter().map(|digest| format!("sha256:{}", digest.short())).collect();
    let mut named: Vec<String> = (!digests.is_empty()).then(|| digests.join(" or ")).into_iter().collect();
    named.extend(run.signer.as_ref().map(|signer| format!("signed by {}", self::signer(signer))));
    let mut line = match (&run.path, named.is_empty()) {
        (Some(path), true) => format!("run {path}"),
        (Some(path), false) => format!("run {path} if it is {}", named.join(" and ")),
        (None, _) if digests.is_empty() => format!("run what is {}", named.join(" and ")),
        (None, _) => format!("run {}", named.join(" if it is ")),
    };
    let mut add = |part: String| {
        line.push_str(", ");
        line.push_str(&part);
    };
    match run.arguments.as_slice() {
        [] => add("without arguments".to_owned()),
        arguments => add(format!("with `{}`", arguments.join(" "))),
    }
    if !run.environment.is_empty() {
        add(format!("setting {}", run.environment.join(", ")));
    }
    if let Some(account) = &run.account {
        add(format!("as {account}"));
    }
    limits(run).into_iter().for_each(&mut add);
    if !run.ports.is_empty() {
        let ports: Vec<String> = run.ports.iter().map(ToString::to_string).collect();
        add(format!("opening {}", ports.join(", ")));
    }
    line
}

fn signer(signer: &SignerRule) -> String {
    let digests: Vec<String> =
        signer.sha256.iter().map(|digest| format!("certificate sha256:{}", digest.short())).collect();
    let digests = (!digests.is_empty()).then(|| digests.join(" or "));
    signer.subject.iter().cloned().chain(digests).collect::<Vec<_>>().join(", ")
}

fn limits(run: &RunRule) -> Vec<String> {
    let memory = run.memory.map(|memory| format!("at most {memory}"));
    let processes = run.processes.map(|processes| format!("at most {processes} processes"));
    let cpu = run.cpu_milli.map(|milli| format!("at most {milli}/1000 CPUs"));
    [memory, processes, cpu].into_iter().flatten().collect()
}
