//! What users read when a file is wrong: the texts are pinned, because they are the product.

use std::path::PathBuf;

use winstead_spec::{Source, parse};

fn said(text: &str) -> String {
    let source = Source { name: "agents.yaml".into(), folder: PathBuf::from("/srv"), text: text.into() };
    parse(&[source]).map_or_else(|problems| problems.to_string(), |_| "fine".into())
}

/// A Pool whose spec is `spec`, in flow style.
fn pool(spec: &str) -> String {
    said(&format!("apiVersion: winstead.dev/v1alpha1\nkind: Pool\nmetadata: {{name: web}}\nspec: {spec}\n"))
}

/// An Image whose spec is `spec`, in flow style.
fn image(spec: &str) -> String {
    said(&format!("apiVersion: winstead.dev/v1alpha1\nkind: Image\nmetadata: {{name: web}}\nspec: {spec}\n"))
}

#[test]
fn a_terrible_file_is_told_all_its_problems_at_once() {
    insta::assert_snapshot!(said(include_str!("terrible.yaml")));
}

#[test]
fn a_document_that_is_no_yaml_hides_no_problem_of_the_next() {
    let head = "apiVersion: winstead.dev/v1alpha1\nkind:";
    let text = format!(
        "{head} Image\nmetadata: {{name: base}}\nspec: {{debian: {{suite: trixie\n---\n\
         {head} Pool\nmetadata: {{name: web}}\nspec: {{image: base, replcas: 4}}\n"
    );
    insta::assert_snapshot!(said(&text), @"
    agents.yaml:5:1: not YAML: while parsing a flow mapping, did not find expected ',' or '}'
    agents.yaml:9:21: spec.replcas: unknown key; did you mean `replicas`?
    ");
}

#[test]
fn a_smallest_pool_is_fine() {
    assert_eq!(pool("{image: debian}"), "fine");
}

#[test]
fn unknown_keys_name_the_nearest_known_key_also_when_it_is_elsewhere() {
    insta::assert_snapshot!(pool("{image: a, replcas: 4}"), @"agents.yaml:4:18: spec.replcas: unknown key; did you mean `replicas`?");
    insta::assert_snapshot!(pool("{image: a, memory: 4GiB}"), @"agents.yaml:4:18: spec.memory: unknown key; did you mean `machine.memory`?");
    insta::assert_snapshot!(pool("{image: a, machine: {cap: 4GiB}}"), @"agents.yaml:4:28: spec.machine.cap: unknown key; did you mean `disk.cap`?");
    insta::assert_snapshot!(pool("{image: a, volumes: []}"), @"agents.yaml:4:18: spec.volumes: unknown key; expected `image`, `replicas`, `machine`, `network`, `ready`, `warm` or `keepTemplate`");
    insta::assert_snapshot!(pool("{image: a, \"\\e[31mred\": 1}"), @r#"agents.yaml:4:18: spec."\u{1b}[31mred": unknown key; expected `image`, `replicas`, `machine`, `network`, `ready`, `warm` or `keepTemplate`"#);
    insta::assert_snapshot!(pool("{imge: a}"), @"agents.yaml:4:8: spec.imge: unknown key; did you mean `image`?");
}

#[test]
fn numbers_want_their_units_and_their_limits() {
    insta::assert_snapshot!(pool("{image: a, machine: {memory: 8}}"), @r#"agents.yaml:4:36: spec.machine.memory: "8" has no unit; expected a size like 8GiB"#);
    insta::assert_snapshot!(pool("{image: a, machine: {memory: '8'}}"), @r#"agents.yaml:4:36: spec.machine.memory: "8" has no unit; expected a size like 8GiB"#);
    insta::assert_snapshot!(pool("{image: a, machine: {memory: 8G}}"), @r#"agents.yaml:4:36: spec.machine.memory: "G" is not a unit; did you mean `8GiB`?"#);
    insta::assert_snapshot!(pool("{image: a, machine: {memory: 32MiB}}"), @r#"agents.yaml:4:36: spec.machine.memory: "32MiB" is less than 64MiB; expected at least 64MiB"#);
    insta::assert_snapshot!(pool("{image: a, machine: {disk: {cap: 17TiB}}}"), @r#"agents.yaml:4:40: spec.machine.disk.cap: "17TiB" is more than 16TiB; expected at most 16TiB"#);
    insta::assert_snapshot!(pool("{image: a, ready: {deadline: 25h}}"), @r#"agents.yaml:4:36: spec.ready.deadline: "25h" is more than 24h; expected at most 24h"#);
    insta::assert_snapshot!(pool("{image: a, replicas: 1001}"), @"agents.yaml:4:28: spec.replicas: 1001 is too large; expected a whole number from 0 to 1000");
    insta::assert_snapshot!(pool("{image: a, replicas: -1}"), @"agents.yaml:4:28: spec.replicas: -1 is too small; expected a whole number from 0 to 1000");
    insta::assert_snapshot!(pool("{image: a, replicas: 99999999999999999999999}"), @"agents.yaml:4:28: spec.replicas: 99999999999999999999999 is too large; expected a whole number from 0 to 1000");
    insta::assert_snapshot!(pool("{image: a, replicas: '4'}"), @r#"agents.yaml:4:28: spec.replicas: "4" is text; did you mean `4`?"#);
    insta::assert_snapshot!(pool("{image: a, replicas: 4.5}"), @r#"agents.yaml:4:28: spec.replicas: "4.5" is not a whole number; expected a whole number from 0 to 1000"#);
    insta::assert_snapshot!(pool("{image: a, machine: {cpus: 0}}"), @"agents.yaml:4:34: spec.machine.cpus: 0 is too small; expected a whole number from 1 to 256");
}

#[test]
fn what_a_template_runs_has_a_template_to_run_in() {
    let memory = "{image: a, machine: {start: memory}, warm: [[cargo, --version]]}";
    assert_eq!(pool(memory), "fine");
    insta::assert_snapshot!(pool("{image: a, warm: [[true]]}"), @r#"agents.yaml:4:26: spec.warm[0][0]: true is not text; did you mean `"true"`?"#);
    insta::assert_snapshot!(pool("{image: a, warm: [['true']]}"), @"agents.yaml:4:24: spec.warm: machines that boot have no template that runs these commands; expected `machine.start: memory`, or no such key");
    insta::assert_snapshot!(pool("{image: a, machine: {start: memory}, warm: [[]]}"), @"agents.yaml:4:50: spec.warm: one of the commands is empty; expected a list of a program and its arguments");
    insta::assert_snapshot!(pool("{image: a, machine: {start: memory}, warm: [cargo]}"), @r#"agents.yaml:4:51: spec.warm[0]: found "cargo"; expected a list"#);
    assert_eq!(pool("{image: a, machine: {start: memory}, keepTemplate: 10m}"), "fine");
    insta::assert_snapshot!(pool("{image: a, keepTemplate: 10m}"), @"agents.yaml:4:32: spec.keepTemplate: machines that boot have no template that is kept; expected `machine.start: memory`, or no such key");
    insta::assert_snapshot!(pool("{image: a, machine: {start: memory}, keepTemplate: 10}"), @r#"agents.yaml:4:58: spec.keepTemplate: "10" has no unit; expected a length of time like 5m"#);
    insta::assert_snapshot!(pool("{image: a, machine: {start: memory}, keepTemplate: 0s}"), @r#"agents.yaml:4:58: spec.keepTemplate: "0s" is less than 1s; expected at least 1s"#);
    insta::assert_snapshot!(pool("{image: a, machine: {start: snapshot}}"), @r#"agents.yaml:4:35: spec.machine.start: unknown value "snapshot"; expected `boot` or `memory`"#);
    let named =
        "apiVersion: winstead.dev/v1alpha1\nkind: Pool\nmetadata: {name: template-x}\nspec: {image: a}\n";
    insta::assert_snapshot!(said(named), @"agents.yaml:3:18: metadata.name: names that begin so are those of templates, which Winstead makes itself; expected another name");
}

#[test]
fn values_of_the_wrong_kind_are_told_what_belongs_there() {
    insta::assert_snapshot!(pool("{image: [a]}"), @"agents.yaml:4:15: spec.image: found a list; expected a name of 1 to 40 lower-case letters, digits and inner '-'");
    insta::assert_snapshot!(pool("{image: 7}"), @r#"agents.yaml:4:15: spec.image: 7 is not text; did you mean `"7"`?"#);
    insta::assert_snapshot!(pool("{image: }"), @"agents.yaml:4:8: spec.image: has no value; expected a name of 1 to 40 lower-case letters, digits and inner '-'");
    insta::assert_snapshot!(pool("{image: a, machine: big}"), @r#"agents.yaml:4:27: spec.machine: found "big"; expected a mapping of keys to values"#);
    insta::assert_snapshot!(pool("{image: a, machine: {tpm: yes}}"), @r#"agents.yaml:4:33: spec.machine.tpm: "yes" is neither true nor false; did you mean `true`?"#);
    insta::assert_snapshot!(pool("{image: a, machine: {firmware: secureboot}}"), @r#"agents.yaml:4:38: spec.machine.firmware: unknown value "secureboot"; did you mean `secure-boot`?"#);
    insta::assert_snapshot!(pool("{image: a, network: user}"), @r#"agents.yaml:4:27: spec.network: found "user"; expected a mapping of keys to values"#);
    insta::assert_snapshot!(pool("[]"), @"agents.yaml:4:7: spec: found a list; expected a mapping of keys to values");
    insta::assert_snapshot!(image("{debian: {suite: trixie, packages: [git, --force, {a: b}]}}"), @r#"
    agents.yaml:4:48: spec.debian.packages[1]: "--force" is not a package; expected the name of a Debian package
    agents.yaml:4:57: spec.debian.packages[2]: found a mapping; expected the name of a Debian package
    "#);
}

#[test]
fn of_alternatives_exactly_one_is_wanted() {
    insta::assert_snapshot!(image("{os: linux}"), @"agents.yaml:4:1: spec: nothing is chosen; expected exactly one of `debian`, `file` and `url`");
    insta::assert_snapshot!(image("{debian: {suite: sid}, file: {path: a}}"), @"agents.yaml:4:1: spec: `debian` and `file` exclude each other; expected exactly one of `debian`, `file` and `url`");
    insta::assert_snapshot!(image("{debain: {suite: sid}}"), @"agents.yaml:4:8: spec.debain: unknown key; did you mean `debian`?");
    insta::assert_snapshot!(pool("{image: a, network: {}}"), @"agents.yaml:4:18: spec.network: nothing is chosen; expected exactly one of `user` and `bridge`");
    insta::assert_snapshot!(pool("{image: a, network: {bridge: {name: wbr0}}}"), @"agents.yaml:4:28: spec.network.bridge.subnet: is missing; `name` needs it; expected an IPv4 network like 10.77.0.0/24");
    insta::assert_snapshot!(pool("{image: a, network: {bridge: {subnet: 10.77.0.0/24, existing: vmbr0}}}"), @"agents.yaml:4:28: spec.network.bridge.name: is missing; `subnet` needs it; expected an interface name of 1 to 15 letters, digits, '_', '.' and '-'");
}

#[test]
fn texts_of_a_format_are_told_the_format() {
    insta::assert_snapshot!(image("{url: {url: 'ftp://x/y', sha256: abc}}"), @r#"
    agents.yaml:4:19: spec.url.url: "ftp://x/y" is not an http or https address; expected an address like https://example.org/image.qcow2
    agents.yaml:4:40: spec.url.sha256: "abc" is not a sha256 digest; expected 64 hexadecimal digits
    "#);
    insta::assert_snapshot!(image("{url: {url: 'https://x/y'}}"), @"agents.yaml:4:8: spec.url.sha256: is missing; expected 64 hexadecimal digits");
    insta::assert_snapshot!(image("{file: {path: ~/golden.qcow2, format: vhd}}"), @r#"
    agents.yaml:4:21: spec.file.path: "~/golden.qcow2": `~` is not the home folder here; expected the whole path
    agents.yaml:4:45: spec.file.format: unknown value "vhd"; did you mean `vhdx`?
    "#);
    insta::assert_snapshot!(pool("{image: Win 2022, network: {bridge: {name: 'a b', subnet: 10.77.0.1/24}}}"), @r#"
    agents.yaml:4:15: spec.image: "Win 2022" is not a name; did you mean `win-2022`?
    agents.yaml:4:50: spec.network.bridge.name: "a b" is not an interface name; expected an interface name of 1 to 15 letters, digits, '_', '.' and '-'
    agents.yaml:4:65: spec.network.bridge.subnet: "10.77.0.1/24" is not a network of prefix 8 to 29; did you mean `10.77.0.0/24`?
    "#);
    insta::assert_snapshot!(pool("{image: a, network: {bridge: {name: wbr0, subnet: 127.0.0.0/8}}}"), @"agents.yaml:4:57: spec.network.bridge.subnet: 127.0.0.0/8 is reserved; expected a private network like 10.77.0.0/24");
}

#[test]
fn a_document_says_what_it_is() {
    insta::assert_snapshot!(said(""), @"agents.yaml:1:1: holds no document; expected an Image, a Pool, a Host, an Agent or an AgentPolicy");
    insta::assert_snapshot!(said("# only a remark\n"), @"agents.yaml:1:1: holds no document; expected an Image, a Pool, a Host, an Agent or an AgentPolicy");
    insta::assert_snapshot!(said("hello"), @r#"agents.yaml:1:1: found "hello"; expected a mapping of keys to values"#);
    insta::assert_snapshot!(said("kind: pool\n"), @r#"
    agents.yaml:1:1: apiVersion: is missing; expected `winstead.dev/v1alpha1`
    agents.yaml:1:1: metadata: is missing; expected a mapping of keys to values
    agents.yaml:1:1: spec: is missing; expected a mapping of keys to values
    agents.yaml:1:7: kind: unknown value "pool"; did you mean `Pool`?
    "#);
    insta::assert_snapshot!(said("apiVersion: v1\nkind: Pod\nmetadata: {name: a, labels: {}}\nspec: {containers: []}\n"), @r#"
    agents.yaml:1:13: apiVersion: unknown value "v1"; expected `winstead.dev/v1alpha1`
    agents.yaml:2:7: kind: unknown value "Pod"; expected `Image`, `Pool`, `Host`, `Agent` or `AgentPolicy`
    agents.yaml:3:21: metadata.labels: unknown key; expected `name`
    "#);
    insta::assert_snapshot!(said("apiVersion: winstead.dev/v1alpha1\nkind: Cluster\nmetadata: {name: a}\nspec: {}\n"), @r#"agents.yaml:2:7: kind: unknown value "Cluster"; expected `Image`, `Pool`, `Host`, `Agent` or `AgentPolicy`"#);
}

#[test]
fn rules_between_keys_name_both_sides() {
    insta::assert_snapshot!(image("{seed: no-cloud, debian: {suite: trixie}}"), @"agents.yaml:4:14: spec.seed: the recipe `debian` has no cloud-init, which `no-cloud` needs; expected `fw-cfg`, or `none`");
    insta::assert_snapshot!(image("{os: windows, debian: {suite: trixie}}"), @"agents.yaml:4:12: spec.os: the recipe `debian` does not make Windows; expected `linux`");
    insta::assert_snapshot!(image("{os: windows, seed: fw-cfg, file: {path: a, kernel: {path: b}}}"), @r#"
    agents.yaml:4:27: spec.seed: Windows cannot take its identity by `fw-cfg`; expected `no-cloud` or `none`
    agents.yaml:4:51: spec.file.kernel: Windows has no kernel to start directly; expected no such key
    "#);
    insta::assert_snapshot!(image("{debian: {suite: trixie}, disk: 512MiB}"), @"agents.yaml:4:39: spec.disk: too small for a Debian system; expected at least 1GiB");
    let with_image = |recipe: &str, firmware: &str| {
        let image = format!(
            "apiVersion: winstead.dev/v1alpha1\nkind: Image\nmetadata: {{name: base}}\nspec: {recipe}\n"
        );
        let spec = format!("{{image: base, machine: {{firmware: {firmware}}}}}");
        said(&format!(
            "{image}---\napiVersion: winstead.dev/v1alpha1\nkind: Pool\nmetadata: {{name: web}}\nspec: {spec}\n"
        ))
    };
    insta::assert_snapshot!(with_image("{os: windows, file: {path: a}}", "direct"), @"agents.yaml:9:41: spec.machine.firmware: Windows cannot be started directly; expected `secure-boot` or `uefi`");
    insta::assert_snapshot!(with_image("{file: {path: a}}", "direct"), @"agents.yaml:9:41: spec.machine.firmware: image `base` has no kernel to start directly; expected `uefi`, or a kernel in its recipe (`file.kernel`)");
    insta::assert_snapshot!(with_image("{debian: {suite: trixie}}", "secure-boot"), @"agents.yaml:9:41: spec.machine.firmware: image `base` is not signed: the recipe `debian` builds its own boot loader; expected `direct` or `uefi`");
    assert_eq!(with_image("{os: windows, file: {path: a}}", "uefi"), "fine");
    assert_eq!(with_image("{file: {path: a, kernel: {path: b}}}", "direct"), "fine");
    let host = |name: &str, spec: &str| {
        said(&format!(
            "apiVersion: winstead.dev/v1alpha1\nkind: Host\nmetadata: {{name: {name}}}\nspec: {spec}\n"
        ))
    };
    insta::assert_snapshot!(host("big", "{growth: {reserve: 32MiB}}"), @r#"
    agents.yaml:3:18: metadata.name: machines cannot run on `big` yet: this computer is called `local`; expected `local`
    agents.yaml:4:8: spec.growth.step: larger than the whole reserve; expected at most spec.growth.reserve (32 MiB)
    "#);
    assert_eq!(host("local", "{growth: {reserve: 0B}}"), "fine");
    let overcommit = |inner: &str| host("local", &format!("{{overcommit: {inner}}}"));
    insta::assert_snapshot!(overcommit("{measured: false, reserve: 1GiB}"), @"agents.yaml:4:31: spec.overcommit.measured: only what was measured can be counted instead of whole machines; expected `true`, or no `overcommit` at all");
    insta::assert_snapshot!(overcommit("{}"), @r#"
    agents.yaml:4:8: spec.overcommit.measured: is missing; expected `true`
    agents.yaml:4:8: spec.overcommit.reserve: is missing; expected a size like 8GiB
    "#);
    insta::assert_snapshot!(overcommit("{measured: true, reserve: 0B}"), @r#"agents.yaml:4:46: spec.overcommit.reserve: "0B" is less than 1MiB; expected at least 1MiB"#);
    insta::assert_snapshot!(host("local", "{memory: {reserve: 0B}, overcommit: {measured: true, reserve: 1GiB}}"), @"agents.yaml:4:26: spec.memory.reserve: with `overcommit`, machines are held when no more than this is left; expected more than 0B");
    assert_eq!(overcommit("{measured: true, reserve: 2GiB}"), "fine");
}

#[test]
fn rules_between_documents_name_the_other_place() {
    let pool = |name: &str, replicas: u32, bridge: &str| {
        format!(
            "---\napiVersion: winstead.dev/v1alpha1\nkind: Pool\nmetadata: {{name: {name}}}\nspec:\n  image: a\n  \
             replicas: {replicas}\n  network:\n    bridge: {bridge}\n"
        )
    };
    let two = |first: &str, second: &str| said(&(pool("one", 3, first) + &pool("two", 3, second)));
    insta::assert_snapshot!(two("{name: b, subnet: 10.0.0.0/24}", "{name: b, subnet: 10.0.1.0/24}"), @"agents.yaml:18:31: spec.network.bridge.subnet: bridge `b` has 10.0.0.0/24 in agents.yaml:9; expected 10.0.0.0/24");
    insta::assert_snapshot!(two("{name: b, subnet: 10.0.0.0/24}", "{name: c, subnet: 10.0.0.0/16}"), @"agents.yaml:18:31: spec.network.bridge.subnet: 10.0.0.0/16 overlaps 10.0.0.0/24 of bridge `b` in agents.yaml:9; expected a network of its own");
    insta::assert_snapshot!(two("{name: b, subnet: 10.0.0.0/29}", "{name: b, subnet: 10.0.0.0/29}"), @"agents.yaml:18:31: spec.network.bridge.subnet: 10.0.0.0/29 has addresses for 5 machines; the pools of this bridge have 6; expected a larger subnet or fewer replicas");
    insta::assert_snapshot!(two("{name: b, subnet: 10.0.0.0/24}", "{existing: b}"), @"agents.yaml:18:24: spec.network.bridge.existing: one bridge cannot be both ours (`name`) and there already (`existing`); expected the same as in agents.yaml:9");
    insta::assert_snapshot!(two("{existing: b}", "{name: b, subnet: 10.0.0.0/24}"), @"agents.yaml:18:20: spec.network.bridge.name: one bridge cannot be both ours (`name`) and there already (`existing`); expected the same as in agents.yaml:9");
    assert_eq!(two("{name: b, subnet: 10.0.0.0/28}", "{name: b, subnet: 10.0.0.0/28}"), "fine");
    assert_eq!(two("{existing: b}", "{existing: b}"), "fine");
    let files = ["a.yaml", "b.yaml"].map(|name| Source {
        name: name.into(),
        folder: PathBuf::new(),
        text: pool("one", 1, "{existing: b}") + "\n--- {",
    });
    insta::assert_snapshot!(parse(&files).unwrap_err(), @r#"
    a.yaml:12:1: not YAML: while parsing a node, did not find expected node content
    b.yaml:4:18: metadata.name: this Pool exists already, in a.yaml:4
    b.yaml:12:1: not YAML: while parsing a node, did not find expected node content
    "#);
}

/// A policy whose one rule is `rule`, in flow style.
fn rule(rule: &str) -> String {
    said(&format!(
        "apiVersion: winstead.dev/v1alpha1\nkind: AgentPolicy\nmetadata: {{name: node}}\nspec:\n  rules:\n  - {rule}\n"
    ))
}

#[test]
fn a_rule_means_what_it_seems_to() {
    assert_eq!(rule("{name: a, callers: []}"), "fine");
    insta::assert_snapshot!(rule("{name: a, callers: [{}]}"), @"agents.yaml:6:25: spec.rules[0].callers[0]: an empty caller would be everybody; expected at least one key, like `door: local`");
    insta::assert_snapshot!(rule("{name: a, callers: [], run: [{}]}"), @"agents.yaml:6:34: spec.rules[0].run[0]: any program at all; expected `sha256`, `signer` or `path`");
    insta::assert_snapshot!(rule("{name: a, callers: [], run: [{signer: {}}]}"), @"agents.yaml:6:35: spec.rules[0].run[0].signer: whoever signed it; expected `subject`, `sha256`, or both");
    insta::assert_snapshot!(rule("{name: a, callers: [], run: [{signer: {sha256: []}}]}"), @"agents.yaml:6:52: spec.rules[0].run[0].signer.sha256: no digest is given; expected at least one digest, or no such key");
    insta::assert_snapshot!(rule("{name: a, callers: [], run: [{path: /bin/true, sha256: []}]}"), @"agents.yaml:6:60: spec.rules[0].run[0].sha256: no digest is given; expected at least one digest, or no such key");
    insta::assert_snapshot!(rule("{name: a, callers: [], run: [{path: /bin/true, arguments: [a, '**', b]}]}"), @"agents.yaml:6:67: spec.rules[0].run[0].arguments[1]: `**` is the rest, so nothing can stand behind it; expected `**` as the last argument");
    insta::assert_snapshot!(rule("{name: a, callers: [], run: [{path: true}], tunnels: ['tcp/0.0.0.0']}"), @r#"
    agents.yaml:6:41: spec.rules[0].run[0].path: true is not text; did you mean `"true"`?
    agents.yaml:6:59: spec.rules[0].tunnels[0]: "tcp/0.0.0.0" is not a host with ports; expected ports of a host like tcp/localhost:9796 or udp/10.0.0.1:4789-4800
    "#);
    insta::assert_snapshot!(rule("{name: a, callers: [], routes: [10.0.0.1], files: {read: [/var/../etc]}}"), @r#"
    agents.yaml:6:37: spec.rules[0].routes[0]: "10.0.0.1" is not a network; did you mean `10.0.0.1/32`?
    agents.yaml:6:63: spec.rules[0].files.read[0]: "/var/../etc" is not a whole path; expected a whole path like /usr/bin/tool or C:\tools\tool.exe, without `.` and `..`
    "#);
    insta::assert_snapshot!(rule("{name: a, callers: []}\n  - {name: a, callers: []}"), @"agents.yaml:7:12: spec.rules[1].name: there is a rule of this name already, in agents.yaml:6; expected another name");
}

#[test]
fn a_certificate_is_a_whole_name_or_a_whole_fingerprint() {
    let caller = |certificate: &str| {
        said(&format!(
            "apiVersion: winstead.dev/v1alpha1\nkind: AgentPolicy\nmetadata: {{name: node}}\n\
             spec: {{rules: [{{name: a, callers: [{{certificate: '{certificate}'}}]}}]}}\n"
        ))
    };
    assert_eq!(caller("spiffe://example.org/ann"), "fine");
    assert_eq!(caller(&format!("sha256:{}", "aB".repeat(32))), "fine");
    insta::assert_snapshot!(caller("sha256:12"), @"agents.yaml:4:50: spec.rules[0].callers[0].certificate: this is no fingerprint; expected a whole DNS name or URI, or `sha256:` and 64 hexadecimal digits");
    insta::assert_snapshot!(caller("*.example.org"), @"agents.yaml:4:50: spec.rules[0].callers[0].certificate: names of certificates are no globs; expected a whole DNS name or URI, or `sha256:` and 64 hexadecimal digits");
}

#[test]
fn an_agent_is_one_and_listens_to_others_only_when_that_is_said() {
    let agent = |spec: &str| {
        said(&format!(
            "apiVersion: winstead.dev/v1alpha1\nkind: Agent\nmetadata: {{name: node}}\nspec: {spec}\n"
        ))
    };
    assert_eq!(agent("{metrics: {address: '[::1]:9797'}}"), "fine");
    assert_eq!(agent("{metrics: {address: '0.0.0.0:9797', public: true}}"), "fine");
    insta::assert_snapshot!(agent("{metrics: {address: '0.0.0.0:9797'}}"), @"agents.yaml:4:27: spec.metrics.address: other computers reach 0.0.0.0:9797; expected a loopback address, or `public: true` beside it");
    insta::assert_snapshot!(agent("{doors: {local: {connect: everybody, group: docker}}}"), @"agents.yaml:4:51: spec.doors.local.group: everybody may connect already; expected no `group`");
    let tcp = "address: '0.0.0.0:9796', certificate: a.pem, key: a.key, clientAuthority: ca.pem";
    assert_eq!(agent(&format!("{{doors: {{tcp: {{{tcp}}}}}}}")), "fine");
    insta::assert_snapshot!(agent("{doors: {tcp: {address: 9796, key: ~/a.key}}}"), @r#"
    agents.yaml:4:16: spec.doors.tcp.certificate: is missing; expected a path, absolute or relative to this file
    agents.yaml:4:16: spec.doors.tcp.clientAuthority: is missing; expected a path, absolute or relative to this file
    agents.yaml:4:31: spec.doors.tcp.address: 9796 is not text; did you mean `"9796"`?
    agents.yaml:4:42: spec.doors.tcp.key: "~/a.key": `~` is not the home folder here; expected the whole path
    "#);
    let two = "{}\n---\napiVersion: winstead.dev/v1alpha1\nkind: Agent\nmetadata: {name: other}\nspec: {}";
    insta::assert_snapshot!(agent(two), @"agents.yaml:7:7: kind: a computer has one agent, and agents.yaml:2 describes it already; expected one Agent in all files");
}
