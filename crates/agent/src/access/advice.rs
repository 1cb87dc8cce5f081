//! What to think about again in a policy: rules that give more than they seem to, or nothing. Pure.

use winstead_spec::{AgentRule, CallerRule, ContainerRule, Door, RunRule, SignerRule};

use crate::access::{Paths, glob};

/// Programs that run whatever their arguments say.
const SHELLS: [&str; 26] = [
    "ash",
    "bash",
    "busybox",
    "cmd",
    "cscript",
    "csh",
    "dash",
    "env",
    "fish",
    "ksh",
    "msbuild",
    "mshta",
    "node",
    "perl",
    "php",
    "powershell",
    "pwsh",
    "python",
    "regsvr32",
    "ruby",
    "rundll32",
    "sh",
    "sudo",
    "systemd-run",
    "wscript",
    "zsh",
];

/// Variables by which code comes into a program that is otherwise known.
const LOADERS: [&str; 20] = [
    "BASH_ENV",
    "COR_PROFILER",
    "CORECLR_PROFILER",
    "DOTNET_STARTUP_HOOKS",
    "GCONV_PATH",
    "GIO_EXTRA_MODULES",
    "JAVA_TOOL_OPTIONS",
    "LD_AUDIT",
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "NODE_OPTIONS",
    "OPENSSL_CONF",
    "PATH",
    "PATHEXT",
    "PERL5LIB",
    "PERL5OPT",
    "PSMODULEPATH",
    "PYTHONHOME",
    "PYTHONPATH",
    "RUBYOPT",
];

/// Something to think about again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advice {
    /// In which rule.
    pub rule: String,
    /// What it is.
    pub text: String,
}

/// What to think about again in these rules, in their order, on a system with paths of this kind.
#[must_use]
pub fn advice(rules: &[AgentRule], paths: Paths) -> Vec<Advice> {
    let mut all = Vec::new();
    for rule in rules {
        let mut say = |text: String| all.push(Advice { rule: rule.name.to_string(), text });
        of_rule(rule, &mut say);
        rule.callers.iter().for_each(|caller| of_caller(caller, &mut say));
        rule.run.iter().for_each(|run| of_program(run, &mut say));
        let signers = rule.run.iter().filter_map(|run| run.signer.as_ref());
        signers.for_each(|signer| of_signer(signer, paths, &mut say));
    }
    all
}

fn of_rule(rule: &AgentRule, say: &mut impl FnMut(String)) {
    if rule.callers.is_empty() {
        say("it is for nobody: `callers` is empty".to_owned());
    }
    if super::describe::allowed(rule).is_empty() {
        say("it allows nothing".to_owned());
    }
    let anybody = |caller: &&CallerRule| {
        let only_door = CallerRule { door: caller.door, ..CallerRule::default() };
        **caller == only_door
    };
    if let Some(caller) = rule.callers.iter().find(anybody).filter(|_| rule.all) {
        say(format!("everybody {} may do everything", super::describe::caller(caller)));
    }
}

fn of_caller(caller: &CallerRule, say: &mut impl FnMut(String)) {
    let on_this_computer = caller.administrator
        || caller.account.is_some()
        || caller.group.is_some()
        || caller.container.is_some()
        || caller.program.is_some();
    let elsewhere = caller.door.is_some_and(|door| door != Door::Tcp);
    if caller.door == Some(Door::Tcp) && on_this_computer {
        say("it is for nobody: at tcp a caller has a `certificate`, and none of the other keys".to_owned());
    } else if caller.certificate.is_some() && (on_this_computer || elsewhere) {
        say("it is for nobody: only callers at tcp have a certificate".to_owned());
    }
    let named = caller.account.as_ref().or(caller.group.as_ref());
    match (&caller.container, named) {
        (Some(ContainerRule::Glob(glob)), _) if glob.starts_with('*') => {
            say(format!(
                "{glob}: who may make cgroups of their own can be in one of that name; begin it with `/`"
            ));
        }
        (None, Some(name)) if !caller.administrator => {
            say(format!(
                "{name}: is meant in containers too, where it may be somebody else; `container: none` is the host alone"
            ));
        }
        _ => {}
    }
}

fn of_program(run: &RunRule, say: &mut impl FnMut(String)) {
    if run.sha256.is_empty() && run.signer.is_none() {
        let path = run.path.as_deref().unwrap_or_default();
        say(format!("{path}: whoever may replace that file runs anything by this rule; name its `sha256`"));
    }
    let free = run.arguments.iter().any(|argument| argument == "*" || argument == "**");
    if let Some(path) = run.path.as_ref().filter(|path| free && is_shell(path)) {
        say(format!("{path}: with arguments of the caller's choice it is any program"));
    }
    for allowed in &run.environment {
        if let Some(loader) = LOADERS.iter().find(|loader| glob::matches(&allowed.to_uppercase(), loader)) {
            say(format!("{allowed}: by {loader} a caller brings code of their own into the program"));
        }
    }
}

