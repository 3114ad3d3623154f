//! The allocator of both daemons: mimalloc, called directly.
//!
//! The crate `mimalloc` requests every block with its alignment, and mimalloc's functions for
//! aligned blocks cost twice as much as `mi_malloc`, which aligns what a request allocates anyway.

// `GlobalAlloc` is an unsafe trait, and mimalloc's functions are foreign ones.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout};

use libmimalloc_sys as ffi;

/// The alignment that `mi_malloc` guarantees for every block that is at least as large, in bytes:
/// mimalloc's `MI_MAX_ALIGN_SIZE`, C's `max_align_t`.
const NATURAL_ALIGNMENT: usize = 16;

/// mimalloc as the allocator of a program: `#[global_allocator] static ALLOCATOR: Allocator =
/// Allocator;`.
///
/// For a request's allocations mimalloc executes half the instructions of the system's allocator,
/// and it returns memory when streams end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Allocator;

/// Returns whether `mi_malloc` aligns a block of `size` bytes to `alignment`. A block that is
/// smaller than its alignment may share an aligned cell with others.
#[inline]
const fn is_natural(alignment: usize, size: usize) -> bool {
    alignment <= NATURAL_ALIGNMENT && alignment <= size
}

// SAFETY: mimalloc's functions neither unwind nor call Rust, may be called by any thread, and
// return null if there is no memory. A block has at least the requested size. Its alignment is that
// of the layout: natural, or requested. A block of any of them may be passed to any of `mi_free`,
// `mi_realloc` and `mi_realloc_aligned`, by any thread.
unsafe impl GlobalAlloc for Allocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: both accept every size, and the alignment of a layout is a power of two.
        let block = unsafe {
            if is_natural(layout.align(), layout.size()) {
                ffi::mi_malloc(layout.size())
            } else {
                ffi::mi_malloc_aligned(layout.size(), layout.align())
            }
        };
        block.cast()
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as in `alloc`; both return zeroed blocks.
        let block = unsafe {
            if is_natural(layout.align(), layout.size()) {
                ffi::mi_zalloc(layout.size())
            } else {
                ffi::mi_zalloc_aligned(layout.size(), layout.align())
            }
        };
        block.cast()
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, _layout: Layout) {
        // SAFETY: the caller passes a block of this allocator, and does not use it again.
        unsafe { ffi::mi_free(block.cast()) }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller passes a block of this allocator. If it is not moved, it keeps the
        // alignment of `layout`, which it was allocated with; if it is moved, the new one is
        // aligned as in `alloc`. On failure both leave the block as it was.
        let block = unsafe {
            if is_natural(layout.align(), size) {
                ffi::mi_realloc(block.cast(), size)
            } else {
                ffi::mi_realloc_aligned(block.cast(), size, layout.align())
            }
        };
        block.cast()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A layout of up to 128 KiB with any alignment up to 64 KiB. Small ones are as likely as large
    /// ones.
    fn layout() -> impl Strategy<Value = Layout> {
        (0_u32..=16, 0_u32..=16, any::<usize>()).prop_map(|(alignment, magnitude, random)| {
            let size = (1 << magnitude) + random % (1 << magnitude);
            Layout::from_size_align(size, 1 << alignment).unwrap()
        })
    }

    /// A block with the bytes that were written to it.
    struct Block {
        start: *mut u8,
        layout: Layout,
        fill: u8,
    }

    impl Block {
        fn new(layout: Layout, fill: u8, is_zeroed: bool) -> Self {
            // SAFETY: the size is not zero.
            let start = unsafe {
                if is_zeroed {
                    Allocator.alloc_zeroed(layout)
                } else {
                    Allocator.alloc(layout)
                }
            };
            let mut block = Self {
                start,
                layout,
                fill,
            };
            block.check_alignment();
            if is_zeroed {
                assert!(block.bytes().iter().all(|byte| *byte == 0));
            }
            block.bytes().fill(fill);
            block
        }

        fn check_alignment(&self) {
            assert!(!self.start.is_null());
            assert_eq!(
                self.start.addr() % self.layout.align(),
                0,
                "{:?}",
                self.layout
            );
        }

        fn bytes(&mut self) -> &mut [u8] {
            // SAFETY: the block has this size, and is initialized when it is read: zeroed, or
            // filled.
            unsafe { std::slice::from_raw_parts_mut(self.start, self.layout.size()) }
        }

        fn check_content(&mut self, size: usize) {
            let fill = self.fill;
            assert!(self.bytes()[..size].iter().all(|byte| *byte == fill));
        }

        fn resize(&mut self, size: usize) {
            let common = size.min(self.layout.size());
            // SAFETY: the block is the allocator's, of this layout, and the size is not zero.
            self.start = unsafe { Allocator.realloc(self.start, self.layout, size) };
            self.layout = Layout::from_size_align(size, self.layout.align()).unwrap();
            self.check_alignment();
            self.check_content(common);
            let fill = self.fill;
            self.bytes().fill(fill);
        }
    }

    impl Drop for Block {
        fn drop(&mut self) {
            // SAFETY: the block is the allocator's, of this layout.
            unsafe { Allocator.dealloc(self.start, self.layout) }
        }
    }

    #[test]
    fn every_small_size_is_aligned_as_its_layout_demands() {
        for alignment in [1, 2, 4, 8, 16, 32, 64] {
            for size in 1..2048 {
                let layout = Layout::from_size_align(size, alignment).unwrap();
                // Two, of which at most one is the first of its page.
                let _blocks = [Block::new(layout, 1, false), Block::new(layout, 2, true)];
            }
        }
    }

    #[test]
    fn an_impossible_size_returns_null() {
        let layout = Layout::from_size_align(isize::MAX as usize - 15, 16).unwrap();
        // SAFETY: the size is not zero.
        assert!(unsafe { Allocator.alloc(layout) }.is_null());
    }

    // SAFETY: a block belongs to whoever has its handle.
    unsafe impl Send for Block {}

    #[test]
    fn another_thread_may_free_a_block() {
        let layout = Layout::from_size_align(4096, 8).unwrap();
        let blocks = std::thread::spawn(move || {
            let blocks = (0..64).map(|fill| Block::new(layout, fill, false));
            blocks.collect::<Vec<Block>>()
        });
        for mut block in blocks.join().unwrap() {
            block.check_content(layout.size());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn blocks_keep_alignment_and_content_whatever_happens_to_others(
            layouts in prop::collection::vec((layout(), any::<bool>(), 1_usize..100_000), 1..40)
        ) {
            let mut blocks: Vec<Block> = layouts
                .iter()
                .zip(1..)
                .map(|((layout, is_zeroed, _), fill)| Block::new(*layout, fill, *is_zeroed))
                .collect();
            for (block, (_, _, size)) in blocks.iter_mut().zip(&layouts).step_by(2) {
                block.resize(*size);
            }
            let mut kept = Vec::new();
            for (index, mut block) in blocks.into_iter().enumerate() {
                block.check_content(block.layout.size());
                if index % 3 != 0 {
                    kept.push(block);
                }
            }
            for block in &mut kept {
                block.check_content(block.layout.size());
                block.resize(8);
            }
        }
    }
}
