//! Memory that starts where direct I/O wants it to.

/// What every disk and file system in use takes as the alignment of direct I/O, in bytes: a page.
pub(crate) const ALIGNMENT: usize = 4096;

/// Bytes that start at a multiple of [`ALIGNMENT`].
pub(crate) struct Buffer {
    room: Vec<u8>,
    start: usize,
    length: usize,
}

impl Buffer {
    /// `length` bytes. They are written once here, so that no page fault falls into a measurement.
    pub(crate) fn new(length: usize) -> Self {
        let room = vec![0x5A; length + ALIGNMENT];
        let start = room.as_ptr().align_offset(ALIGNMENT);
        Self { room, start, length }
    }

    /// The bytes.
    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        &mut self.room[self.start..self.start + self.length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_start_at_a_page() {
        for length in [1, 4096, 1 << 20] {
            let mut buffer = Buffer::new(length);
            assert_eq!(buffer.bytes().len(), length);
            assert_eq!(buffer.bytes().as_ptr().addr() % ALIGNMENT, 0);
        }
    }
}