fn of_signer(signer: &SignerRule, paths: Paths, say: &mut impl FnMut(String)) {
    if paths == Paths::Unix {
        say("only Windows checks signatures: here `signer` lets nothing run; name the program's `sha256`"
            .to_owned());
    }
    if let Some(subject) = signer.subject.as_ref().filter(|_| signer.sha256.is_empty()) {
        say(format!(
            "{subject}: whoever gets a certificate of this name from anybody whom Windows trusts signs what runs by \
             this rule; name its `sha256`"
        ));
    }
}

/// Whether a path ends in the name of a shell, whatever its version and ending: `python3.11`, `PowerShell.exe`.
fn is_shell(path: &str) -> bool {
    let name = path.rsplit(['/', '\\']).next().unwrap_or_default().to_ascii_lowercase();
    let name = name.strip_suffix(".exe").unwrap_or(&name);
    let name = name.trim_end_matches(|letter: char| letter.is_ascii_digit() || letter == '.');
    // `regsvr32` ends in a number of its own.
    SHELLS.iter().any(|shell| shell.trim_end_matches(|letter: char| letter.is_ascii_digit()) == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(rule: &str) -> Vec<String> {
        said_on(Paths::Windows, rule)
    }

    fn said_on(paths: Paths, rule: &str) -> Vec<String> {
        let text = format!(
            "apiVersion: winstead.dev/v1alpha1\nkind: AgentPolicy\nmetadata: {{name: a}}\nspec: {{rules: [{rule}]}}"
        );
        let source = winstead_spec::Source { name: "a".to_owned(), folder: "/".into(), text };
        let documents = winstead_spec::parse(&[source]).expect("it is right");
        let rules: Vec<_> = documents.rules().cloned().collect();
        advice(&rules, paths).into_iter().map(|advice| advice.text).collect()
    }

    #[test]
    fn a_careful_rule_needs_no_advice() {
        let digest = "a".repeat(64);
        let run = format!(
            "{{sha256: [{digest}], path: /bin/bash, arguments: [-c, 'true'], environment: [TZ, 'HTTP_*']}}"
        );
        let callers = "[{door: local, container: '/kubepods.slice/**'}]";
        assert_eq!(said(&format!("{{name: a, callers: {callers}, run: [{run}]}}")), Vec::<String>::new());
    }

    #[test]
    fn what_gives_more_than_it_seems_to_is_said() {
        let run = r"{path: 'C:\Windows\PowerShell.exe', arguments: ['**'], environment: ['LD_*', path]}";
        assert_eq!(
            said(&format!("{{name: a, callers: [{{container: '*web*'}}], run: [{run}]}}")),
            [
                "*web*: who may make cgroups of their own can be in one of that name; begin it with `/`",
                r"C:\Windows\PowerShell.exe: whoever may replace that file runs anything by this rule; name its `sha256`",
                r"C:\Windows\PowerShell.exe: with arguments of the caller's choice it is any program",
                "LD_*: by LD_AUDIT a caller brings code of their own into the program",
                "path: by PATH a caller brings code of their own into the program",
            ]
        );
        assert_eq!(
            said("{name: a, callers: [{door: wins}], all: true}"),
            ["everybody at wins may do everything"]
        );
        assert_eq!(
            said(
                "{name: a, callers: [{door: tcp, account: ann}, {door: local, certificate: ann}, {certificate: ann}], reboot: true}"
            ),
            [
                "it is for nobody: at tcp a caller has a `certificate`, and none of the other keys",
                "ann: is meant in containers too, where it may be somebody else; `container: none` is the host alone",
                "it is for nobody: only callers at tcp have a certificate",
            ]
        );
        assert_eq!(
            said("{name: a, callers: []}"),
            ["it is for nobody: `callers` is empty", "it allows nothing"]
        );
    }

    #[test]
    fn a_signer_is_a_certificate_on_windows_and_nothing_elsewhere() {
        let rule = |signer: &str| {
            format!(
                "{{name: a, callers: [{{door: local}}], run: [{{path: 'C:/tool.exe', signer: {signer}}}]}}"
            )
        };
        let digest = "a".repeat(64);
        let certificate = rule(&format!("{{subject: 'CN=Tools', sha256: [{digest}]}}"));
        assert_eq!(said(&certificate), Vec::<String>::new());
        assert_eq!(
            said_on(Paths::Unix, &certificate),
            ["only Windows checks signatures: here `signer` lets nothing run; name the program's `sha256`"]
        );
        assert_eq!(
            said(&rule("{subject: 'CN=Tools'}")),
            [
                "CN=Tools: whoever gets a certificate of this name from anybody whom Windows trusts signs what runs by \
              this rule; name its `sha256`"
            ]
        );
    }

    #[test]
    fn shells_are_known_by_their_names() {
        for shell in ["/usr/bin/python3.11", r"C:\Windows\System32\cmd.EXE", "/bin/sh", "C:/w/regsvr32.exe"] {
            assert!(is_shell(shell), "{shell}");
        }
        for tool in ["/usr/bin/shasum", "/usr/bin/node_exporter", "/usr/bin/", "/bin/bash/tool"] {
            assert!(!is_shell(tool), "{tool}");
        }
    }
}
