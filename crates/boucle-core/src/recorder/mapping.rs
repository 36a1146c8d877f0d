//! The memory of the recorder: one file without a name, mapped, so that another process can look into it.
//!
//! ```text
//! header        64 KiB: magic, layout, process, clocks, identity, table of segments      (see `header`)
//! segments      one after the other, each aligned to a page: directory, samples, one ring a thread
//! ```
//!
//! The file is a `memfd`: it lives as long as the process, is charged to it as its own memory, page by page as it is
//! written, and is found as `/proc/PID/fd/N`, which the kernel opens for processes of the same user only. It is made when a
//! loop first runs with the recorder on, and grows by a segment for each further thread that runs loops at the same time.
//! Segments are never given back, so what points into them is `'static`.
//!
//! # Protocol
//!
//! Readers copy ([`super::words`]): threads of the process from the mapping, other processes by reading the file, which a
//! truncation cannot turn into a signal. A segment is listed in the header once it is there; what it holds is published by
//! the protocol of its kind.
//!
//! # Forks
//!
//! A child shares the parent's pages, and would write into the parent's run. So it lets go of them before it does anything
//! else (`pthread_atfork`): what was rings becomes zeroed memory of its own *at the same addresses*, the directory a private
//! copy, and the inherited descriptor is closed. Whatever still holds an address, the step in which the process forked
//! among it, goes on without harm. When a loop first runs in the child, a file of its own takes their place ([`settle`]),
//! which also notices a fork that nobody was told of, by the process's number.
//!
//! # Invariants
//!
//! * Only the process that made the file writes to it.
//! * A program may close descriptors that are not its own: the number is used only after it was compared with the file.
//!   Such a program loses what would have been added later, and viewers that come later.
//! * Where a file cannot be had, the memory is the process's own, everything else works, and viewers find nothing.
//!
//! # Rejected
//!
//! Files in `/dev/shm` are limited to 64 MiB in containers, where passing the limit kills the process by a signal, and stay
//! behind when it is killed. Reading `/proc/PID/mem` needs the right to trace, which distributions and containers withhold. A
//! socket or a thread that answers needs the cooperation of a process that is stuck.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{MemfdFlags, Mode, SealFlags};
use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous};

use super::header;
use super::live::Live;
use super::words::{Own, Words};

/// How many segments the header lists. Further ones cannot be seen from outside.
pub(crate) const MOST_SEGMENTS: usize = 1024;

/// Segments begin at multiples of this.
const PAGE: usize = 4096;

/// The bytes of a word.
const WORD: usize = size_of::<u64>();

/// What a segment holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Kind {
    /// The header of the file.
    Header = 0,
    /// What numbers stand for.
    Directory = 1,
    /// What watchdogs saw.
    Samples = 2,
    /// The steps of a thread.
    Ring = 3,
}

/// A range of the file, and where it is mapped.
struct Segment {
    kind: AtomicU32,
    address: AtomicPtr<AtomicU64>,
    words: AtomicUsize,
    /// In bytes.
    offset: AtomicU64,
}

static SEGMENTS: [Segment; MOST_SEGMENTS] = [const {
    Segment {
        kind: AtomicU32::new(0),
        address: AtomicPtr::new(std::ptr::null_mut()),
        words: AtomicUsize::new(0),
        offset: AtomicU64::new(0),
    }
}; MOST_SEGMENTS];

/// How many segments there are. One is counted once it can be used.
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// The number of the file's descriptor; -1 where there is none.
static FILE: AtomicI32 = AtomicI32::new(-1);

/// The file's device and number, by which a descriptor is known to be its.
static FILE_IDENTITY: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];

/// The process that may write; 0 before there is anything.
static OWNER: AtomicU32 = AtomicU32::new(0);

/// Whether this is a child that has not made a file of its own yet.
static IS_ORPHANED: AtomicBool = AtomicBool::new(false);

/// How many forks lie between the first process and this one.
static GENERATION: AtomicU32 = AtomicU32::new(0);

/// Held while something is added. No reader takes it.
static GROWING: Mutex<()> = Mutex::new(());

/// Differs in a child from what it was in its parent.
pub(crate) fn generation() -> u32 {
    GENERATION.load(Ordering::Relaxed)
}

/// Zeroed words of a kind, whose pages are taken from the system as they are written; none where the process may have no
/// more. Others can see them, where that is possible.
pub(crate) fn segment(kind: Kind, count: usize) -> Option<Own> {
    let _growing = GROWING.lock().unwrap_or_else(PoisonError::into_inner);
    settle_down();
    add(kind, count).or_else(|| {
        header::count_hidden(list().first().map(Segment::own));
        map_anonymous(count)
    })
}

