//! Buffers that a thread lends to the connection that it serves at the moment.

use std::cell::{Cell, RefCell};

use bytes::BytesMut;

use super::READ_BYTES;

/// The buffers for unsent bytes that a thread keeps.
const SPARE_BUFFERS: usize = 16;
/// The capacity of a new buffer for unsent bytes.
const OUTPUT_BYTES: usize = 4096;
/// A larger buffer is freed instead of kept.
const KEPT_BYTES: usize = 32 * 1024;

thread_local! {
    static BLOCK: Cell<Option<BytesMut>> = const { Cell::new(None) };
    static SPARE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Takes an empty buffer for a read.
pub(super) fn take_block() -> BytesMut {
    BLOCK
        .take()
        .unwrap_or_else(|| BytesMut::with_capacity(READ_BYTES))
}

/// Gives a buffer back that nothing refers to.
pub(super) fn put_block(mut block: BytesMut) {
    block.clear();
    BLOCK.set(Some(block));
}

/// Takes an empty buffer for unsent bytes.
pub(super) fn take_output() -> Vec<u8> {
    SPARE
        .with_borrow_mut(Vec::pop)
        .unwrap_or_else(|| Vec::with_capacity(OUTPUT_BYTES))
}

/// Gives a buffer for unsent bytes back.
pub(super) fn put_output(mut buffer: Vec<u8>) {
    if buffer.capacity() == 0 || buffer.capacity() > KEPT_BYTES {
        return;
    }
    SPARE.with_borrow_mut(|spare| {
        if spare.len() < SPARE_BUFFERS {
            buffer.clear();
            spare.push(buffer);
        }
    });
}
