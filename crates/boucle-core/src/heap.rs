//! The heap: it keeps what blocks of a hundred KiB leave, for the next of them.
//!
//! glibc gives the end of the heap back to the kernel as soon as 128 KiB of it are free. A loop that reads messages of
//! 100 KiB, each into a block of its own, takes that memory again with the next one: system calls, and twenty page
//! faults a message, each of which zeroes a page.
//!
//! But glibc learns. When a block is freed that was so large that it came from the kernel by itself, blocks of up to its
//! size come from the heap from then on, and twice its size is kept at the end. So one block is allocated and freed
//! here. It is never touched, and costs no memory. To set the same by `mallopt` would end the learning, and overrule
//! what the user has set by `MALLOC_TRIM_THRESHOLD_` and its like; with those glibc does not learn, and this does nothing.

/// From which size on blocks come from the kernel afterwards; twice as much may stay at the end of the heap. It leaves
/// room for reads of the largest size on many connections, and is far from the most that glibc learns, 32 MiB.
#[cfg(target_env = "gnu")]
const LESSON: usize = 4 << 20;

/// Lets the heap of this process keep what large blocks leave. On other C libraries than glibc it does nothing.
pub fn keep_large_blocks() {
    #[cfg(target_env = "gnu")]
    {
        let mut block = Vec::<u8>::new();
        // It may fail where a limit is set on the process: then there is no lesson.
        block.try_reserve_exact(LESSON).ok();
        // As far as the compiler can tell somebody looks at it: otherwise it would leave both calls out.
        drop(std::hint::black_box(block));
    }
}
