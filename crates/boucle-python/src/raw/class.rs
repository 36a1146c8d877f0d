//! Native classes: a Rust value behind a Python object's header.
//!
//! ```text
//! Instance<T>:  PyObject header | T
//! ```
//!
//! A class implements [`Class`] and describes itself with a [`Builder`]. Its methods take [`This`], a borrowed instance.
//! The value is reached by shared reference only, for a method may be entered again from the Python it calls: fields
//! that change are cells. How instances come and go is in [`life`].

mod life;

use std::ffi::{CStr, c_int, c_uint, c_void};
use std::marker::PhantomData;
use std::mem::offset_of;
use std::ops::Deref;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, Ordering};

use pyo3::{Python, ffi};

use super::freelist::Freelist;
use super::guard::guard;
use super::{ObjectCell, Owned, Result};

/// A native class. The value of an instance is `Self`.
pub(crate) trait Class: Sized + 'static {
    /// The class of this value.
    fn class() -> &'static TypeCell;
}

/// A Python object whose class is native.
#[repr(C)]
pub(crate) struct Instance<T> {
    header: ffi::PyObject,
    pub(super) value: T,
}

/// Where the value begins in an object of a native class, in bytes.
pub(crate) const VALUE_AT: usize = std::mem::offset_of!(Instance<()>, value);

/// Holds a class once it is made.
pub(crate) struct TypeCell(AtomicPtr<ffi::PyTypeObject>);

impl TypeCell {
    /// A cell without a class.
    pub(crate) const fn new() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()))
    }

    /// The class; null before the module is initialised.
    #[inline]
    pub(crate) fn get(&self) -> *mut ffi::PyTypeObject {
        self.0.load(Ordering::Relaxed)
    }
}

/// A borrowed instance of a class.
pub(crate) struct This<'a, T>(NonNull<Instance<T>>, PhantomData<&'a T>);

impl<T> Clone for This<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for This<'_, T> {}

impl<T> Deref for This<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the instance is alive for 'a and its value was initialised when it was made.
        unsafe { &self.0.as_ref().value }
    }
}

impl<'a, T: Class> This<'a, T> {
    /// The instance that a slot was called on.
    ///
    /// # Safety
    ///
    /// `ptr` is an instance of the class or of a subclass, alive for 'a.
    pub(crate) unsafe fn from_ptr(ptr: *mut ffi::PyObject) -> Self {
        // SAFETY: by this function's contract it is not null.
        Self(unsafe { NonNull::new_unchecked(ptr.cast()) }, PhantomData)
    }

    /// The instance behind a reference, if its class is exactly this one.
    #[inline]
    pub(crate) fn exactly(object: &'a Owned) -> Option<Self> {
        // SAFETY: its type was compared.
        (object.type_ptr() == T::class().get()).then(|| unsafe { Self::from_ptr(object.as_ptr()) })
    }

    /// The instance behind a reference, if its class is this one or derives from it.
    pub(crate) fn of(object: &'a Owned) -> Option<Self> {
        // SAFETY: both are classes that are alive; the second is null only before the module is initialised.
        let derives = unsafe { ffi::PyType_IsSubtype(object.type_ptr(), T::class().get()) } != 0;
        // SAFETY: its type was checked.
        derives.then(|| unsafe { Self::from_ptr(object.as_ptr()) })
    }

    /// Whether its class is exactly this one, not a subclass.
    #[inline]
    pub(crate) fn is_exact(self) -> bool {
        // SAFETY: the instance is alive.
        unsafe { ffi::Py_TYPE(self.as_ptr()) == T::class().get() }
    }

    /// A reference to the instance.
    pub(crate) fn to_owned(self) -> Owned {
        // SAFETY: the instance is alive, and the GIL is held: `This` exists only in a slot.
        unsafe { Owned::from_borrowed(self.0.cast()) }
    }

    /// The object, for a call into C that borrows it.
    pub(crate) fn as_ptr(self) -> *mut ffi::PyObject {
        self.0.as_ptr().cast()
    }

    /// The instance seen as one of a class whose value `U` is the first field of this one's.
    ///
    /// # Safety
    ///
    /// `T` is `repr(C)` and its first field is a `U`.
    pub(crate) unsafe fn base<U>(self) -> This<'a, U> {
        This(self.0.cast(), PhantomData)
    }
}

