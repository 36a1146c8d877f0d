//! The numbers of tasks and code: found by the addresses of their objects, at each step.
//!
//! What a number stands for is written into the core's directory ([`boucle_core::recorder::directory`]), where anybody can
//! read it; here stands what needs Python. Numbers are given out once per process. Code is kept for ever, once: a program
//! has a bounded number of functions. Tasks come and go, so only the names of the last ones are kept; older ones have long
//! been overwritten in the ring too, unless hundreds of thousands of tasks live at once.
//!
//! # Invariants
//!
//! * A code object is held as long as its number is used: an address is never reused under a number.
//! * A task is *not* held: recording must not change when a program's objects die. It is known by its address and by the
//!   address of its coroutine, checked at each step, and forgotten when it ends.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::path::Path;
use std::ptr::NonNull;
use std::sync::OnceLock;

use boucle_chronology::Origin;
use boucle_core::recorder::directory::{Name, NewCode, Writer};
use boucle_core::recorder::line_table::Format;
use pyo3::ffi;
use pyo3::prelude::*;

use crate::connecting;
use crate::frames;
use crate::raw::guard::discard;
use crate::raw::{GilCell, GilOnce, Owned, This};
use crate::task::Task;

pub(crate) use boucle_core::recorder::directory::{CALLBACK, UNKNOWN_CODE};

/// How the line tables of this Python are laid out.
const LINES: Format = if cfg!(Py_3_11) { Format::Locations } else { Format::Deltas };

/// A hash of an address: a multiplication spreads its low bits, which are all that differs.
#[derive(Default)]
struct AddressHasher(u64);

impl Hasher for AddressHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_usize(byte.into());
        }
    }

    fn write_usize(&mut self, address: usize) {
        self.0 = (self.0 ^ address as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(26);
    }
}

type ByAddress<V> = HashMap<usize, V, BuildHasherDefault<AddressHasher>>;

/// A task that has not ended.
struct LiveTask {
    number: u32,
    coroutine: usize,
    /// Whether a step of it has been recorded.
    begun: bool,
}

/// How many codes can be looked up by their address alone.
const CACHED_CODES: usize = 256;

/// What is known of code that has a number.
#[derive(Clone, Copy)]
pub(crate) struct Known {
    pub(crate) number: u32,
    pub(crate) origin: Origin,
    /// Whether it is how asyncio's pure-Python task steps or wakes up.
    pub(crate) steps_a_task: bool,
}

impl Known {
    /// What is known of code without a number.
    const NOTHING: Self = Self { number: UNKNOWN_CODE, origin: Origin::Library, steps_a_task: false };
}

/// A code that was looked up, by its address.
type CachedCode = (usize, Known);

/// How objects are found, and who writes their descriptions.
struct Directory {
    /// The code that was looked up last, of all that share the low bits of its address: half the price of the map.
    cached_codes: Box<[CachedCode; CACHED_CODES]>,
    /// What has a number by its address, held so that the address stays its own.
    held: Vec<Owned>,
    codes_by_address: ByAddress<Known>,
    live_tasks: ByAddress<LiveTask>,
    writer: Writer,
}

impl Default for Directory {
    fn default() -> Self {
        Self {
            cached_codes: Box::new([(0, Known::NOTHING); CACHED_CODES]),
            held: Vec::new(),
            codes_by_address: ByAddress::default(),
            live_tasks: ByAddress::default(),
            writer: Writer::default(),
        }
    }
}

static DIRECTORY: GilOnce<GilCell<Directory>> = GilOnce::new();
static LIBRARY_FOLDERS: OnceLock<Vec<String>> = OnceLock::new();

fn get(py: Python<'_>) -> &GilCell<Directory> {
    DIRECTORY.get(py)
}

/// Finds out which folders hold code that is not the user's.
pub(crate) fn initialise(py: Python<'_>) -> PyResult<()> {
    let mut folders = Vec::new();
    for folder in py.import("boucle")?.getattr("__path__")?.try_iter()? {
        folders.push(folder?.extract::<String>()? + "/");
    }
    // The folder of the standard library is that which asyncio came from: sysconfig would take longer to import than we do.
    for folder in py.import("asyncio")?.getattr("__path__")?.try_iter()? {
        if let Some(library) = Path::new(&folder?.extract::<String>()?).parent() {
            folders.push(format!("{}/", library.display()));
        }
    }
    LIBRARY_FOLDERS.set(folders).ok();
    DIRECTORY.set(py, GilCell::new(Directory::default()));
    Ok(())
}

