//! What holds for every policy and every request.

use std::{collections::BTreeSet, path::Path};

use proptest::{option, prelude::*};
use winstead_spec::{
    AgentQuery, AgentRule, ByteSize, CallerRule, CertificateRule, ContainerRule, RunRule, Sha256, SignerRule,
};

use crate::access::{
    Account, Caller, CallingProcess, Certificate, Door, Limits, Paths, Policy, Port, Protocol, Query,
    Request, Run, Signer, Verdict,
};

// Few words, so that rules and requests meet.
const WORDS: [&str; 6] = ["/a", "/a/b", "/a/*", "/**", "x", ""];

fn word() -> impl Strategy<Value = String> {
    prop_oneof![8 => prop::sample::select(&WORDS[..]).prop_map(str::to_owned), 1 => any::<String>()]
}

fn digest() -> impl Strategy<Value = Sha256> {
    prop::sample::select(&[0_u8, 1][..]).prop_map(|byte| Sha256::from([byte; 32]))
}

fn door() -> impl Strategy<Value = Door> {
    prop::sample::select(&[Door::Local, Door::Wins, Door::Guest][..])
}

fn few<T: std::fmt::Debug>(one: impl Strategy<Value = T>) -> impl Strategy<Value = Vec<T>> {
    prop::collection::vec(one, 0..3)
}

fn arguments() -> impl Strategy<Value = Vec<String>> {
    few(prop::sample::select(&["a", "b", "*"][..]).prop_map(str::to_owned))
}

fn container() -> impl Strategy<Value = ContainerRule> {
    prop_oneof![Just(ContainerRule::None), word().prop_map(ContainerRule::Glob)]
}

fn caller_rule() -> impl Strategy<Value = CallerRule> {
    (
        option::of(door()),
        option::of(word()),
        option::of(word()),
        option::of(container()),
        option::of(digest()),
    )
        .prop_map(|(door, account, group, container, program)| CallerRule {
            door,
            account,
            group,
            container,
            program,
            administrator: false,
            certificate: None,
        })
}

fn run_rule() -> impl Strategy<Value = RunRule> {
    let named = (few(digest()), option::of(signer_rule()), option::of(word()));
    let what = (named, arguments(), few(word()), option::of(word()));
    let limits = (option::of(any::<u64>()), option::of(any::<u32>()), option::of(any::<u32>()));
    (what, limits).prop_map(
        |(((sha256, signer, path), arguments, environment, account), (memory, processes, cpu_milli))| {
            let ports = vec!["tcp/1-9".parse().expect("ports")];
            let memory = memory.map(ByteSize::from_bytes);
            RunRule {
                sha256,
                signer,
                path,
                arguments,
                environment,
                account,
                memory,
                processes,
                cpu_milli,
                ports,
            }
        },
    )
}

fn signer_rule() -> impl Strategy<Value = SignerRule> {
    (option::of(word()), few(digest())).prop_map(|(subject, sha256)| SignerRule { subject, sha256 })
}

fn rule() -> impl Strategy<Value = AgentRule> {
    let what = (few(run_rule()), few(word()), few(word()), any::<bool>(), prop::bool::weighted(0.1));
    (few(caller_rule()), what).prop_map(|(callers, (run, read, write, reboot, all))| AgentRule {
        name: "rule".parse().expect("a name"),
        callers,
        run,
        tunnels: vec!["tcp/x:1-9".parse().expect("ports")],
        read,
        write,
        queries: BTreeSet::from([AgentQuery::Host]),
        routes: vec!["10.0.0.0/8".parse().expect("a network")],
        reboot,
        all,
    })
}

fn caller() -> impl Strategy<Value = Caller> {
    (door(), (word(), word(), few(word())), option::of(option::of(digest())), option::of(word())).prop_map(
        |(door, (name, id, groups), process, container)| Caller {
            door,
            account: Account { name, id, groups, ..Account::default() },
            process: process.map(|sha256| CallingProcess { pid: 1, started: 1, program: None, sha256 }),
            container,
        },
    )
}