/// A field that holds any object, and knows whether it is an instance of a class.
#[derive(Default)]
pub(crate) struct MaybeInstance<T> {
    object: ObjectCell,
    /// The object if it is an instance, null if not: looking it up costs a walk through the classes it derives from.
    instance: std::cell::Cell<*mut ffi::PyObject>,
    class: PhantomData<T>,
}

impl<T: Class> MaybeInstance<T> {
    /// Holds an instance.
    #[inline]
    pub(crate) fn new(instance: This<'_, T>) -> Self {
        let object = ObjectCell::new(instance.to_owned());
        Self { instance: std::cell::Cell::new(object.as_ptr()), object, class: PhantomData }
    }

    /// The object, whatever it is.
    #[inline]
    pub(crate) fn object(&self) -> &ObjectCell {
        &self.object
    }

    /// Holds an object. Returns the former one.
    #[must_use = "dropping what was replaced runs arbitrary Python: do it where nothing is borrowed"]
    pub(crate) fn replace(&self, object: Option<Owned>) -> Option<Owned> {
        let instance = object.as_ref().filter(|object| This::<T>::of(object).is_some()).map(Owned::as_ptr);
        self.instance.set(instance.unwrap_or(ptr::null_mut()));
        self.object.replace(object)
    }

    /// Whether it holds an instance.
    #[inline]
    pub(crate) fn is_instance(&self) -> bool {
        !self.instance.get().is_null()
    }

    /// Runs `work` on the instance, which it keeps alive meanwhile; nothing where it is none.
    #[inline]
    pub(crate) fn with<R>(&self, work: impl FnOnce(This<'_, T>) -> R) -> Option<R> {
        if !self.is_instance() {
            return None;
        }
        let object = self.object.get()?;
        // SAFETY: `replace` has checked the class of the object that is held, and nothing else changes `instance`.
        Some(work(unsafe { This::from_ptr(object.as_ptr()) }))
    }
}

/// Passes what an object refers to on to the garbage collector.
pub(crate) struct Visit {
    function: ffi::visitproc,
    arg: *mut c_void,
    result: c_int,
}

impl Visit {
    /// Visits an object.
    pub(crate) fn object(&mut self, object: &Owned) {
        self.ptr(object.as_ptr());
    }

    /// Visits the content of a cell.
    pub(crate) fn cell(&mut self, cell: &ObjectCell) {
        self.ptr(cell.as_ptr());
    }

    /// Visits an object; null is none.
    pub(super) fn ptr(&mut self, object: *mut ffi::PyObject) {
        if self.result == 0 && !object.is_null() {
            // SAFETY: the collector passed the function and its argument for this traversal; the object is alive.
            self.result = unsafe { (self.function)(object, self.arg) };
        }
    }
}

/// What the garbage collector needs of a class.
pub(crate) trait Collected: Class + Default {
    /// Visits every object the value holds a reference to.
    fn traverse(&self, visit: &mut Visit);
    /// Drops every reference that could be part of a cycle.
    fn clear(&self);
}

/// What a class needs whose instances have a last word, weak references and attributes of their users' own.
pub(crate) trait Finalized: Collected {
    /// Whether instances ever have a last word.
    const SPEAKS: bool = false;
    /// Where the memory of instances is kept.
    fn freelist() -> &'static Freelist;
    /// Whether [`Finalized::finalize`] has something to say.
    fn has_last_word(&self) -> bool {
        false
    }
    /// The last word, said while the instance is whole. It may keep the instance alive.
    fn finalize(_: Python<'_>, _: This<'_, Self>) {}
    /// Leaves every list that finds the instance without holding it. Called before anything of it is dropped.
    fn leave_lists(&self) {}
    /// The weak references to it, where it takes any.
    fn weak_references(&self) -> Option<&WeakList> {
        None
    }
}

/// Collects what a class is made of, and makes it.
pub(crate) struct Builder<T> {
    name: &'static CStr,
    flags: u64,
    slots: Vec<ffi::PyType_Slot>,
    methods: Vec<ffi::PyMethodDef>,
    properties: Vec<ffi::PyGetSetDef>,
    members: Vec<ffi::PyMemberDef>,
    pub(super) base: *mut ffi::PyTypeObject,
    /// A second class that it derives from, which adds no fields.
    pub(super) second_base: *mut ffi::PyTypeObject,
    /// What `await` steps, see [`Builder::awaited_in_place`].
    next: Option<ffi::iternextfunc>,
    class: PhantomData<T>,
}

impl<T: Class> Builder<T> {
    /// A class with this name, module first.
    pub(crate) fn new(name: &'static CStr) -> Self {
        Self {
            name,
            flags: ffi::Py_TPFLAGS_DEFAULT,
            slots: Vec::new(),
            methods: Vec::new(),
            properties: Vec::new(),
            members: Vec::new(),
            base: ptr::null_mut(),
            second_base: ptr::null_mut(),
            next: None,
            class: PhantomData,
        }
    }

