//! Our Windows machine against the one that Proxmox VE makes, which is what many people run.

use std::collections::BTreeSet;

use serde_json::Value;

use super::tests::{qemu, windows};
use crate::qemu::arguments;

/// What Proxmox has and we have not, and why.
const LEFT_OUT: &[(&str, &str)] = &[
    ("-cpu +kvm_pv_eoi", "`host` holds it"),
    ("-cpu +kvm_pv_unhalt", "`host` holds it"),
    ("-device scsi-hd", "the disk is a virtio disk: one layer less"),
    ("-device virtio-scsi", "the disk is a virtio disk: one layer less"),
    ("-device tpm-tis", "tpm-crb is the interface that TPM 2.0 brought"),
    ("-device usb-tablet", "nobody points at our screen"),
];
/// What we have and Proxmox has not, and why.
const ADDED: &[(&str, &str)] = &[
    ("-cpu hv_frequencies", "QEMU's documentation advises it"),
    ("-cpu hv_tlbflush", "QEMU's documentation advises it"),
    ("-device ide-cd", "the identity"),
    ("-device pvpanic", "a blue screen is told from silence"),
    ("-device tpm-crb", "the interface that TPM 2.0 brought"),
    ("-device virtio-blk", "one layer less"),
    ("-global driver=cfi.pflash01,property=secure,value=on", "only firmware may write its variables"),
];

#[test]
fn the_windows_machine_is_the_one_that_proxmox_makes() {
    let recorded = include_str!("../../tests/fixtures/pve-showcmd-win11.txt").replace("\\\n", " ");
    let theirs = facts(&shlex::split(&recorded).unwrap());
    let ours = facts(&arguments(&windows(), &qemu(10, 0)));
    assert!(theirs.len() > 25, "the fixture was not understood: {theirs:?}");
    let names =
        |table: &[(&str, &str)]| table.iter().map(|(fact, _)| (*fact).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(theirs.difference(&ours).cloned().collect::<BTreeSet<_>>(), names(LEFT_OUT));
    assert_eq!(ours.difference(&theirs).cloned().collect::<BTreeSet<_>>(), names(ADDED));
}

/// What a command line says about the machine, names of files and sockets left out.
fn facts(words: &[String]) -> BTreeSet<String> {
    let options = words.windows(2).filter(|pair| pair[0].starts_with('-') && !pair[1].starts_with('-'));
    options.flat_map(|pair| facts_of(&pair[0], &pair[1])).collect()
}

fn facts_of(option: &str, value: &str) -> Vec<String> {
    let parts: Vec<&str> = value.split(',').collect();
    let of_parts = |wanted: &dyn Fn(&str) -> bool| {
        parts.iter().filter(|part| wanted(part)).map(|part| format!("{option} {part}")).collect()
    };
    match option {
        "-cpu" | "-rtc" => of_parts(&|_| true),
        "-machine" => of_parts(&|part| part.starts_with("hpet") || part.starts_with("pflash"))
            .into_iter()
            .map(|fact: String| {
                fact.split('=').next().unwrap_or_default().to_owned()
                    + if fact.contains("hpet") { "=off" } else { "" }
            })
            .collect(),
        "-global" => vec![format!("-global {value}")],
        "-tpmdev" => vec![format!("-tpmdev {}", parts[0])],
        // Their serial line is a device, ours an option.
        "-device" if parts[0] == "isa-serial" => vec!["serial".to_owned()],
        "-serial" => vec!["serial".to_owned()],
        "-device" => {
            let agent = value.contains("org.qemu.guest_agent.0").then(|| "guest agent".to_owned());
            let kind = format!("-device {}", parts[0].trim_end_matches("-pci"));
            agent.into_iter().chain([kind]).collect()
        }
        "-blockdev" => block_facts(&serde_json::from_str(value).unwrap()),
        _ => Vec::new(),
    }
}

/// What the disk does with flushes, discards and zeroes; whether the firmware does secure boot.
fn block_facts(node: &Value) -> Vec<String> {
    let mut facts = Vec::new();
    for key in ["discard", "detect-zeroes"] {
        facts.extend((node[key] == "unmap").then(|| format!("disk {key}=unmap")));
    }
    let text = node.to_string();
    for key in ["secboot", "\"no-flush\":true"] {
        facts.extend(text.contains(key).then(|| format!("disk {key}")));
    }
    facts
}
