//! Real QEMU processes: started, adopted, paused, killed, stopped. No operating system boots; no root is needed but
//! where a test says so; where something is missing a test is skipped, with the reason.

#![expect(clippy::unwrap_used, reason = "a test ends at what it did not expect")]

mod guest;
mod lab;
mod saved;

use std::{
    net::TcpListener,
    path::Path,
    time::{Duration, Instant},
};

use uuid::Uuid;
use winstead_hypervisor::qemu::{self, AdoptError, Backend, FirmwareConfig, RunState, StartError};
use winstead_process::Command;
use winstead_spec::{ByteSize, GuestOs};

use lab::{Lab, is_root, skip};

#[tokio::test]
async fn a_machine_starts_paused_is_adopted_runs_pauses_and_ends() {
    let Some(lab) = Lab::new().await else { return };
    let running = lab.start().await.unwrap();
    assert_eq!(lab.found(), Some(running.process));
    assert_eq!(lab.adopt(running.process).await.unwrap(), RunState::Prelaunch);
    qemu::resume(running.process, &lab.run).await.unwrap();
    assert_eq!(lab.adopt(running.process).await.unwrap(), RunState::Running);
    qemu::pause(running.process, &lab.run).await.unwrap();
    assert_eq!(lab.adopt(running.process).await.unwrap(), RunState::Paused);
    let resident = qemu::resident(running.process).unwrap();
    assert!(resident.rss > ByteSize::from_mib(10), "{resident:?}");
    let begun = Instant::now();
    lab.end(running).await;
    assert!(begun.elapsed() < Duration::from_secs(5));
    // All of it can be done again, also to what is gone.
    lab.end(running).await;
    assert!(matches!(lab.adopt(running.process).await, Err(AdoptError::Gone { .. })));
    let again = lab.start().await.unwrap();
    lab.end(again).await;
}

#[tokio::test]
async fn a_machine_that_runs_is_not_started_twice() {
    let Some(lab) = Lab::new().await else { return };
    let running = lab.start().await.unwrap();
    assert!(
        matches!(lab.start().await, Err(StartError::AlreadyRunning { pid, .. }) if pid == running.process.pid)
    );
    lab.end(running).await;
}

#[tokio::test]
async fn another_machines_process_is_not_adopted() {
    let Some(lab) = Lab::new().await else { return };
    let running = lab.start().await.unwrap();
    let other = Uuid::new_v4();
    let refused = qemu::adopt(running.process, &other, &lab.run, &lab.stop).await;
    assert!(matches!(refused, Err(AdoptError::NotOurs { .. })), "{refused:?}");
    lab.end(running).await;
}

/// A home that was copied names the processes of the first one.
#[tokio::test]
async fn the_machine_of_a_copied_home_is_neither_seen_nor_stopped() {
    let Some(lab) = Lab::new().await else { return };
    let running = lab.start().await.unwrap();
    let copy = lab.run.with_file_name("copy");
    fs_err::create_dir(&copy).unwrap();
    let uuid = &lab.config.uuid;
    assert!(!qemu::is_machine(running.process, uuid, &copy));
    assert_eq!(qemu::find_process(uuid, &copy), None);
    qemu::stop(Some(running.process), None, uuid, &copy, Duration::from_secs(5)).await.unwrap();
    assert!(running.process.is_alive() && qemu::is_machine(running.process, uuid, &lab.run));
    lab.end(running).await;
}

#[tokio::test]
async fn the_supervisors_monitor_sees_what_commands_do_and_a_kill() {
    let Some(lab) = Lab::new().await else { return };
    let running = lab.start().await.unwrap();
    let limit = Duration::from_secs(10);
    let mut monitor =
        qemu::qmp::Client::connect(&lab.run, qemu::SUPERVISOR_SOCKET, running.process, limit).await.unwrap();
    assert!(!monitor.nospace().await.unwrap());
    qemu::resume(running.process, &lab.run).await.unwrap();
    qemu::pause(running.process, &lab.run).await.unwrap();
    let mut names = Vec::new();
    for _ in 0..2 {
        names.push(tokio::time::timeout(limit, monitor.next_event()).await.unwrap().unwrap().name);
    }
    assert_eq!(names, ["RESUME", "STOP"]);
    running.process.kill().unwrap();
    let gone = tokio::time::timeout(limit, monitor.next_event()).await.unwrap().unwrap_err();
    assert!(gone.is_gone(), "{gone}");
    lab.end(running).await;
}