/// The attribute of a code object that holds its lines.
const LINE_TABLE: &str = "co_linetable";

/// What is written down about a piece of code before it gets a number.
struct Description {
    name: String,
    file: String,
    first_line: u32,
    /// The table of its lines, if it is code.
    lines: Option<Vec<u8>>,
}

/// Describes a code object. The code of 3.10 does not know its qualified name; a function or coroutine that runs it does.
fn describe_code(code: &Bound<'_, PyAny>, runs_it: Option<&Bound<'_, PyAny>>) -> PyResult<Description> {
    let name = code
        .getattr("co_qualname")
        .or_else(|missing| runs_it.ok_or(missing)?.getattr("__qualname__"))
        .or_else(|_| code.getattr("co_name"))?;
    Ok(Description {
        name: name.extract()?,
        file: code.getattr("co_filename")?.extract()?,
        first_line: code.getattr("co_firstlineno")?.extract()?,
        lines: code.getattr(LINE_TABLE).and_then(|table| table.extract()).ok(),
    })
}

/// Describes anything else that can be called, by its own name or that of its type.
fn describe_callable(callable: &Bound<'_, PyAny>) -> PyResult<Description> {
    let name = callable
        .getattr("__qualname__")
        .and_then(|name| name.extract::<String>())
        .or_else(|_| callable.get_type().qualname()?.extract::<String>())?;
    Ok(Description { name, file: String::new(), first_line: 0, lines: None })
}

/// Whose a file is, by its name.
pub(crate) fn origin(file: &str) -> Origin {
    let in_library = file.starts_with("<frozen ")
        || file.contains("/site-packages/")
        || file.contains("/dist-packages/")
        || LIBRARY_FOLDERS.get().into_iter().flatten().any(|folder| file.starts_with(folder.as_str()));
    if in_library || file.is_empty() { Origin::Library } else { Origin::User }
}

/// What is known of a code object, which gets a number if it has none. `runs_it` is the function or coroutine it was found
/// in, where that is at hand.
#[inline]
pub(crate) fn code(py: Python<'_>, code: NonNull<ffi::PyObject>, runs_it: Option<&Bound<'_, PyAny>>) -> Known {
    cached(py, code.as_ptr()).unwrap_or_else(|| look_up_code(py, code, runs_it))
}

/// What is known of a code object, if it was looked up lately. It runs no Python.
#[inline]
pub(crate) fn cached(py: Python<'_>, code: *mut ffi::PyObject) -> Option<Known> {
    let address = code as usize;
    let (cached, known) = get(py).borrow(py).cached_codes[cache_slot(address)];
    (cached == address).then_some(known)
}

/// Code objects are aligned to 16 bytes.
#[inline]
fn cache_slot(address: usize) -> usize {
    (address >> 4) % CACHED_CODES
}

#[cold]
fn look_up_code(py: Python<'_>, code: NonNull<ffi::PyObject>, runs_it: Option<&Bound<'_, PyAny>>) -> Known {
    let address = code.as_ptr() as usize;
    let known = get(py).borrow(py).codes_by_address.get(&address).copied();
    let known = known.unwrap_or_else(|| {
        // SAFETY: the caller borrows a code object that is alive.
        let object = unsafe { Owned::from_borrowed(code) };
        let description = describe_code(&object.any(py), runs_it);
        enter(py, address, object, description)
    });
    // A code without a number is not held, so its address may become another's.
    if known.number != UNKNOWN_CODE {
        get(py).borrow(py).cached_codes[cache_slot(address)] = (address, known);
    }
    known
}

/// The number of something that can be called and has no code object. `key` is an address that stands for it, and that
/// `object` keeps.
pub(crate) fn callable(py: Python<'_>, key: usize, object: &Owned, callable: &Bound<'_, PyAny>) -> u32 {
    let known = get(py).borrow(py).codes_by_address.get(&key).copied();
    known.unwrap_or_else(|| enter(py, key, object.clone(), describe_callable(callable))).number
}