    /// Instances are their own iterators where the interpreter awaits them, without an object in between. Python does not
    /// see it: there is no `__next__`, and who calls `__await__`, a method, gets what that returns.
    pub(crate) fn awaited_in_place(mut self, next: ffi::iternextfunc) -> Self {
        self.next = Some(next);
        self
    }

    /// A class that only native code makes instances of. Called last.
    pub(crate) fn without_constructor(mut self) -> Self {
        self.flags |= ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION;
        self.slots.retain(|slot| slot.slot != ffi::Py_tp_new);
        self
    }

    /// A class that native classes or Python classes derive from.
    pub(crate) fn subclassable(mut self) -> Self {
        self.flags |= ffi::Py_TPFLAGS_BASETYPE;
        self
    }

    /// The class it derives from.
    ///
    /// # Safety
    ///
    /// `T` is `repr(C)` and its first field is the base's value.
    pub(crate) unsafe fn derived_from<B: Class>(mut self) -> Self {
        self.base = B::class().get();
        self
    }

    /// Its documentation.
    pub(crate) fn doc(self, doc: &'static CStr) -> Self {
        self.slot(ffi::Py_tp_doc, doc.as_ptr().cast_mut().cast())
    }

    /// Its methods.
    pub(crate) fn methods(mut self, methods: impl IntoIterator<Item = ffi::PyMethodDef>) -> Self {
        self.methods.extend(methods);
        self
    }

    /// Its properties.
    pub(crate) fn properties(mut self, properties: impl IntoIterator<Item = ffi::PyGetSetDef>) -> Self {
        self.properties.extend(properties);
        self
    }

    /// A slot of the C API.
    pub(crate) fn slot(mut self, slot: c_int, function: *mut c_void) -> Self {
        self.slots.push(ffi::PyType_Slot { slot, pfunc: function });
        self
    }

    /// Instances can be referred to weakly; `offset` is that of a [`WeakList`] in the value.
    pub(crate) fn weakly_referenced(mut self, offset: usize) -> Self {
        self.members.push(ffi::PyMemberDef {
            name: c"__weaklistoffset__".as_ptr(),
            type_code: ffi::Py_T_PYSSIZET,
            offset: (offset_of!(Instance<T>, value) + offset) as ffi::Py_ssize_t,
            flags: ffi::Py_READONLY,
            doc: ptr::null(),
        });
        self
    }

    /// Instances take attributes of their users' own; `offset` is that of a [`Attributes`] in the value.
    pub(crate) fn with_attributes(mut self, offset: usize) -> Self {
        self.members.push(ffi::PyMemberDef {
            name: c"__dictoffset__".as_ptr(),
            type_code: ffi::Py_T_PYSSIZET,
            offset: (offset_of!(Instance<T>, value) + offset) as ffi::Py_ssize_t,
            flags: ffi::Py_READONLY,
            doc: ptr::null(),
        });
        self.properties.push(super::method::property(
            c"__dict__",
            ffi::PyObject_GenericGetDict,
            Some(ffi::PyObject_GenericSetDict),
        ));
        self
    }