#[tokio::test]
async fn a_qemu_that_answers_nothing_is_still_stopped_in_time() {
    let Some(lab) = Lab::new().await else { return };
    let running = lab.start().await.unwrap();
    Command::new("kill").args(["-STOP", &running.process.pid.to_string()]).run(&lab.stop).await.unwrap();
    let begun = Instant::now();
    qemu::stop(Some(running.process), None, &lab.config.uuid, &lab.run, Duration::from_millis(500))
        .await
        .unwrap();
    assert!(!running.process.is_alive());
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_taken_port_is_told_from_other_failures_and_leaves_nothing() {
    let Some(mut lab) = Lab::new().await else { return };
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    lab.config.nic.backend = Backend::User { ssh_port: port, host_name: "web-0".to_owned() };
    let refused = lab.start().await.unwrap_err();
    assert!(matches!(refused, StartError::PortTaken { port: named, .. } if named == port), "{refused}");
    assert_eq!(lab.found(), None);
}

#[tokio::test]
async fn a_missing_tap_is_named() {
    let Some(mut lab) = Lab::new().await else { return };
    lab.config.nic.backend = Backend::Tap { name: "no-such-tap0".to_owned() };
    if is_root() {
        // Root's QEMU would make it.
        lab.own_user();
    }
    let refused = lab.start().await.unwrap_err();
    assert!(matches!(&refused, StartError::TapBusy { tap, .. } if tap == "no-such-tap0"), "{refused}");
}

#[tokio::test]
async fn a_qemu_that_refuses_its_arguments_is_quoted() {
    let Some(mut lab) = Lab::new().await else { return };
    lab.config.disk.base = "../../../bases/missing.qcow2".into();
    let refused = lab.start().await.unwrap_err().to_string();
    assert!(refused.contains("QEMU ended (exit status: 1): "), "{refused}");
    assert!(refused.contains("missing.qcow2': No such file or directory"), "{refused}");
    assert_eq!(lab.found(), None);
}

#[tokio::test]
async fn an_interrupted_start_leaves_nothing() {
    let Some(lab) = Lab::new().await else { return };
    lab.stop.cancel();
    assert!(matches!(lab.start().await, Err(StartError::Cancelled { .. })));
    assert_eq!(lab.found(), None);
}

#[tokio::test]
async fn roots_machines_run_as_nobody_we_know_under_the_full_sandbox() {
    let Some(mut lab) = Lab::new().await else { return };
    if !is_root() {
        return skip("only root may change users").unwrap_or_default();
    }
    let user = lab.own_user();
    let running = lab.start().await.unwrap();
    qemu::resume(running.process, &lab.run).await.unwrap();
    let status = fs_err::read_to_string(format!("/proc/{}/status", running.process.pid)).unwrap();
    let environment = fs_err::read(format!("/proc/{}/environ", running.process.pid)).unwrap();
    assert_eq!(lab.adopt(running.process).await.unwrap(), RunState::Running);
    lab.end(running).await;
    let id = user.uid;
    for line in [
        format!("Uid:\t{id}\t{id}\t{id}\t{id}"),
        format!("Gid:\t{id}\t{id}\t{id}\t{id}"),
        "Groups:\t ".to_owned(),
        "NoNewPrivs:\t1".to_owned(),
        "Seccomp:\t2".to_owned(),
        "CapEff:\t0000000000000000".to_owned(),
    ] {
        assert!(status.lines().any(|found| found == line), "no {line:?} in {status}");
    }
    let environment = String::from_utf8_lossy(&environment).into_owned();
    assert!(environment.contains("LC_ALL=") && !environment.contains("CARGO"), "{environment}");
}

#[tokio::test]
async fn the_windows_shaped_machine_starts_and_its_firmware_answers() {
    let Some(mut lab) = Lab::new().await else { return };
    if !Path::new("/usr/bin/swtpm").exists() {
        return skip("the package swtpm is not installed").unwrap_or_default();
    }
    lab.config.os = GuestOs::Windows;
    lab.config.firmware = FirmwareConfig::SecureBoot;
    lab.config.tpm = true;
    lab.config.memory = ByteSize::from_mib(512);
    lab.config.cpus = 2;
    if is_root() {
        lab.own_user();
    }
    let running = lab.start().await.unwrap();
    qemu::resume(running.process, &lab.run).await.unwrap();
    let begun = Instant::now();
    let mut said = String::new();
    // The firmware writes on the serial console when it has tried all that it could boot.
    while !said.contains("BdsDxe") && begun.elapsed() < Duration::from_secs(90) {
        tokio::time::sleep(Duration::from_millis(100)).await;
        said = String::from_utf8_lossy(&fs_err::read(qemu::console_log(&lab.run)).unwrap()).into_owned();
    }
    let tpm = fs_err::metadata(lab.run.join("tpm/tpm2-00.permall")).map(|state| state.len());
    let state = lab.adopt(running.process).await;
    let log = fs_err::read_to_string(qemu::machine_log(&lab.run)).unwrap();
    lab.end(running).await;
    assert!(said.contains("BdsDxe"), "{said:?} / {log}");
    assert_eq!(state.unwrap(), RunState::Running);
    assert!(tpm.unwrap() > 0, "the firmware did not talk to the TPM");
    assert!(!log.contains("warning"), "{log}");
    assert_eq!(qemu::find_tpm(&lab.config.uuid, &lab.run), None);
}
