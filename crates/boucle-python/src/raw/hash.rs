//! `hash()` of a native object, which its class is told of.
//!
//! Whoever looks an object up in a dictionary asks for its hash first. So what a dictionary says of an object can be put
//! off until somebody looks: see [`crate::task::current`].

use std::ptr;

use pyo3::ffi;

use super::{Class, This};

/// The slot of `hash()`, of `fn(Python, This<Class>) -> Result<()>`, which is told before. The hash is that of any object.
macro_rules! hash {
    ($class:ty, $function:path) => {{
        unsafe extern "C" fn call(this: *mut pyo3::ffi::PyObject) -> pyo3::ffi::Py_hash_t {
            let status = $crate::raw::guard::guard(concat!(stringify!($class), ".__hash__"), |py| {
                // SAFETY: the interpreter calls the slot with an instance of its class.
                $function(py, unsafe { $crate::raw::This::<$class>::from_ptr(this) })
            });
            // SAFETY: the same instance, alive.
            if status < 0 { -1 } else { unsafe { $crate::raw::hash::of_identity(this) } }
        }
        call as *mut std::ffi::c_void
    }};
}

pub(crate) use hash;

/// The hash of an object that is equal to itself only.
///
/// # Safety
///
/// The object is alive.
pub(crate) unsafe fn of_identity(object: *mut ffi::PyObject) -> ffi::Py_hash_t {
    // SAFETY: a class that is there for ever and does not change.
    let slot = unsafe { ffi::PyBaseObject_Type.tp_hash };
    // SAFETY: by this function's contract.
    slot.map_or(-1, |hash| unsafe { hash(object) })
}

/// Whether `hash()` of an object is its native class's: no class that derives from it has one of its own.
#[inline]
pub(crate) fn is_native<T: Class>(this: This<'_, T>) -> bool {
    // SAFETY: the object is alive, and with it its class; the native one is made before its first instance.
    let (slot, native) = unsafe { ((*ffi::Py_TYPE(this.as_ptr())).tp_hash, (*T::class().get()).tp_hash) };
    match (slot, native) {
        (Some(slot), Some(native)) => ptr::fn_addr_eq(slot, native),
        _ => false,
    }
}
