//! Who waits in a loop's queue, read while C code holds the GIL: objects as copies of their memory.
//!
//! What is queued is a task of ours, or a handle whose only argument worth a look is the future that a sleeping task awaits.
//! Anything else is counted, and named only once the GIL can be had.

use std::fs::File;
use std::mem::offset_of;
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;

use boucle_core::clock::{Moment, Scale};
use boucle_core::turn::outside::{Layout, Memory};
use pyo3::ffi;
use pyo3::prelude::*;

use super::text::Victim;
use super::waiting::Span;
use crate::raw::Owned;
use crate::{future, handle, task};

/// Our own memory, as the kernel shows it.
struct OwnMemory(File);

impl Memory for OwnMemory {
    fn copy(&self, address: usize, into: &mut [u8]) -> bool {
        self.0.read_exact_at(into, address as u64).is_ok()
    }
}

impl OwnMemory {
    /// Opened for one look: an open file would go on showing the parent's memory after a fork.
    fn open() -> Option<Self> {
        File::open("/proc/self/mem").ok().map(Self)
    }

    fn word(&self, address: usize) -> Option<usize> {
        let mut bytes = [0; size_of::<usize>()];
        self.copy(address, &mut bytes).then(|| usize::from_ne_bytes(bytes))
    }

    /// The address in a field of an object; nothing where it is null.
    fn field(&self, object: usize, offset: usize) -> Option<usize> {
        self.word(object.checked_add(offset)?).filter(|&address| address != 0)
    }

    fn class(&self, object: usize) -> Option<usize> {
        self.field(object, offset_of!(ffi::PyObject, ob_type))
    }
}

/// How queues are laid out; nothing where that could not be found out.
static LAYOUT: OnceLock<Option<Layout>> = OnceLock::new();

/// Finds out how queues are laid out.
pub(super) fn prepare(py: Python<'_>) {
    LAYOUT.get_or_init(|| {
        let example = Owned::none(py);
        Layout::of(&OwnMemory::open()?, &example, example.as_ptr() as usize)
    });
}

/// How many wait in the queue at an address, with the due timers, and those of them whose names can be read, the longest
/// wait first. Nothing where the queue cannot be read.
pub(super) fn waiting(turn: usize, span: Span) -> Option<(usize, Vec<Victim>)> {
    let layout = LAYOUT.get()?.as_ref()?;
    let memory = OwnMemory::open()?;
    let scale = Scale::measure();
    let (mut count, items) = layout.waiting(&memory, turn, Moment::now(), &scale)?;
    let mut victims = Vec::new();
    for (item, since) in items {
        match who(&memory, item) {
            Who::Cancelled => count -= 1,
            Who::Actor(actor) => {
                let waited = span.overlap(since, span.end, &scale);
                victims.extend(super::waiting::victim(actor, waited));
            }
            Who::Unknown => {}
        }
    }
    victims.sort_by_key(|victim| std::cmp::Reverse(victim.waited));
    Some((count, victims))
}

/// Who stands for an item.
enum Who {
    /// A task with this number.
    Actor(u32),
    /// A handle that will not run.
    Cancelled,
    /// Somebody.
    Unknown,
}

fn who(memory: &OwnMemory, item: usize) -> Who {
    let of_task = |object| task_number(memory, object).map_or(Who::Unknown, Who::Actor);
    let Some(class) = memory.class(item) else { return Who::Unknown };
    if class == task::class_address() {
        return of_task(item);
    }
    if !handle::class_addresses().contains(&class) {
        return Who::Unknown;
    }
    let mut cancelled = [0];
    if memory.copy(item.wrapping_add(handle::CANCELLED_AT), &mut cancelled) && cancelled == [1] {
        return Who::Cancelled;
    }
    sleeper(memory, item).map_or(Who::Unknown, of_task)
}

/// The task that waits for the future that a handle's first argument is.
fn sleeper(memory: &OwnMemory, handle: usize) -> Option<usize> {
    let arguments = memory.field(handle, handle::ARGUMENTS_AT)?;
    let tuple = &raw const ffi::PyTuple_Type as usize;
    let first = if memory.class(arguments)? == tuple {
        memory.field(arguments, offset_of!(ffi::PyTupleObject, ob_item))?
    } else {
        arguments
    };
    if memory.class(first)? != future::class_address() {
        return None;
    }
    memory.field(first, future::FIRST_WAITER_AT)
}

/// The number of a task; nothing where the object is none, or where it has none yet.
fn task_number(memory: &OwnMemory, object: usize) -> Option<u32> {
    if memory.class(object)? != task::class_address() {
        return None;
    }
    let mut bytes = [0; 4];
    memory.copy(object.wrapping_add(task::NUMBER_AT), &mut bytes).then(|| u32::from_ne_bytes(bytes))?.checked_sub(1)
}
