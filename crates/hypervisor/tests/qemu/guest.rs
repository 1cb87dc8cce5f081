//! The smallest guest that does something: real-mode code behind a Linux kernel's header. QEMU's loader runs it a third
//! of a second after the start, also under TCG. It says so on the serial line, writes 8 MiB to its disk through the
//! BIOS, says that too, and halts.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use winstead_hypervisor::qemu::{self, FirmwareConfig, RunState, qmp::Client};
use winstead_process::Command;

use crate::lab::{Lab, is_root, overlay, skip};

/// Where the code stands: 0x70 bytes into the kernel's second sector.
const CODE_AT: usize = 0x270;
/// ```asm
/// start:  cld; mov %cs,%ax; mov %ax,%ds; mov $begun,%si; call say; mov $256,%cx
/// again:  push %cx; mov $0x4300,%ax; mov $0x80,%dl; mov $packet,%si; int $0x13; pop %cx; jc bad
///         addw $64,lba; loop again; mov $done,%si; call say; jmp stay
/// bad:    mov $failed,%si; call say
/// stay:   hlt; jmp stay
/// say:    mov $0x3f8,%dx
/// 1:      lodsb; test %al,%al; jz 2f; out %al,%dx; jmp 1b
/// 2:      ret; .align 4
/// packet: .byte 16,0; .word 64; .word 0,0xf000    # 64 sectors of the BIOS itself
/// lba:    .long 0,0
/// ```
#[rustfmt::skip]
const CODE: &[u8] = &[
    0xfc, 0x8c, 0xc8, 0x8e, 0xd8, 0xbe, 0xc0, 0x00, 0xe8, 0x29, 0x00, 0xb9, 0x00, 0x01, 0x51, 0xb8,
    0x00, 0x43, 0xb2, 0x80, 0xbe, 0xb0, 0x00, 0xcd, 0x13, 0x59, 0x72, 0x0f, 0x83, 0x06, 0xb8, 0x00,
    0x40, 0xe2, 0xeb, 0xbe, 0xcd, 0x00, 0xe8, 0x0b, 0x00, 0xeb, 0x06, 0xbe, 0xdc, 0x00, 0xe8, 0x03,
    0x00, 0xf4, 0xeb, 0xfd, 0xba, 0xf8, 0x03, 0xac, 0x84, 0xc0, 0x74, 0x03, 0xee, 0xeb, 0xf8, 0xc3,
    0x10, 0x00, 0x40, 0x00, 0x00, 0x00, 0x00, 0xf0, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
];
/// `begun`, `done`, `failed`.
const WORDS: &[u8] = b"guest begun\n\0guest written\n\0guest failed\n\0";

/// The header that makes QEMU take a file for a Linux kernel (Linux' "The Linux/x86 Boot Protocol"), and the code.
fn kernel() -> Vec<u8> {
    let mut kernel = vec![0; 64 * 1024];
    kernel[0x1f1] = 4; // sectors of set-up code
    kernel[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
    kernel[0x200..0x202].copy_from_slice(&[0xeb, 0x6e]); // jmp CODE
    kernel[0x202..0x206].copy_from_slice(b"HdrS");
    kernel[0x206..0x208].copy_from_slice(&[0x0c, 0x02]); // protocol 2.12
    kernel[0x211] = 1; // loaded high
    kernel[0x22c..0x230].copy_from_slice(&0x7fff_ffff_u32.to_le_bytes()); // how high an initrd may lie
    let code = [CODE, WORDS].concat();
    kernel[CODE_AT..CODE_AT + code.len()].copy_from_slice(&code);
    kernel
}

fn install(lab: &mut Lab) {
    let bases = lab.run.join("../../../bases");
    fs_err::write(bases.join("kernel"), kernel()).unwrap();
    fs_err::write(bases.join("initrd"), "initrd").unwrap();
    lab.config.firmware = FirmwareConfig::Direct {
        kernel: "../../../bases/kernel".into(),
        initrd: Some("../../../bases/initrd".into()),
        command_line: "quiet".to_owned(),
    };
}

/// What the console said until it said `wanted`, or for 30 s.
async fn console(run: &Path, wanted: &str) -> String {
    let begun = Instant::now();
    loop {
        let said =
            String::from_utf8_lossy(&fs_err::read(qemu::console_log(run)).unwrap_or_default()).into_owned();
        if said.contains(wanted) || begun.elapsed() > Duration::from_secs(30) {
            return said;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_direct_kernel_runs_only_when_it_is_told_to_and_its_console_is_kept() {
    let Some(mut lab) = Lab::new().await else { return };
    install(&mut lab);
    let running = lab.start().await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(fs_err::read(qemu::console_log(&lab.run)).unwrap(), b"");
    qemu::resume(running.process, &lab.run).await.unwrap();
    assert_eq!(console(&lab.run, "guest written\n").await, "guest begun\nguest written\n");
    lab.end(running).await;
    // The log is kept over a restart: whoever resets a machine removes it.
    let running = lab.start().await.unwrap();
    lab.end(running).await;
    assert_eq!(console(&lab.run, "guest written\n").await, "guest begun\nguest written\n");
}

#[tokio::test]
async fn a_full_store_stops_the_machine_and_growing_it_lets_the_guest_go_on_unharmed() {
    let Some(mut lab) = Lab::new().await else { return };
    if !is_root() {
        return skip("only root may mount").unwrap_or_default();
    }
    install(&mut lab);
    let disk = lab.run.join("../disk");
    let small = ["-t", "tmpfs", "-o", "size=2m,mode=0711", "winstead:test"];
    Command::new("mount").args(small).arg(&disk).run(&lab.stop).await.unwrap();
    overlay(&disk, &lab.stop).await;
    lab.own_user();
    let story = fill_and_grow(&lab, &disk).await;
    if let Some(left) = lab.found() {
        qemu::stop(Some(left), None, &lab.config.uuid, &lab.run, Duration::from_secs(5)).await.unwrap();
    }
    Command::new("umount").arg(&disk).run(&lab.stop).await.unwrap();
    let (stops, said) = story.unwrap();
    assert!(stops >= 2, "the store was full {stops} times");
    assert_eq!(said, "guest begun\nguest written\n");
}

/// Returns how often the store was full, and what the guest said. Its end is never a panic: a mount must go.
async fn fill_and_grow(lab: &Lab, disk: &Path) -> Result<(u32, String), Box<dyn std::error::Error>> {
    let running = lab.start().await?;
    let limit = Duration::from_secs(30);
    let mut monitor = Client::connect(&lab.run, qemu::SUPERVISOR_SOCKET, running.process, limit).await?;
    monitor.cont().await?;
    let (mut stops, mut size) = (0, 2);
    while size < 12 {
        if tokio::time::timeout(limit, monitor.next_event()).await??.name != "STOP" {
            continue;
        }
        if !monitor.nospace().await? || monitor.query_status().await? != RunState::IoError {
            return Err("it stopped for another reason".into());
        }
        (stops, size) = (stops + 1, size + 5);
        let larger = format!("remount,size={size}m");
        Command::new("mount").args(["-o", &larger]).arg(disk).run(&lab.stop).await?;
        monitor.cont().await?;
    }
    let said = console(&lab.run, "guest written\n").await;
    lab.stop(running).await?;
    Ok((stops, said))
}