fn run() -> impl Strategy<Value = Run> {
    let what = (word(), option::of(digest()), arguments(), few((word(), word())), option::of(word()));
    let signer = option::of((word(), digest()).prop_map(|(subject, sha256)| Signer { subject, sha256 }));
    (what, signer, option::of(any::<u32>())).prop_map(
        |((program, sha256, arguments, environment, account), signer, processes)| Run {
            program: program.into(),
            sha256,
            signer,
            arguments,
            environment,
            account,
            limits: Limits { processes, ..Limits::default() },
            ..Run::default()
        },
    )
}

/// Asks everything that can be asked with these words.
fn all<'a>(run: &'a Run, port: &'a Port, text: &'a str) -> Vec<Request<'a>> {
    let queries = [Query::Agent, Query::Host, Query::Network, Query::Hns, Query::Status].map(Request::Query);
    let mut requests = vec![
        Request::Run(run),
        Request::Process { owner: text },
        Request::Tunnel(port),
        Request::Read(Path::new(text)),
        Request::Write(Path::new(text)),
        Request::Reboot,
        Request::AddRoute(text),
    ];
    requests.extend(queries);
    requests
}

fn port() -> impl Strategy<Value = Port> {
    (word(), any::<u16>()).prop_map(|(host, number)| Port { protocol: Protocol::Tcp, host, number })
}

fn paths() -> impl Strategy<Value = Paths> {
    prop::sample::select(&[Paths::Unix, Paths::Windows][..])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_no_rule_names_is_refused(
        rules in few(rule()), caller in caller(), run in run(), port in port(), text in word(), paths in paths(),
    ) {
        let nobody: Vec<AgentRule> = rules.iter().map(|rule| AgentRule { callers: Vec::new(), ..rule.clone() }).collect();
        for request in all(&run, &port, &text) {
            prop_assert_eq!(Policy::new(Vec::new(), paths).judge(&caller, request), Verdict::Refused(None));
            let refused = matches!(Policy::new(nobody.clone(), paths).judge(&caller, request), Verdict::Refused(_));
            prop_assert!(refused, "{:?}", request);
        }
    }

    #[test]
    fn one_more_rule_never_takes_a_right_away(
        rules in few(rule()), more in rule(), at in any::<prop::sample::Index>(),
        caller in caller(), run in run(), port in port(), text in word(), paths in paths(),
    ) {
        let before = Policy::new(rules.clone(), paths);
        let mut rules = rules;
        rules.insert(at.index(rules.len() + 1), more);
        let after = Policy::new(rules, paths);
        for request in all(&run, &port, &text) {
            let refused = |policy: &Policy| matches!(policy.judge(&caller, request), Verdict::Refused(_));
            prop_assert!(refused(&before) || !refused(&after), "{:?}", request);
            let allowed = |policy: &Policy| matches!(policy.judge(&caller, request), Verdict::Allowed(_));
            // A digest that is not given may be asked for first; when it is given, the right is there.
            let asked = matches!(request, Request::Run(run) if run.sha256.is_none());
            prop_assert!(!allowed(&before) || allowed(&after) || asked, "{:?}", request);
        }
    }

    #[test]
    fn a_digest_that_is_given_is_not_asked_for(
        rules in few(rule()), caller in caller(), run in run(), digest in digest(), paths in paths(),
    ) {
        let policy = Policy::new(rules, paths);
        let run = Run { sha256: Some(digest), ..run };
        prop_assert_ne!(policy.judge(&caller, Request::Run(&run)), Verdict::NeedsDigest);
    }

    #[test]
    fn nobody_gets_more_than_was_asked_for_or_than_the_rule_gives(
        rules in few(rule()), caller in caller(), run in run(), paths in paths(),
    ) {
        let policy = Policy::new(rules.clone(), paths);
        if let Verdict::Allowed(terms) = policy.judge(&caller, Request::Run(&run)) {
            if let Some(asked) = run.limits.processes {
                prop_assert!(terms.limits.processes.is_some_and(|given| given <= asked));
            }
            let all = rules.iter().any(|rule| rule.all);
            let limits = rules.iter().flat_map(|rule| &rule.run).map(|rule| rule.memory);
            let given = limits.clone().any(|limit| limit == terms.limits.memory);
            prop_assert!(all || given, "{:?}", terms);
        }
    }
}

