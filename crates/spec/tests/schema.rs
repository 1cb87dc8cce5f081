//! The schema, the reader, the examples and docs/file.md must tell the same story.

#![expect(clippy::unwrap_used, reason = "a test may end at what it did not expect, in its own functions too")]

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use winstead_spec::{Agent, Documents, Host, Source, parse, schema};

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The examples that are files of ours; a Job for the probe stands among them.
fn examples() -> Vec<Source> {
    let folder = workspace().join("examples");
    let mut paths: Vec<_> = fs_err::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let source = |path: PathBuf| Source {
        name: path.file_name().unwrap().to_str().unwrap().to_owned(),
        folder: folder.clone(),
        text: fs_err::read_to_string(path).unwrap(),
    };
    let sources = paths.into_iter().map(source);
    sources.filter(|source| source.text.contains("apiVersion: winstead.dev/")).collect()
}

/// The documents of a file as JSON, read by another YAML reader than ours.
fn as_json(text: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(text).unwrap()
}

fn problem(document: &Value) -> Option<String> {
    let validator = jsonschema::draft202012::new(&schema()).unwrap();
    validator.validate(document).err().map(|error| format!("{}: {error}", error.instance_path()))
}

fn accepted(document: &Value) -> Option<Documents> {
    // JSON is YAML.
    let text = serde_json::to_string_pretty(document).unwrap();
    parse(&[Source { name: "f".into(), folder: PathBuf::new(), text }]).ok()
}

fn document(kind: &str, spec: &Value) -> Value {
    json!({ "apiVersion": "winstead.dev/v1alpha1", "kind": kind, "metadata": { "name": "local" }, "spec": spec })
}

#[test]
fn the_schema_is_a_schema() {
    assert!(jsonschema::draft202012::meta::is_valid(&schema()));
}

#[test]
fn the_schema_is_the_one_in_docs() {
    let path = workspace().join("docs/schema.json");
    let text = serde_json::to_string_pretty(&schema()).unwrap() + "\n";
    let kept = fs_err::read_to_string(&path).unwrap_or_default();
    if kept != text {
        let now = Path::new(env!("CARGO_TARGET_TMPDIR")).join("schema.json");
        fs_err::write(&now, &text).unwrap();
        panic!(
            "docs/schema.json is old; look at the difference, then: cp {} docs/schema.json",
            now.display()
        );
    }
}

#[test]
fn every_example_is_read_and_fits_the_schema() {
    let examples = examples();
    assert!(examples.len() >= 6);
    for source in examples {
        let documents = parse(std::slice::from_ref(&source)).unwrap_or_else(|problems| panic!("{problems}"));
        let raw = as_json(&source.text);
        let for_machines = documents.images.len() + documents.pools.len() + documents.hosts.len();
        assert_eq!(raw.len(), for_machines + documents.agents.len() + documents.policies.len());
        for document in raw {
            assert_eq!(problem(&document), None, "{}", source.name);
        }
    }
}

#[test]
fn the_host_example_shows_the_defaults() {
    let source = examples().into_iter().find(|source| source.name == "host.yaml").unwrap();
    let mut host = parse(&[source]).unwrap().host();
    assert_eq!(host.stores.ram.take(), Some("/dev/shm".into()));
    assert_eq!(host, Host::local());
}

#[test]
fn writing_out_the_defaults_of_the_schema_changes_nothing() {
    let schema = schema();
    let spec = |name: &str| filled(&schema, &schema["$defs"][name]);
    let mut pool = spec("PoolSpec");
    pool["image"] = json!("debian");
    let short = accepted(&document("Pool", &json!({ "image": "debian" }))).unwrap();
    assert_eq!(pool["machine"]["disk"]["cap"], "2GiB");
    assert_eq!(accepted(&document("Pool", &pool)), Some(short));
    let host = accepted(&document("Host", &spec("HostSpec"))).unwrap();
    assert_eq!(host.hosts, [Host::local()]);
    let agent = accepted(&document("Agent", &spec("AgentSpec"))).unwrap();
    assert_eq!(agent.agents, [Agent { name: "local".parse().unwrap(), ..Agent::default() }]);
}

/// All the defaults that a schema node tells.
fn filled(root: &Value, node: &Value) -> Value {
    let target = node["$ref"].as_str().map_or(node, |name| root.pointer(&name[1..]).unwrap());
    let mut value = node.get("default").or_else(|| target.get("default")).cloned().unwrap_or(json!({}));
    for (key, inner) in target["properties"].as_object().into_iter().flatten() {
        if inner.get("default").is_some() && value.is_object() {
            value[key] = filled(root, inner);
        }
    }
    value
}