/// Makes sure that this process, and no parent of it, owns what it writes to. Called before a loop runs.
pub(crate) fn settle() {
    if IS_ORPHANED.load(Ordering::Relaxed) || OWNER.load(Ordering::Relaxed) != std::process::id() {
        let _growing = GROWING.lock().unwrap_or_else(PoisonError::into_inner);
        settle_down();
    }
}

/// The words of the header, if others can see it.
pub(crate) fn header() -> Option<Own> {
    list().first().map(Segment::own)
}

fn settle_down() {
    let (owner, pid) = (OWNER.load(Ordering::Relaxed), std::process::id());
    if owner == 0 {
        begin();
    } else if owner != pid && !IS_ORPHANED.load(Ordering::Relaxed) {
        // A fork without the C library's knowledge.
        let_go();
    }
    if IS_ORPHANED.swap(false, Ordering::Relaxed) {
        begin_anew();
    }
    OWNER.store(pid, Ordering::Relaxed);
}

/// The first segment is the header.
fn begin() {
    // SAFETY: the handler makes system calls only, which a child may do.
    if unsafe { libc::pthread_atfork(None, None, Some(in_child)) } != 0 {
        // Without the handler a child could write into its parent's memory: so nothing is shared.
        return;
    }
    if make_file(0)
        && let Some(words) = add(Kind::Header, header::SIZE)
    {
        header::write(words);
    }
}

/// A file of this process takes the place of what it inherited.
fn begin_anew() {
    let length = list().last().map_or(0, |last| last.offset() + last.words() * WORD);
    if list().is_empty() || !make_file(length.next_multiple_of(PAGE)) {
        return;
    }
    let Some(file) = file() else { return };
    for segment in list() {
        if segment.is(Kind::Header) || segment.is(Kind::Directory) {
            let used = if segment.is(Kind::Header) {
                std::iter::once(0..header::SIZE).collect()
            } else {
                super::directory::used(segment.own())
            };
            for range in used {
                copy_into(file, segment, range);
            }
        }
        map_over(segment, Some((file, MapFlags::SHARED)));
    }
    header::write(list()[0].own());
}

/// Copies words of a segment to their place in the file. Where that fails, they are missing there.
fn copy_into(file: BorrowedFd<'_>, segment: &Segment, range: std::ops::Range<usize>) {
    let mut words = vec![0; range.len()];
    segment.own().copy(range.start, &mut words);
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let (mut at, mut rest) = ((segment.offset() + range.start * WORD) as u64, &bytes[..]);
    while let Ok(written @ 1..) = rustix::io::pwrite(file, rest, at) {
        rest = &rest[written..];
        at += written as u64;
        if rest.is_empty() {
            break;
        }
    }
}

fn list() -> &'static [Segment] {
    &SEGMENTS[..COUNT.load(Ordering::Acquire)]
}

impl Segment {
    fn is(&self, kind: Kind) -> bool {
        self.kind.load(Ordering::Relaxed) == kind as u32
    }

    fn words(&self) -> usize {
        self.words.load(Ordering::Relaxed)
    }

    fn offset(&self) -> usize {
        self.offset.load(Ordering::Relaxed) as usize
    }

    fn own(&self) -> Own {
        // SAFETY: a segment in the list is mapped, aligned to a page, holds only integers, and is never unmapped.
        unsafe { std::slice::from_raw_parts(self.address.load(Ordering::Relaxed), self.words()) }
    }
}

/// Adds a segment to the file and to the lists.
fn add(kind: Kind, count: usize) -> Option<Own> {
    let index = COUNT.load(Ordering::Relaxed);
    let segment = SEGMENTS.get(index)?;
    let file = file()?;
    let offset = list().last().map_or(0, |last| (last.offset() + last.words() * WORD).next_multiple_of(PAGE));
    let bytes = count * WORD;
    if !may_grow_files() {
        return None;
    }
    rustix::fs::ftruncate(file, (offset + bytes) as u64).ok()?;
    // SAFETY: the kernel chooses where, so nothing that is in use is replaced.
    let address = unsafe { mmap(std::ptr::null_mut(), bytes, WRITABLE, MapFlags::SHARED, file, offset as u64) };
    segment.kind.store(kind as u32, Ordering::Relaxed);
    segment.address.store(address.ok()?.cast(), Ordering::Relaxed);
    segment.words.store(count, Ordering::Relaxed);
    segment.offset.store(offset as u64, Ordering::Relaxed);
    COUNT.store(index + 1, Ordering::Release);
    header::list_segment(list()[0].own(), index, kind, offset as u64, count);
    Some(segment.own())
}

const WRITABLE: ProtFlags = ProtFlags::READ.union(ProtFlags::WRITE);

