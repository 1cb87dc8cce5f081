//! Bytes of a client, in pieces whose size the first byte says: never a panic, and the output is bounded.
#![no_main]

use libfuzzer_sys::fuzz_target;
use winstead_agent::wins::authority::{Rewriter, Taken};

fuzz_target!(|data: &[u8]| {
    let Some((size, data)) = data.split_first() else { return };
    let (mut rewriter, mut output) = (Rewriter::new(), Vec::new());
    let preface = [0; 24];
    for piece in preface.chunks(24).chain(data.chunks(usize::from(*size) + 1)) {
        let mut rest = piece;
        while !rest.is_empty() {
            match rewriter.next(rest, &mut output) {
                Ok(Taken::Through(count) | Taken::Rewritten(count)) => {
                    assert!(count > 0);
                    rest = &rest[count..];
                }
                Err(_) => return,
            }
        }
    }
    // Each header block of one byte and more becomes 64 KiB and its frames at most.
    assert!(output.len() <= (data.len() / 10 + 1) * 80 * 1024);
});
