//! The slots by which the interpreter makes instances, visits what they hold, and takes them apart.

use std::ffi::{c_int, c_void};
use std::ptr;

use pyo3::{Python, ffi};

use super::super::guard::{guard, guard_infallible};
use super::{Collected, Finalized, Instance, Owned, This, Visit};

pub(super) unsafe extern "C" fn new<T: Collected>(
    class: *mut ffi::PyTypeObject,
    _args: *mut ffi::PyObject,
    _kwargs: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    guard("tp_new", |_| {
        let value = T::default();
        // SAFETY: the interpreter calls this with a class that derives from ours and so has an allocator. The memory it
        // returns has room for an instance; the value in it is written before anyone reads it, for nothing between the
        // two calls runs Python.
        unsafe {
            let alloc = ffi::PyType_GetSlot(class, ffi::Py_tp_alloc);
            let alloc: ffi::allocfunc = std::mem::transmute(alloc);
            let instance = Owned::from_returned(alloc(class, 0))?;
            ptr::write(&raw mut (*instance.as_ptr().cast::<Instance<T>>()).value, value);
            Ok(instance)
        }
    })
}

/// Makes an instance of exactly the class by its freelist, of a subclass as any other.
pub(super) unsafe extern "C" fn new_finalized<T: Finalized>(
    class: *mut ffi::PyTypeObject,
    args: *mut ffi::PyObject,
    kwargs: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    if class != T::class().get() {
        // SAFETY: the arguments are those that the interpreter passed.
        return unsafe { new::<T>(class, args, kwargs) };
    }
    guard("tp_new", |py| T::freelist().make_collected(py, T::default))
}

pub(super) unsafe extern "C" fn dealloc_collected<T: Collected>(object: *mut ffi::PyObject) {
    // SAFETY: the interpreter calls this once, when the last reference is gone. The object leaves the collector before
    // its value is dropped, which may run Python; its memory is given back by the class's own function; a heap type is
    // held by its instances.
    guard_infallible("tp_dealloc", || unsafe {
        let class = ffi::Py_TYPE(object);
        ffi::PyObject_GC_UnTrack(object.cast());
        ptr::drop_in_place(&raw mut (*object.cast::<Instance<T>>()).value);
        let free = ffi::PyType_GetSlot(class, ffi::Py_tp_free);
        let free: ffi::freefunc = std::mem::transmute(free);
        free(object.cast());
        ffi::Py_DECREF(class.cast());
    });
}

pub(super) unsafe extern "C" fn finalize<T: Finalized>(object: *mut ffi::PyObject) {
    guard_infallible("tp_finalize", || {
        // SAFETY: the interpreter calls this with an instance that is alive, under the GIL.
        let (py, this) = unsafe { (Python::assume_attached(), This::<T>::from_ptr(object)) };
        this.leave_lists();
        if this.has_last_word() {
            // Whoever drops a reference may have an exception under way.
            let former = pyo3::PyErr::take(py);
            T::finalize(py, this);
            if let Some(former) = former {
                former.restore(py);
            }
        }
    });
}

pub(super) unsafe extern "C" fn dealloc_finalized<T: Finalized>(object: *mut ffi::PyObject) {
    // SAFETY: the interpreter calls this once, when the last reference is gone. For a subclass it has called the finalizer
    // already; for the class itself we do, which may bring the instance back to life. Then the object leaves the
    // collector and every list, its weak references are told, and its value is dropped, which may run Python. Memory of
    // an instance of exactly the class goes to the freelist, unless the collector has marked it as finalized, which a
    // next instance would inherit. A heap type is held by its instances.
    guard_infallible("tp_dealloc", || unsafe {
        let class = ffi::Py_TYPE(object);
        let exact = class == T::class().get();
        let value = &raw mut (*object.cast::<Instance<T>>()).value;
        if T::SPEAKS && exact && (*value).has_last_word() && ffi::PyObject_CallFinalizerFromDealloc(object) < 0 {
            return;
        }
        ffi::PyObject_GC_UnTrack(object.cast());
        (*value).leave_lists();
        if (*value).weak_references().is_some_and(|list| !list.is_empty()) {
            ffi::PyObject_ClearWeakRefs(object);
        }
        ptr::drop_in_place(value);
        let marked = T::SPEAKS && ffi::PyObject_GC_IsFinalized(object) != 0;
        if !exact || marked || !T::freelist().keep(object) {
            let free = ffi::PyType_GetSlot(class, ffi::Py_tp_free);
            let free: ffi::freefunc = std::mem::transmute(free);
            free(object.cast());
        }
        ffi::Py_DECREF(class.cast());
    });
}

pub(super) unsafe extern "C" fn traverse<T: Collected>(
    object: *mut ffi::PyObject,
    visit: ffi::visitproc,
    arg: *mut c_void,
) -> c_int {
    let mut visit = Visit { function: visit, arg, result: 0 };
    guard_infallible("tp_traverse", || {
        // SAFETY: the collector calls this with an instance. Its class is a heap type, which its instances hold.
        unsafe {
            visit.ptr(ffi::Py_TYPE(object).cast());
            (*object.cast::<Instance<T>>()).value.traverse(&mut visit);
        }
    });
    visit.result
}

pub(super) unsafe extern "C" fn clear<T: Collected>(object: *mut ffi::PyObject) -> c_int {
    guard("tp_clear", |_| {
        // SAFETY: the collector calls this with an instance.
        unsafe { (*object.cast::<Instance<T>>()).value.clear() };
        Ok(())
    })
}