/// Makes the file. Where that is not possible there is none.
fn make_file(length: usize) -> bool {
    let made = || {
        let file = rustix::fs::memfd_create("boucle", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        rustix::fs::fchmod(&file, Mode::RUSR | Mode::WUSR)?;
        // A file that shrinks under its mapping would kill us.
        rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK)?;
        rustix::fs::ftruncate(&file, length as u64)?;
        let status = rustix::fs::fstat(&file)?;
        FILE_IDENTITY[0].store(status.st_dev, Ordering::Relaxed);
        FILE_IDENTITY[1].store(status.st_ino, Ordering::Relaxed);
        rustix::io::Result::Ok(file)
    };
    let file = may_grow_files().then(made).and_then(Result::ok).map_or(-1, OwnedFd::into_raw_fd);
    FILE.store(file, Ordering::Relaxed);
    file != -1
}

/// Whether the process may make files of any size: going past a limit is answered with a signal.
fn may_grow_files() -> bool {
    rustix::process::getrlimit(rustix::process::Resource::Fsize).current.is_none()
}

/// The file, if its descriptor still is its.
fn file() -> Option<BorrowedFd<'static>> {
    let number: RawFd = FILE.load(Ordering::Relaxed);
    if number == -1 {
        return None;
    }
    // SAFETY: not -1. Another thread that closes it in this moment makes the calls that follow fail.
    let file = unsafe { BorrowedFd::borrow_raw(number) };
    let status = rustix::fs::fstat(file).ok()?;
    let identity = [status.st_dev, status.st_ino];
    (identity == FILE_IDENTITY.each_ref().map(|part| part.load(Ordering::Relaxed))).then_some(file)
}

/// Zeroed words of this process alone.
fn map_anonymous(count: usize) -> Option<Own> {
    // SAFETY: the kernel chooses where, so nothing that is in use is replaced.
    let address = unsafe { mmap_anonymous(std::ptr::null_mut(), count * WORD, WRITABLE, MapFlags::PRIVATE) };
    let address = address.ok()?.cast::<AtomicU64>();
    // SAFETY: so many words were mapped, aligned to a page, zeroed, which is valid for an atomic integer, and are never unmapped.
    Some(unsafe { std::slice::from_raw_parts(address, count) })
}

/// Maps something else where a segment is: its range of a file, or zeroed memory of this process. It cannot fail for want of
/// anything, since it replaces a mapping of the same size.
fn map_over(segment: &Segment, from: Option<(BorrowedFd<'_>, MapFlags)>) {
    let address = segment.address.load(Ordering::Relaxed).cast();
    let bytes = segment.words() * WORD;
    let mapped = match from {
        // SAFETY: the range is a segment's, which is replaced by integers of the same number; who reads or writes them by
        // atomics finds other values there.
        Some((file, flags)) => unsafe {
            mmap(address, bytes, WRITABLE, flags | MapFlags::FIXED, file, segment.offset() as u64)
        },
        // SAFETY: as above.
        None => unsafe { mmap_anonymous(address, bytes, WRITABLE, MapFlags::PRIVATE | MapFlags::FIXED) },
    };
    mapped.ok();
}

extern "C" fn in_child() {
    let_go();
}

/// In a child: nothing that it writes from now on is its parent's. Nothing is allocated or locked here, for another thread
/// of the parent may have been about to.
fn let_go() {
    let file = file();
    for segment in list() {
        let named = segment.is(Kind::Header) || segment.is(Kind::Directory);
        map_over(segment, file.filter(|_| named).map(|file| (file, MapFlags::PRIVATE)));
    }
    if let Some(file) = file {
        // SAFETY: it is the descriptor that `make_file` has leaked, and it is not used any more.
        drop(unsafe { OwnedFd::from_raw_fd(file.as_raw_fd()) });
    }
    FILE.store(-1, Ordering::Relaxed);
    IS_ORPHANED.store(true, Ordering::Relaxed);
    GENERATION.fetch_add(1, Ordering::Relaxed);
}

/// The words of a thread's [`Live`].
pub(crate) const LIVE: usize = size_of::<Live>() / WORD;

/// What a thread does, in these words of it.
pub(crate) fn live(words: &'static [AtomicU64]) -> &'static Live {
    assert_eq!(words.len(), LIVE, "a Live fills its words");
    // SAFETY: as many bytes as it has, aligned to eight, all of them integers; nothing else in this process looks at them
    // as words.
    unsafe { &*words.as_ptr().cast::<Live>() }
}

/// Words for a test, which nobody else sees.
#[cfg(test)]
pub(crate) fn for_test(count: usize) -> Own {
    map_anonymous(count).expect("a test has enough addresses")
}