    /// Makes the class and keeps it for [`Class::class`].
    pub(crate) fn build(mut self, py: Python<'_>) -> Result<Owned> {
        // CPython keeps pointers to these tables for as long as the class lives: as long as the process.
        self.methods.push(ffi::PyMethodDef::zeroed());
        self.properties.push(ffi::PyGetSetDef::default());
        // SAFETY: all fields of a member definition are numbers and pointers, for which zero is valid: it ends the table.
        self.members.push(unsafe { std::mem::zeroed() });
        let methods = self.methods.leak().as_mut_ptr();
        let properties = self.properties.leak().as_mut_ptr();
        let members = self.members.leak().as_mut_ptr();
        self.slots.extend([
            ffi::PyType_Slot { slot: ffi::Py_tp_methods, pfunc: methods.cast() },
            ffi::PyType_Slot { slot: ffi::Py_tp_getset, pfunc: properties.cast() },
            ffi::PyType_Slot { slot: ffi::Py_tp_members, pfunc: members.cast() },
            ffi::PyType_Slot { slot: 0, pfunc: ptr::null_mut() },
        ]);
        let mut spec = ffi::PyType_Spec {
            name: self.name.as_ptr(),
            basicsize: size_of::<Instance<T>>() as c_int,
            itemsize: 0,
            flags: self.flags as c_uint,
            slots: self.slots.as_mut_ptr(),
        };
        // SAFETY: the specification is complete: sizes are those of the instance, tables and slots end with zeros, and
        // the tables live for ever. A base is a class made before.
        let class = unsafe {
            if self.base.is_null() {
                Owned::from_returned(ffi::PyType_FromSpec(&raw mut spec))?
            } else {
                let count = if self.second_base.is_null() { 1 } else { 2 };
                let bases = Owned::from_returned(ffi::PyTuple_Pack(count, self.base, self.second_base))?;
                Owned::from_returned(ffi::PyType_FromSpecWithBases(&raw mut spec, bases.as_ptr()))?
            }
        };
        if let Some(next) = self.next {
            // SAFETY: a new class, which nobody uses yet. A heap type has room for all slots. They are filled in only now:
            // a slot that is there when the class is made gets a wrapper that Python sees.
            unsafe {
                let class = class.as_ptr().cast::<ffi::PyTypeObject>();
                (*class).tp_iternext = Some(next);
                (*(*class).tp_as_async).am_await = Some(itself);
            }
        }
        T::class().0.store(class.clone().into_ptr().cast(), Ordering::Relaxed);
        let _ = py;
        Ok(class)
    }
}

impl<T: Collected> Builder<T> {
    /// Instances are made by Python and take part in garbage collection.
    pub(crate) fn collected(mut self) -> Self {
        self.flags |= ffi::Py_TPFLAGS_HAVE_GC;
        self.slot(ffi::Py_tp_new, life::new::<T> as *mut c_void)
            .slot(ffi::Py_tp_dealloc, life::dealloc_collected::<T> as *mut c_void)
            .slot(ffi::Py_tp_traverse, life::traverse::<T> as *mut c_void)
            .slot(ffi::Py_tp_clear, life::clear::<T> as *mut c_void)
    }
}

impl<T: Finalized> Builder<T> {
    /// Instances have a last word. They keep their memory on a freelist.
    pub(crate) fn finalized(self) -> Self {
        let class = self
            .collected()
            .replace_slot(ffi::Py_tp_new, life::new_finalized::<T> as *mut c_void)
            .replace_slot(ffi::Py_tp_dealloc, life::dealloc_finalized::<T> as *mut c_void);
        if T::SPEAKS { class.slot(ffi::Py_tp_finalize, life::finalize::<T> as *mut c_void) } else { class }
    }

    fn replace_slot(mut self, slot: c_int, function: *mut c_void) -> Self {
        self.slots.retain(|other| other.slot != slot);
        self.slot(slot, function)
    }
}

/// The attributes that users of an instance have set on it: a dictionary, made by the interpreter when it is needed.
#[repr(transparent)]
#[derive(Default)]
pub(crate) struct Attributes(ObjectCell);

impl Attributes {
    /// What the garbage collector has to visit.
    pub(crate) fn content(&self) -> &ObjectCell {
        &self.0
    }
}

/// A value's list of weak references.
#[repr(transparent)]
pub(crate) struct WeakList(std::cell::UnsafeCell<*mut ffi::PyObject>);

impl Default for WeakList {
    fn default() -> Self {
        Self(std::cell::UnsafeCell::new(ptr::null_mut()))
    }
}

impl WeakList {
    /// Whether there is a weak reference.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        // SAFETY: CPython changes the field under the GIL, which is held.
        unsafe { (*self.0.get()).is_null() }
    }
}

unsafe extern "C" fn itself(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: the interpreter calls the slot with an instance that is alive.
    guard("am_await", |_| Ok(unsafe { Owned::from_borrowed(NonNull::new_unchecked(object)) }))
}
