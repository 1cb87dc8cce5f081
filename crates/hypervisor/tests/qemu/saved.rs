//! Memory that is saved once and started from by others. The guest is the firmware: it has no disk to boot, and goes on
//! looking for one.

use std::{
    io::{Read, Seek},
    os::fd::OwnedFd,
    time::Duration,
};

use winstead_hypervisor::qemu::{self, Ram, RunState};

use crate::lab::Lab;

fn contents(ram: &OwnedFd) -> Vec<u8> {
    let mut file = fs_err::File::from_parts(ram.try_clone().unwrap().into(), "ram");
    let mut bytes = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    bytes
}

#[tokio::test]
async fn machines_that_start_from_saved_memory_run_on_and_leave_it_as_it_was() {
    let (Some(mut template), Some(mut first), Some(mut second)) =
        (Lab::new().await, Lab::new().await, Lab::new().await)
    else {
        return;
    };
    template.config.ram = Ram::Shared;
    let ram = qemu::new_ram(template.config.memory).unwrap();
    let running = template.start_with(ram.try_clone().unwrap()).await.unwrap();
    qemu::resume(running.process, &template.run).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let state = qemu::save(running.process, &template.run).await.unwrap();
    // The firmware and its variables are in it, the 128 MiB of RAM are not.
    assert!(state.len() < 16 << 20, "{} bytes: the RAM is in the state", state.len());
    template.end(running).await;
    qemu::seal_ram(&ram).await.unwrap();
    let saved = contents(&ram);
    assert!(saved.iter().any(|byte| *byte != 0), "no guest has run in this RAM");

    let mut machines = Vec::new();
    for lab in [&mut first, &mut second] {
        lab.config.ram = Ram::Saved;
        let running = lab.start_with(ram.try_clone().unwrap()).await.unwrap();
        qemu::restore(running.process, &lab.run, &state).await.unwrap();
        assert_eq!(lab.adopt(running.process).await.unwrap(), RunState::Paused);
        qemu::resume(running.process, &lab.run).await.unwrap();
        machines.push(running);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    for (lab, running) in [&first, &second].into_iter().zip(machines) {
        assert_eq!(lab.adopt(running.process).await.unwrap(), RunState::Running);
        let resident = qemu::resident(running.process).unwrap();
        assert!(resident.shared.unwrap() > winstead_spec::ByteSize::default(), "{resident:?}");
        lab.end(running).await;
    }
    assert!(contents(&ram) == saved, "a machine that started from the memory has changed it");
    let refused = rustix::io::write(&ram, b"x").unwrap_err();
    assert_eq!(refused, rustix::io::Errno::PERM);
}

#[tokio::test]
async fn a_state_that_was_cut_or_changed_starts_no_machine() {
    let (Some(mut template), Some(mut machine)) = (Lab::new().await, Lab::new().await) else { return };
    template.config.ram = Ram::Shared;
    let ram = qemu::new_ram(template.config.memory).unwrap();
    let running = template.start_with(ram.try_clone().unwrap()).await.unwrap();
    let state = qemu::save(running.process, &template.run).await.unwrap();
    template.end(running).await;
    machine.config.ram = Ram::Saved;
    for bad in [&state[..state.len() / 2], b"garbage"] {
        let running = machine.start_with(ram.try_clone().unwrap()).await.unwrap();
        let refused = qemu::restore(running.process, &machine.run, bad).await;
        assert!(refused.is_err());
        machine.end(running).await;
    }
}