/// A rule for callers at the agent's own door.
fn for_local(run: RunRule) -> AgentRule {
    AgentRule {
        name: "tool".parse().expect("a name"),
        callers: vec![CallerRule { door: Some(Door::Local), ..CallerRule::default() }],
        run: vec![run],
        tunnels: Vec::new(),
        read: vec![r"C:\Logs\**".to_owned()],
        write: Vec::new(),
        queries: BTreeSet::new(),
        routes: vec!["169.254.0.0/16".parse().expect("a network")],
        reboot: false,
        all: false,
    }
}

fn local() -> Caller {
    Caller { door: Door::Local, account: Account::default(), process: None, container: None }
}

#[test]
fn a_program_is_known_by_who_signed_it_once_it_was_looked_at() {
    let (one, other) = (Sha256::from([1; 32]), Sha256::from([2; 32]));
    let signed =
        |subject: &str, sha256: &Sha256| Some(Signer { subject: subject.to_owned(), sha256: sha256.clone() });
    let said = |subject: Option<&str>, sha256: &[&Sha256], run: &Run| {
        let subject = subject.map(str::to_owned);
        let signer = SignerRule { subject, sha256: sha256.iter().map(|&digest| digest.clone()).collect() };
        let rule = RunRule { signer: Some(signer), ..RunRule::default() };
        match Policy::new(vec![for_local(rule)], Paths::Unix).judge(&local(), Request::Run(run)) {
            Verdict::Allowed(_) => "allowed".to_owned(),
            Verdict::NeedsDigest => "needs digest".to_owned(),
            Verdict::Refused(nearest) => nearest.map(|(_, why)| why.to_string()).unwrap_or_default(),
        }
    };
    let not_looked_at = Run { program: "/opt/tool".into(), ..Run::default() };
    let unsigned = Run { sha256: Some(other.clone()), ..not_looked_at.clone() };
    let run = Run { signer: signed("CN=Tools", &one), ..unsigned.clone() };
    assert_eq!(said(Some("CN=Tools"), &[], &not_looked_at), "needs digest");
    for (subject, sha256) in
        [(Some("CN=Tools"), vec![]), (None, vec![&other, &one]), (Some("CN=Tools"), vec![&one])]
    {
        assert_eq!(said(subject, &sha256, &run), "allowed");
        assert_eq!(said(subject, &sha256, &unsigned), "the program is not signed as it says");
    }
    // The certificate's digest is meant, and the whole subject.
    for (subject, sha256) in
        [(Some("CN=tools"), vec![]), (Some("CN="), vec![&one]), (Some("CN=Tools"), vec![&other])]
    {
        assert_eq!(said(subject, &sha256, &run), "the program is not signed as it says");
    }
}

