//! Winstead's own agent in a machine: reached without a network, beside others, and after it was killed.

use std::os::unix::fs::PermissionsExt;

use crate::lab::{Lab, pool, ram};

/// A machine with an agent and without an SSH server that answers.
fn unplugged(lab: &Lab) -> &'static str {
    let file = lab.file_with_agent(&pool("hand", 1, &ram("48MiB")));
    lab.up(&file);
    // No way in but the agent's.
    let cut = lab.run(&[
        "exec",
        "--via",
        "ssh",
        "hand-0",
        "--",
        "sh",
        "-c",
        "(sleep 1; ip link set eth0 down) >/dev/null 2>&1 &",
    ]);
    assert_eq!(cut.code, Some(0), "{cut:?}");
    "hand-0"
}

#[test]
fn files_go_in_and_out_of_a_machine_whose_network_is_down() {
    let lab = Lab::new();
    let machine = unplugged(&lab);
    let (sent, back) = (lab.folder().join("sent"), lab.folder().join("back"));
    let content: Vec<u8> =
        (0..3_000_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    fs_err::write(&sent, &content).expect("a file");
    fs_err::set_permissions(&sent, std::fs::Permissions::from_mode(0o750)).expect("its mode");
    let said = lab.run(&["-v", "cp", sent.to_str().expect("a path"), &format!("{machine}:/tmp/")]);
    assert_eq!(said.code, Some(0), "{said:?}{}", lab.logs());
    assert!(said.stderr.contains("by its agent"), "{said:?}");
    lab.ok(&["cp", &format!("{machine}:/tmp/sent"), back.to_str().expect("a path")]);
    assert!(fs_err::read(&back).expect("the copy") == content, "it is another");
    let mode = fs_err::metadata(&back).expect("the copy").permissions().mode() & 0o777;
    assert_eq!(mode, 0o750);
    lab.ok(&["down", "--all"]);
    lab.assert_nothing_left();
}
