//! Decoding allocates at most a constant times the length of its input, also when the input was made to have it
//! allocate more.

use boucle_chronology::{
    Actor, ActorId, ActorKind, Cause, Chronology, Left, Origin, Place, Sample, Step, StepId, Thread, ThreadId, Wake,
    decode, encode,
};
use proptest::prelude::*;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// What one byte of input may cost: it can name a thread, whose name has 127 bytes.
const BYTES_EACH: usize = 200;
const BYTES_AT_LEAST: usize = 1_024;

/// The system's allocator, which counts what a thread holds.
struct Counting;

thread_local! {
    // Negative where a thread frees what another one allocated.
    static HELD: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
}

fn count(change: isize) {
    HELD.set(HELD.get() + change);
    MOST.set(MOST.get().max(HELD.get()));
}

// SAFETY: every call goes to the system's allocator unchanged; counting touches only thread-locals that need neither
// allocation nor destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller keeps the contract of `alloc`, which is the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the pointer comes from `alloc` above, so from the system, with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most that decoding `bytes` holds at once, whatever comes of it.
fn most_held(bytes: &[u8]) -> usize {
    let before = HELD.get();
    MOST.set(before);
    drop(decode(bytes));
    (MOST.get() - before).try_into().expect("the most is at least what was held before")
}

fn check(bytes: &[u8]) {
    let (held, most) = (most_held(bytes), bytes.len() * BYTES_EACH + BYTES_AT_LEAST);
    assert!(held <= most, "{} bytes made the decoder hold {held}, more than {most}", bytes.len());
}

/// Many of everything, as small as they can be written.
fn dense(name: &str) -> Chronology {
    let name = name.to_owned();
    let place = Place { function: name.clone(), file: name.clone(), line: 0, origin: Origin::User };
    let actor = Actor { kind: ActorKind::Task, name: name.clone(), function: name.clone(), parent: None };
    let step = Step {
        thread: ThreadId(0),
        actor: ActorId(0),
        start: 0,
        duration: 0,
        waited: 0,
        woken_by: Wake::Unknown,
        resumed: None,
        left: Left::Unknown,
    };
    let sample = Sample { step: StepId(0), at: 0, cause: Cause::Sleep, detail: name.clone(), stack: Vec::new() };
    Chronology {
        threads: vec![Thread { name }; 500],
        places: vec![place; 500],
        actors: vec![actor; 500],
        steps: vec![step; 500],
        samples: vec![sample; 500],
        ..Chronology::default()
    }
}

#[test]
fn a_dense_recording_costs_a_bounded_amount_a_byte() {
    for length in [0, 1, 126, 127, 128, 10_000] {
        let chronology = dense(&"x".repeat(length));
        let bytes = encode(&chronology);
        check(&bytes);
        assert!(decode(&bytes) == Ok(chronology));
    }
}

#[test]
fn a_count_alone_costs_nothing() {
    let front = b"\x89boucle\n\x02\0\0\0\0\0\0";
    for sections in 0..5 {
        for count in [&b"\xff\xff\x03"[..], b"\xff\xff\xff\xff\x0f", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"] {
            check(&[front, &b"\0\0\0\0\0"[..sections], count, b"\0\0\0\0\0\0\0\0"].concat());
        }
    }
}

proptest! {
    #[test]
    fn damage_costs_a_bounded_amount_a_byte(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..20),
        end in any::<prop::sample::Index>(),
    ) {
        let mut bytes = encode(&dense("a name"));
        let length = bytes.len();
        for (at, byte) in changes {
            // Half of them at the front, where the counts are.
            let at = at.index(2 * length);
            bytes[if at < length { at } else { at % 40 }] = byte;
        }
        check(&bytes);
        check(&bytes[..end.index(length)]);
    }
}
