//! Slots of safe functions: the macros that put a guard around each.
//!
//! A macro makes an `extern "C"` function of its own for each slot, so that the safe function is called directly.

use std::ffi::CStr;
use std::ptr;

use pyo3::{Python, ffi};

use super::{Owned, Result};

/// What a method may return, as a Python object.
pub(crate) trait IntoObject {
    /// The object.
    fn into_object(self, py: Python<'_>) -> Result<Owned>;
}

impl IntoObject for Owned {
    fn into_object(self, _: Python<'_>) -> Result<Owned> {
        Ok(self)
    }
}

impl IntoObject for () {
    fn into_object(self, py: Python<'_>) -> Result<Owned> {
        Ok(Owned::none(py))
    }
}

impl IntoObject for bool {
    fn into_object(self, _: Python<'_>) -> Result<Owned> {
        // SAFETY: no condition.
        unsafe { Owned::from_returned(ffi::PyBool_FromLong(self.into())) }
    }
}

impl IntoObject for f64 {
    fn into_object(self, _: Python<'_>) -> Result<Owned> {
        // SAFETY: no condition.
        unsafe { Owned::from_returned(ffi::PyFloat_FromDouble(self)) }
    }
}

impl IntoObject for u32 {
    fn into_object(self, _: Python<'_>) -> Result<Owned> {
        // SAFETY: no condition.
        unsafe { Owned::from_returned(ffi::PyLong_FromUnsignedLong(self.into())) }
    }
}

impl IntoObject for usize {
    fn into_object(self, _: Python<'_>) -> Result<Owned> {
        // SAFETY: no condition.
        unsafe { Owned::from_returned(ffi::PyLong_FromSize_t(self)) }
    }
}

impl<T: IntoObject> IntoObject for Option<T> {
    fn into_object(self, py: Python<'_>) -> Result<Owned> {
        self.map_or_else(|| Ok(Owned::none(py)), |value| value.into_object(py))
    }
}

/// The definition of a method without arguments.
pub(crate) fn no_args(name: &'static CStr, doc: &'static CStr, call: ffi::PyCFunction) -> ffi::PyMethodDef {
    ffi::PyMethodDef {
        ml_name: name.as_ptr(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunction: call },
        ml_flags: ffi::METH_NOARGS,
        ml_doc: doc.as_ptr(),
    }
}

/// The definition of a method with arguments.
pub(crate) fn with_args(
    name: &'static CStr,
    doc: &'static CStr,
    call: ffi::PyCFunctionFastWithKeywords,
) -> ffi::PyMethodDef {
    ffi::PyMethodDef {
        ml_name: name.as_ptr(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunctionFastWithKeywords: call },
        ml_flags: ffi::METH_FASTCALL | ffi::METH_KEYWORDS,
        ml_doc: doc.as_ptr(),
    }
}

/// The definition of a property.
pub(crate) fn property(name: &'static CStr, get: ffi::getter, set: Option<ffi::setter>) -> ffi::PyGetSetDef {
    ffi::PyGetSetDef { name: name.as_ptr(), get: Some(get), set, doc: ptr::null(), closure: ptr::null_mut() }
}

/// The C string of a literal.
macro_rules! c_str {
    ($text:expr) => {
        const {
            match std::ffi::CStr::from_bytes_with_nul(concat!($text, "\0").as_bytes()) {
                Ok(text) => text,
                Err(_) => panic!("a name holds no zero byte"),
            }
        }
    };
}

/// A method: `method!(Class, "name", function, "doc")` for `fn(Python, This<Class>) -> Result<impl IntoObject>`, or with
/// `args function` for `fn(Python, This<Class>, Args) -> …`.
macro_rules! method {
    ($class:ty, $name:literal, args $function:path, $doc:literal) => {{
        unsafe extern "C" fn call(
            this: *mut pyo3::ffi::PyObject,
            args: *const *mut pyo3::ffi::PyObject,
            count: pyo3::ffi::Py_ssize_t,
            names: *mut pyo3::ffi::PyObject,
        ) -> *mut pyo3::ffi::PyObject {
            $crate::raw::guard::guard(concat!(stringify!($class), ".", $name), |py| {
                // SAFETY: the method's descriptor checks that `this` is an instance of the class, and the interpreter
                // passes arguments by this convention.
                let (this, args) = unsafe {
                    ($crate::raw::This::<$class>::from_ptr(this), $crate::raw::Args::new(args, count, names))
                };
                let result: $crate::raw::Result<_> = $function(py, this, args);
                $crate::raw::method::IntoObject::into_object(result?, py)
            })
        }
        $crate::raw::method::with_args($crate::raw::method::c_str!($name), $crate::raw::method::c_str!($doc), call)
    }};
    ($class:ty, $name:literal, $function:path, $doc:literal) => {{
        unsafe extern "C" fn call(
            this: *mut pyo3::ffi::PyObject,
            _: *mut pyo3::ffi::PyObject,
        ) -> *mut pyo3::ffi::PyObject {
            $crate::raw::guard::guard(concat!(stringify!($class), ".", $name), |py| {
                // SAFETY: the method's descriptor checks that `this` is an instance of the class.
                let this = unsafe { $crate::raw::This::<$class>::from_ptr(this) };
                let result: $crate::raw::Result<_> = $function(py, this);
                $crate::raw::method::IntoObject::into_object(result?, py)
            })
        }
        $crate::raw::method::no_args($crate::raw::method::c_str!($name), $crate::raw::method::c_str!($doc), call)
    }};
}

/// The getter of a property, of a function `fn(Python, This<Class>) -> Result<impl IntoObject>`.
macro_rules! getter {
    ($class:ty, $name:expr, $function:expr) => {{
        unsafe extern "C" fn get(this: *mut pyo3::ffi::PyObject, _: *mut std::ffi::c_void) -> *mut pyo3::ffi::PyObject {
            $crate::raw::guard::guard(concat!(stringify!($class), ".", $name), |py| {
                // SAFETY: the property's descriptor checks that `this` is an instance of the class.
                let this = unsafe { $crate::raw::This::<$class>::from_ptr(this) };
                let result: $crate::raw::Result<_> = $function(py, this);
                $crate::raw::method::IntoObject::into_object(result?, py)
            })
        }
        get as pyo3::ffi::getter
    }};
}

/// The setter of a property, of a function `fn(Python, This<Class>, Option<Owned>) -> Result<()>`; `None` deletes.
macro_rules! setter {
    ($class:ty, $name:expr, $function:expr) => {{
        unsafe extern "C" fn set(
            this: *mut pyo3::ffi::PyObject,
            value: *mut pyo3::ffi::PyObject,
            _: *mut std::ffi::c_void,
        ) -> std::ffi::c_int {
            $crate::raw::guard::guard(concat!(stringify!($class), ".", $name, "="), |py| {
                // SAFETY: the property's descriptor checks that `this` is an instance of the class, and `value` is null
                // or an object that the caller holds.
                let (this, value) = unsafe {
                    let value = std::ptr::NonNull::new(value).map(|value| $crate::raw::Owned::from_borrowed(value));
                    ($crate::raw::This::<$class>::from_ptr(this), value)
                };
                $function(py, this, value)
            })
        }
        set as pyo3::ffi::setter
    }};
}

/// A slot that takes the instance only and returns an object, of `fn(Python, This<Class>) -> Result<Owned>`; with `Option`
/// nothing ends an iteration.
macro_rules! unary {
    ($class:ty, $name:literal, $function:path) => {
        $crate::raw::method::unary!($class, $name, $function, typed) as *mut std::ffi::c_void
    };
    ($class:ty, $name:literal, $function:path, typed) => {{
        unsafe extern "C" fn call(this: *mut pyo3::ffi::PyObject) -> *mut pyo3::ffi::PyObject {
            $crate::raw::guard::guard(concat!(stringify!($class), ".", $name), |py| {
                // SAFETY: the interpreter calls a slot with an instance of its class.
                $function(py, unsafe { $crate::raw::This::<$class>::from_ptr(this) })
            })
        }
        call
    }};
}

/// The slot that makes a step of a coroutine, of `fn(Python, This<Class>, &Owned) -> Result<Sent>`.
macro_rules! send {
    ($class:ty, $function:path) => {{
        unsafe extern "C" fn call(
            this: *mut pyo3::ffi::PyObject,
            value: *mut pyo3::ffi::PyObject,
            result: *mut *mut pyo3::ffi::PyObject,
        ) -> pyo3::ffi::PySendResult {
            let (status, object) = $crate::raw::guard::guard(concat!(stringify!($class), ".am_send"), |py| {
                // SAFETY: the interpreter calls the slot with an instance of its class and a value, both alive.
                let (this, value) = unsafe {
                    let value = std::ptr::NonNull::new_unchecked(value);
                    ($crate::raw::This::<$class>::from_ptr(this), $crate::raw::Owned::from_borrowed(value))
                };
                $function(py, this, &value)
            });
            // SAFETY: the interpreter passes a place for the result.
            unsafe { *result = object };
            status
        }
        call as *mut std::ffi::c_void
    }};
}

/// The slot of `__init__`, of `fn(Python, This<Class>, &Bound<PyTuple>, Option<&Bound<PyDict>>) -> Result<()>`.
macro_rules! init {
    ($class:ty, $function:path) => {{
        unsafe extern "C" fn call(
            this: *mut pyo3::ffi::PyObject,
            args: *mut pyo3::ffi::PyObject,
            names: *mut pyo3::ffi::PyObject,
        ) -> std::ffi::c_int {
            $crate::raw::guard::guard(concat!(stringify!($class), ".__init__"), |py| {
                // SAFETY: the interpreter calls the slot with an instance of its class, a tuple, and a dictionary or null.
                let (this, args, names) = unsafe {
                    let names = pyo3::Bound::from_borrowed_ptr_or_opt(py, names).map(|names| names.cast_into_unchecked());
                    let args = pyo3::Bound::from_borrowed_ptr(py, args).cast_into_unchecked();
                    ($crate::raw::This::<$class>::from_ptr(this), args, names)
                };
                $function(py, this, &args, names.as_ref())
            })
        }
        call as *mut std::ffi::c_void
    }};
}

/// The slot that sets attributes, of `fn(Python, This<Class>, &Owned)`, which is told the name before it happens.
macro_rules! set_attribute {
    ($class:ty, $function:path) => {{
        unsafe extern "C" fn call(
            this: *mut pyo3::ffi::PyObject,
            name: *mut pyo3::ffi::PyObject,
            value: *mut pyo3::ffi::PyObject,
        ) -> std::ffi::c_int {
            $crate::raw::guard::guard(concat!(stringify!($class), ".__setattr__"), |py| {
                // SAFETY: the interpreter calls the slot with an instance of its class and a name, both alive.
                let (instance, name) = unsafe {
                    let name = std::ptr::NonNull::new_unchecked(name);
                    ($crate::raw::This::<$class>::from_ptr(this), $crate::raw::Owned::from_borrowed(name))
                };
                $function(py, instance, &name);
                // SAFETY: the same; a null value deletes.
                let status = unsafe { pyo3::ffi::PyObject_GenericSetAttr(this, name.as_ptr(), value) };
                if status < 0 { Err($crate::raw::Raised) } else { Ok(()) }
            })
        }
        call as *mut std::ffi::c_void
    }};
}

pub(crate) use {c_str, getter, init, method, send, set_attribute, setter, unary};