#[test]
fn the_nearest_rule_says_what_is_not_as_it_says() {
    let tool = RunRule {
        sha256: vec![Sha256::from([1; 32])],
        arguments: vec!["--port".to_owned(), "*".to_owned(), "**".to_owned()],
        environment: vec!["PROXY_*".to_owned(), "TZ".to_owned()],
        account: Some("nobody".to_owned()),
        ..RunRule::default()
    };
    let policy = Policy::new(vec![for_local(tool)], Paths::Unix);
    let arguments = |arguments: &[&str]| arguments.iter().map(|&argument| argument.to_owned()).collect();
    let right = Run {
        program: "/opt/tool".into(),
        sha256: Some(Sha256::from([1; 32])),
        arguments: arguments(&["--port", "80", "-v"]),
        environment: vec![("PROXY_HTTP".to_owned(), "x".to_owned()), ("TZ".to_owned(), String::new())],
        ..Run::default()
    };
    let judged = |caller: &Caller, run: &Run| match policy.judge(caller, Request::Run(run)) {
        Verdict::Allowed(terms) => format!("as {}", terms.account.unwrap_or_default()),
        Verdict::NeedsDigest => "needs digest".to_owned(),
        Verdict::Refused(nearest) => nearest.map(|(_, why)| why.to_string()).unwrap_or_default(),
    };
    let said = |run: Run| judged(&local(), &run);
    assert_eq!(said(right.clone()), "as nobody");
    assert_eq!(said(Run { sha256: None, ..right.clone() }), "needs digest");
    assert_eq!(
        said(Run { sha256: None, arguments: arguments(&["--port"]), ..right.clone() }),
        "it wants other arguments"
    );
    assert_eq!(
        said(Run { sha256: Some(Sha256::from([2; 32])), ..right.clone() }),
        "the program has another digest"
    );
    let preload = vec![("LD_PRELOAD".to_owned(), "x".to_owned())];
    assert_eq!(said(Run { environment: preload, ..right.clone() }), "it does not name one of the variables");
    assert_eq!(
        said(Run { account: Some("root".to_owned()), ..right.clone() }),
        "the program runs as somebody else by it"
    );
    let port = Port { protocol: Protocol::Tcp, host: String::new(), number: 80 };
    assert_eq!(said(Run { ports: vec![port], ..right.clone() }), "it does not name one of the ports");
    assert_eq!(said(Run { program: "tool".into(), ..right.clone() }), "it names another program");
    let elsewhere = Caller { door: Door::Wins, ..local() };
    assert_eq!(judged(&elsewhere, &right), "its callers come in by another door");
}

#[test]
fn windows_paths_are_compared_as_windows_does() {
    let tool = RunRule { path: Some(r"C:\Tools\Tool.exe".to_owned()), ..RunRule::default() };
    let policy = Policy::new(vec![for_local(tool)], Paths::Windows);
    let allowed = |request: Request<'_>| matches!(policy.judge(&local(), request), Verdict::Allowed(_));
    let runs = |program: &str| allowed(Request::Run(&Run { program: program.into(), ..Run::default() }));
    assert!(runs(r"c:\tools\TOOL.EXE") && runs("C:/Tools/tool.exe"));
    assert!(!runs(r"C:\Tools\.\Tool.exe") && !runs(r"C:\Tools\Tool.exe:x") && !runs(r"C:\Tools\Tool.exe "));
    assert!(allowed(Request::Read(Path::new("c:/logs/a/b.txt"))));
    assert!(!allowed(Request::Read(Path::new(r"c:\logs\..\secret"))));
}

#[test]
fn a_route_is_allowed_to_a_part_of_a_network() {
    let policy = Policy::new(vec![for_local(RunRule::default())], Paths::Unix);
    let allowed = |network| matches!(policy.judge(&local(), Request::AddRoute(network)), Verdict::Allowed(_));
    assert!(allowed("169.254.169.254/32") && allowed("169.254.169.254") && allowed("169.254.0.0/16"));
    assert!(!allowed("169.0.0.0/8") && !allowed("::/0") && !allowed("everything"));
}

