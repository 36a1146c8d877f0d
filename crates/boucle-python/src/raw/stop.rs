//! `StopIteration`: how an awaited operation hands its value to the interpreter, which takes the value out at once and drops
//! the exception.
//!
//! Making one and freeing it takes 750 instructions. So an operation keeps the one by which it has ended ([`Ended`]), and
//! gives it back when it is dropped itself, which is next.
//!
//! # Invariants
//!
//! * An exception is used again only if nobody else has it, nor its arguments, and nobody has left anything in it: a
//!   traceback, a context, a cause, a note, an attribute. What it has held goes with the operation that it has ended.
//! * It carries `bytes` only: the collector leaves tuples of those alone, and does not come back to them.

use std::ptr;

use pyo3::{Python, ffi};

use super::class::Visit;
use super::{GilCell, ObjectCell, Owned, Raised, Result, bytes};

/// One that nobody uses, with `None` as its value.
static SPARE: GilCell<Option<Owned>> = GilCell::new(None);

/// A `StopIteration` with a value, which is not taken apart where it is a tuple or an exception. Calling the class makes the
/// same of it.
#[inline]
pub(crate) fn stop_iteration(_: Python<'_>, value: &Owned) -> Result<Owned> {
    // SAFETY: the value is alive. The class has both slots, which are called as the call of the class would.
    unsafe {
        let class: *mut ffi::PyTypeObject = ffi::PyExc_StopIteration.cast();
        let args = Owned::from_returned(ffi::PyTuple_Pack(1, value.as_ptr()))?;
        let (new, init) = (*class).tp_new.zip((*class).tp_init).expect("every class of exceptions has both");
        let stop = Owned::from_returned(new(class, args.as_ptr(), ptr::null_mut()))?;
        if init(stop.as_ptr(), args.as_ptr(), ptr::null_mut()) < 0 { Err(Raised) } else { Ok(stop) }
    }
}

/// The exception by which an operation has ended; nothing where it was none of these.
#[derive(Default)]
pub(crate) struct Ended(ObjectCell);

impl Ended {
    /// Raises what ends the operation with this value.
    #[inline]
    pub(crate) fn raise(&self, py: Python<'_>, value: &Owned) -> Result<Raised> {
        if !bytes::is_bytes(value) {
            return Ok(Raised::put_back(py, stop_iteration(py, value)?));
        }
        // The collector knows the spare one too, and `gc.get_objects()` shows it.
        let spare = SPARE.borrow(py).take();
        let stop = match spare.filter(is_as_made) {
            Some(spare) => {
                drop(exchange(&spare, value));
                spare
            }
            None => stop_iteration(py, value)?,
        };
        drop(self.0.replace(Some(stop.clone())));
        Ok(Raised::put_back(py, stop))
    }

    /// Visits what it holds.
    pub(crate) fn traverse(&self, visit: &mut Visit) {
        visit.cell(&self.0);
    }

    /// Lets go of it.
    pub(crate) fn clear(&self) {
        drop(self.0.take());
    }
}

impl Drop for Ended {
    #[inline]
    fn drop(&mut self) {
        let Some(stop) = self.0.take().filter(is_as_made) else { return };
        // SAFETY: an `Owned` is there, so the GIL is held.
        let py = unsafe { Python::assume_attached() };
        let value = exchange(&stop, &Owned::none(py));
        let former = SPARE.borrow(py).replace(stop);
        drop((value, former));
    }
}

/// The first argument's place.
///
/// # Safety
///
/// A `StopIteration` that was made with one argument, and still has it.
#[inline]
unsafe fn argument(stop: &Owned) -> *mut *mut ffi::PyObject {
    // SAFETY: its arguments are a tuple of one.
    unsafe {
        let args: *mut ffi::PyTupleObject = (*stop.as_ptr().cast::<ffi::PyStopIterationObject>()).args.cast();
        (&raw mut (*args).ob_item).cast()
    }
}

/// Whether an exception of [`stop_iteration`] is as it was made, and nobody else has it.
#[inline]
fn is_as_made(stop: &Owned) -> bool {
    // SAFETY: a `StopIteration`, whose fields are objects or null. Nobody can have changed its class, for it is none of
    // Python's; the places behind the flag are as C lays them out.
    unsafe {
        let stop: *mut ffi::PyStopIterationObject = stop.as_ptr().cast();
        let (args, value) = ((*stop).args, (*stop).value);
        let left = [(*stop).dict, (*stop).traceback, (*stop).context, (*stop).cause];
        #[cfg(Py_3_11)]
        let noted = !(*stop).notes.is_null();
        #[cfg(not(Py_3_11))]
        let noted = false;
        let suppresses = *(&raw const (*stop).suppress_context).cast::<u8>() != 0;
        if noted || suppresses || left.iter().any(|place| !place.is_null()) || args.is_null() {
            return false;
        }
        ffi::Py_REFCNT(stop.cast()) == 1
            && ffi::PyTuple_CheckExact(args) != 0
            && ffi::Py_REFCNT(args) == 1
            && ffi::PyTuple_GET_SIZE(args) == 1
            && ffi::PyTuple_GET_ITEM(args, 0) == value
            && !value.is_null()
    }
}

/// Puts another value in the place of the one that it has. Returns that, with both of its references.
#[inline]
fn exchange(stop: &Owned, value: &Owned) -> Option<(Owned, Owned)> {
    // SAFETY: both callers have an exception as it was made, which only they have: its value is an object, and its arguments
    // are a tuple of that one. Each place has a reference, which is exchanged for another.
    unsafe {
        let stop_value = &raw mut (*stop.as_ptr().cast::<ffi::PyStopIterationObject>()).value;
        #[cfg(Py_3_14)]
        {
            // It keeps its hash.
            (*(*stop.as_ptr().cast::<ffi::PyStopIterationObject>()).args.cast::<ffi::PyTupleObject>()).ob_hash = -1;
        }
        let former = ptr::replace(stop_value, value.clone().into_ptr());
        let argument = ptr::replace(argument(stop), value.clone().into_ptr());
        Owned::from_returned(former).ok().zip(Owned::from_returned(argument).ok())
    }
}