#[cold]
fn enter(py: Python<'_>, key: usize, object: Owned, description: PyResult<Description>) -> Known {
    let Ok(description) = description else { return Known::NOTHING };
    let origin = origin(&description.file);
    let Description { name, file, first_line, lines } = description;
    let steps_a_task = file.ends_with("/asyncio/tasks.py") && (name.ends_with("__step") || name.ends_with("__wakeup"));
    let shuts_down = file.ends_with("/asyncio/base_events.py")
        && (name.ends_with("shutdown_asyncgens") || name.ends_with("shutdown_default_executor"));
    let lines = lines.as_deref().map(|table| (LINES, table));
    let mut directory = get(py).borrow(py);
    let number = directory.writer.enter(&NewCode { name: &name, file: &file, first_line, origin, lines, shuts_down });
    let known = Known { number, origin, steps_a_task };
    if number != UNKNOWN_CODE {
        directory.held.push(object);
        directory.codes_by_address.insert(key, known);
    }
    known
}

/// A task at a step: its number, and whether this is the first step of it that is recorded.
pub(crate) fn task(py: Python<'_>, task: &Owned, coroutine: &Owned) -> (u32, bool) {
    let (task_key, coroutine_key) = (task.as_ptr() as usize, coroutine.as_ptr() as usize);
    if let Some(live) = get(py).borrow(py).live_tasks.get_mut(&task_key)
        && live.coroutine == coroutine_key
    {
        let first = !std::mem::replace(&mut live.begun, true);
        return (live.number, first);
    }
    meet(py, task, coroutine)
}

#[cold]
fn meet(py: Python<'_>, task: &Owned, coroutine: &Owned) -> (u32, bool) {
    let name = task_name(&task.any(py));
    let code = code_of_coroutine(py, coroutine);
    let mut directory = get(py).borrow(py);
    let number = directory.writer.meet(Name::Given(&name), code);
    let live = LiveTask { number, coroutine: coroutine.as_ptr() as usize, begun: true };
    directory.live_tasks.insert(task.as_ptr() as usize, live);
    (number, true)
}

/// Gives a task of ours its number.
pub(crate) fn meet_native(py: Python<'_>, task: This<'_, Task>) -> u32 {
    let code = task.coroutine().get().map_or(UNKNOWN_CODE, |coroutine| code_of_coroutine(py, &coroutine));
    match task.name_or_serial() {
        Ok(name) => {
            let name = name.any(py);
            let name = name.extract::<&str>().unwrap_or_else(|unspeakable| {
                discard(py, unspeakable);
                ""
            });
            get(py).borrow(py).writer.meet(Name::Given(name), code)
        }
        Err(serial) => get(py).borrow(py).writer.meet(Name::Numbered(serial), code),
    }
}

/// A task was given another name.
pub(crate) fn rename(py: Python<'_>, number: u32, name: &Owned) {
    match name.any(py).extract::<&str>() {
        Ok(name) => get(py).borrow(py).writer.rename(number, name),
        Err(unspeakable) => discard(py, unspeakable),
    }
}

/// The number of the code that a coroutine runs.
fn code_of_coroutine(py: Python<'_>, coroutine: &Owned) -> u32 {
    if let Some(object) = frames::code(coroutine) {
        return code(py, object, Some(&coroutine.any(py))).number;
    }
    if let Some(object) = connecting::stands_for(py, coroutine).and_then(|object| NonNull::new(object.as_ptr())) {
        return code(py, object, Some(&coroutine.any(py))).number;
    }
    let coroutine_object = coroutine.any(py);
    if let Ok(object) = coroutine_object.getattr("cr_code") {
        NonNull::new(object.as_ptr()).map_or(UNKNOWN_CODE, |object| code(py, object, Some(&coroutine_object)).number)
    } else {
        let class: Owned = coroutine_object.get_type().into_any().into();
        callable(py, class.as_ptr() as usize, &class, &coroutine_object)
    }
}

fn task_name(task: &Bound<'_, PyAny>) -> String {
    task.call_method0("get_name").and_then(|name| name.str()?.extract()).unwrap_or_default()
}

/// Forgets a task that has ended.
pub(crate) fn task_ended(py: Python<'_>, task: &Owned) {
    get(py).borrow(py).live_tasks.remove(&(task.as_ptr() as usize));
}
