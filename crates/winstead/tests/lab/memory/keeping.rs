//! A template without a machine: kept as long as its pool says, then gone, with all that it stood on.

use serde_json::Value;

use super::{WARM, file_with, keepers, lab, look};
use crate::lab::{Lab, eventually};

#[test]
fn a_template_outlives_its_last_machine_for_as_long_as_its_pool_says() {
    let Some(lab) = lab() else { return };
    let up = |replicas, keep| lab.up(&file_with(&lab, replicas, &[WARM], "agent", keep));
    up(1, "keepTemplate: 1h");
    let made = only(&lab);
    assert_eq!((&made["status"]["unusedSince"], &made["status"]["staysUntil"]), (&Value::Null, &Value::Null));
    let refused = lab.run(&["template", "rm", name(&made)]);
    assert_eq!(refused.code, Some(3), "a machine stands on it: {refused:?}");
    assert!(refused.stderr.contains("mem-0 uses it"), "{}", refused.stderr);

    up(0, "keepTemplate: 1h");
    assert_eq!((lab.machines().len(), keepers(&lab).len()), (0, 1));
    let kept = only(&lab);
    assert_eq!(kept["metadata"]["uid"], made["metadata"]["uid"]);
    let [since, until] = ["unusedSince", "staysUntil"].map(|key| time(&kept["status"][key]));
    assert_eq!(until.duration_since(since).as_secs(), 3600);
    let image = lab.run(&["image", "rm", "debian"]);
    assert_eq!(image.code, Some(3), "a template stands on it: {image:?}");
    assert!(image.stderr.contains(&format!("winstead template rm {}", name(&made))), "{}", image.stderr);

    // The next machine finds it, and no time is running any more.
    up(1, "keepTemplate: 1h");
    let used = only(&lab);
    assert_eq!(
        (&used["metadata"]["uid"], &used["status"]["staysUntil"]),
        (&made["metadata"]["uid"], &Value::Null)
    );
    assert!(look(&lab, "mem-0").has_started_from_memory());

    // The file has another opinion now: the supervisor takes it away, and then ends.
    up(0, "keepTemplate: 1h");
    up(0, "keepTemplate: 1s");
    eventually("its time is over", || lab.processes().is_empty());
    lab.assert_nothing_left();

    // Or somebody does not want it any more.
    up(1, "keepTemplate: 1h");
    up(0, "keepTemplate: 1h");
    let shown = lab.ok(&["template", "rm", "--unused", "--dry-run"]);
    assert_eq!(shown, format!("- {}\n", name(&only(&lab))));
    lab.ok(&["template", "rm", "--unused"]);
    lab.assert_nothing_left();
    lab.ok(&["down", "--all"]);
}

/// The only template of this home.
fn only(lab: &Lab) -> Value {
    let text = lab.ok(&["get", "templates", "-o", "json"]);
    let list: Value = serde_json::from_str(&text).expect("JSON from get");
    let [only] = &list["items"].as_array().expect("a list")[..] else { panic!("not one template: {list}") };
    only.clone()
}

fn name(template: &Value) -> &str {
    template["metadata"]["name"].as_str().expect("a name")
}

fn time(value: &Value) -> jiff::Timestamp {
    value.as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("no time: {value}"))
}