#[test]
fn root_in_a_container_is_no_administrator_and_not_outside_of_one() {
    let rule = |caller: CallerRule| {
        Policy::new(
            vec![AgentRule { callers: vec![caller], all: true, ..for_local(RunRule::default()) }],
            Paths::Unix,
        )
    };
    let root = |container: Option<&str>| Caller {
        account: Account {
            name: "root".to_owned(),
            administrator: container.is_none(),
            ..Account::default()
        },
        container: container.map(str::to_owned),
        ..local()
    };
    let allowed = |policy: &Policy, caller: &Caller| {
        matches!(policy.judge(caller, Request::Reboot), Verdict::Allowed(_))
    };
    let (inside, outside) = (root(Some("/docker/a")), root(None));
    let administrators = rule(CallerRule { administrator: true, ..CallerRule::default() });
    assert!(allowed(&administrators, &outside) && !allowed(&administrators, &inside));
    let host = rule(CallerRule {
        account: Some("root".to_owned()),
        container: Some(ContainerRule::None),
        ..CallerRule::default()
    });
    assert!(allowed(&host, &outside) && !allowed(&host, &inside));
    let docker = ContainerRule::Glob("/docker/*".to_owned());
    let docker = rule(CallerRule { container: Some(docker), ..CallerRule::default() });
    assert!(!allowed(&docker, &outside) && allowed(&docker, &inside));
}

/// Somebody over the network.
fn certified(names: &[&str]) -> Caller {
    let names = names.iter().map(|&name| name.to_owned()).collect();
    let certificate = Certificate { names, sha256: Sha256::from([7; 32]) };
    Caller { door: Door::Tcp, account: certificate.into(), process: None, container: None }
}

#[test]
fn a_certificate_is_meant_by_each_of_its_names_and_by_its_fingerprint() {
    let judged = |caller: CallerRule| {
        let rule = AgentRule { callers: vec![caller], all: true, ..for_local(RunRule::default()) };
        let caller = certified(&["spiffe://example.org/ann", "ann.example", "root", "0"]);
        match Policy::new(vec![rule], Paths::Unix).judge(&caller, Request::Reboot) {
            Verdict::Refused(Some((_, why))) => why.to_string(),
            verdict => format!("{}", matches!(verdict, Verdict::Allowed(_))),
        }
    };
    let certificate =
        |rule: CertificateRule| judged(CallerRule { certificate: Some(rule), ..CallerRule::default() });
    let name = |name: &str| certificate(CertificateRule::Name(name.to_owned()));
    assert_eq!((name("ann.example"), name("ANN.Example")), ("true".to_owned(), "true".to_owned()));
    assert_eq!(name("spiffe://example.org/ann"), "true");
    let another = "its callers have another certificate";
    assert_eq!((name("spiffe://example.org/ANN"), name("example")), (another.to_owned(), another.to_owned()));
    assert_eq!(certificate(CertificateRule::Fingerprint(Sha256::from([7; 32]))), "true");
    assert_eq!(certificate(CertificateRule::Fingerprint(Sha256::from([8; 32]))), another);
    let account = |account: &str| CallerRule { account: Some(account.to_owned()), ..CallerRule::default() };
    for name in ["root", "0", "certificate:spiffe://example.org/ann"] {
        assert_eq!(judged(account(name)), "its callers have another account", "{name}");
    }
    let outside = CallerRule { container: Some(ContainerRule::None), ..CallerRule::default() };
    assert_eq!(judged(outside), "its callers are in another container");
    let administrator = CallerRule { administrator: true, ..CallerRule::default() };
    assert_eq!(judged(administrator), "its callers are administrators");
}

#[test]
fn a_renewed_certificate_is_the_same_owner_and_one_without_names_is_not() {
    let of = |names: &[&str], byte| {
        let names = names.iter().map(|&name| name.to_owned()).collect();
        let account = Certificate { names, sha256: Sha256::from([byte; 32]) }.into();
        Caller { door: Door::Tcp, account, process: None, container: None }.owner()
    };
    assert_eq!(of(&["ann"], 1), of(&["ann"], 2));
    assert_ne!(of(&["ann"], 1), of(&["bob"], 1));
    assert_ne!(of(&[], 1), of(&[], 2));
    let local = Account { name: "ann".to_owned(), id: "ann".to_owned(), ..Account::default() };
    assert_ne!(of(&["ann"], 1), Caller { door: Door::Tcp, account: local, ..certified(&[]) }.owner());
}