#[test]
fn schema_and_reader_refuse_the_same_documents() {
    let image = |spec: Value| document("Image", &spec);
    let pool = |spec: Value| document("Pool", &spec);
    let rule = |rule: Value| document("AgentPolicy", &json!({ "rules": [rule] }));
    for wrong in [
        json!([]),
        json!({}),
        json!({ "apiVersion": "v1", "kind": "Pool", "metadata": { "name": "a" }, "spec": { "image": "a" } }),
        document("Cluster", &json!({})),
        image(json!({})),
        image(json!({ "debian": { "suite": "sid" }, "file": { "path": "a" } })),
        image(json!({ "debian": { "suite": "sid", "packages": ["-x"] } })),
        image(json!({ "debian": { "suite": null } })),
        image(json!({ "url": { "url": "https://a/b" } })),
        image(json!({ "url": { "url": "https://u:p@a/b", "sha256": "0".repeat(64) } })),
        image(json!({ "file": { "path": "~/a" } })),
        pool(json!({ "image": "a", "replicas": 1001 })),
        pool(json!({ "image": "a", "replicas": "4" })),
        pool(json!({ "image": "a", "runner": {} })),
        pool(json!({ "image": "a", "machine": { "memory": 8 } })),
        pool(json!({ "image": "a", "machine": { "memory": "8G" } })),
        pool(json!({ "image": "a", "machine": { "disk": { "store": "rom" } } })),
        pool(json!({ "image": "a", "network": {} })),
        pool(json!({ "image": "a", "network": { "user": {}, "bridge": { "existing": "b" } } })),
        pool(json!({ "image": "a", "network": { "bridge": { "name": "b" } } })),
        pool(json!({ "image": "a", "network": { "bridge": { "existing": "b", "subnet": "10.0.0.0/24" } } })),
        pool(json!({ "image": "a", "ready": { "deadline": "5min" } })),
        document("Host", &json!({ "memory": { "reserve": 1 } })),
        document("Host", &json!({ "overcommit": { "reserve": "1GiB" } })),
        document("Host", &json!({ "overcommit": { "measured": true } })),
        document("Host", &json!({ "overcommit": { "measured": false, "reserve": "1GiB" } })),
        document("Agent", &json!({ "metrics": {} })),
        document("Agent", &json!({ "metrics": { "address": "localhost:1" } })),
        document("Agent", &json!({ "doors": { "local": { "connect": "nobody" } } })),
        document("Agent", &json!({ "doors": { "wins": { "connect": "nobody" } } })),
        document("Agent", &json!({ "limits": { "clients": 0 } })),
        rule(json!({ "callers": [] })),
        rule(json!({ "name": "a" })),
        rule(json!({ "name": "a", "callers": [], "everything": true })),
        rule(json!({ "name": "a", "callers": [{ "door": "window" }] })),
        rule(json!({ "name": "a", "callers": [], "run": [{ "sha256": ["abc"] }] })),
        rule(json!({ "name": "a", "callers": [], "run": [{ "path": "tool" }] })),
        rule(json!({ "name": "a", "callers": [], "run": [{ "path": "/t", "environment": ["*"] }] })),
        rule(json!({ "name": "a", "callers": [], "tunnels": ["localhost:80"] })),
        rule(json!({ "name": "a", "callers": [], "files": { "read": ["*.log"] } })),
        rule(json!({ "name": "a", "callers": [], "queries": ["everything"] })),
        rule(json!({ "name": "a", "callers": [], "routes": ["10.0.0.0"] })),
    ] {
        assert!(problem(&wrong).is_some(), "the schema lets pass: {wrong}");
        assert!(accepted(&wrong).is_none(), "the reader lets pass: {wrong}");
    }
}

/// Our own checks follow the schema; a keyword that they do not know would be a rule that nobody keeps.
#[test]
fn the_schema_uses_only_what_the_checks_understand() {
    const KNOWN: [&str; 25] = [
        "$schema",
        "$defs",
        "$ref",
        "title",
        "description",
        "default",
        "type",
        "format",
        "pattern",
        "const",
        "enum",
        "oneOf",
        "allOf",
        "if",
        "then",
        "properties",
        "required",
        "additionalProperties",
        "dependentRequired",
        "items",
        "minimum",
        "maximum",
        "x-minimum",
        "x-maximum",
        "examples",
    ];
    let unknown: Vec<_> =
        keywords(&schema()).into_iter().filter(|word| !KNOWN.contains(&word.as_str())).collect();
    assert_eq!(unknown, Vec::<String>::new());
}

fn keywords(node: &Value) -> Vec<String> {
    let mut words = Vec::new();
    for (word, inner) in node.as_object().into_iter().flatten() {
        words.push(word.clone());
        match word.as_str() {
            "properties" | "$defs" => words.extend(inner.as_object().unwrap().values().flat_map(keywords)),
            "oneOf" | "allOf" => words.extend(inner.as_array().unwrap().iter().flat_map(keywords)),
            "items" | "if" | "then" => words.extend(keywords(inner)),
            _ => {}
        }
    }
    words
}

#[test]
fn every_key_is_described_in_the_schema_and_named_in_the_reference() {
    let reference = fs_err::read_to_string(workspace().join("docs/file.md")).unwrap();
    let schema = schema();
    let mut keys = 0;
    for (kind, spec) in [
        ("Image", "ImageSpec"),
        ("Pool", "PoolSpec"),
        ("Host", "HostSpec"),
        ("Agent", "AgentSpec"),
        ("AgentPolicy", "AgentPolicySpec"),
    ] {
        let start = reference.find(&format!("\n## {kind}\n")).unwrap_or_else(|| panic!("no chapter {kind}"));
        let chapter = &reference[start + 1..];
        let chapter = &chapter[..chapter.find("\n## ").unwrap_or(chapter.len())];
        for (path, description) in described(&schema, &schema["$defs"][spec], "") {
            assert!(description.is_some_and(|text| !text.is_empty()), "{kind}: {path} has no description");
            assert!(chapter.contains(&format!("| `{path}` |")), "docs/file.md, {kind}: no line for `{path}`");
            keys += 1;
        }
    }
    assert!(keys > 60, "{keys}");
}

/// Every key below a schema node that holds a value, with its description. What is in a list: `rules[].name`.
fn described(root: &Value, node: &Value, path: &str) -> Vec<(String, Option<String>)> {
    let target = node["$ref"].as_str().map_or(node, |name| root.pointer(&name[1..]).unwrap());
    if let Some(items) = target.get("items") {
        return described(root, items, &format!("{path}[]"));
    }
    let below = |(key, inner): (&String, &Value)| {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        let text = inner["description"].as_str().map(str::to_owned);
        let mut keys = described(root, inner, &path);
        if keys.is_empty() {
            keys.push((path, text));
        }
        keys
    };
    target["properties"].as_object().into_iter().flatten().flat_map(below).collect()
}
