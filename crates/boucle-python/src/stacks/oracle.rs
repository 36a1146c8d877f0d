//! Whether what is read from a running thread is true: for the tests, which call this from Python.
//!
//! A program says what it executes by a number, which it publishes when it enters the place and takes back when it leaves
//! it. A native thread walks the program's thread as often as it can. Where the number was the same before and after, the
//! answer must be the one that the number stands for:
//!
//! * the innermost frame of the program is in the function `f<number>`, whose first line is `number % 30000 + 1`, two lines
//!   further down;
//! * as many frames as were published are in the same function too, one line further down than the first.
//!
//! Frames of other files, which are deeper, are whatever they are.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use boucle_core::recorder::line_table::{self, Format};

use super::{Frame, Holder, Reader, Rejected, Subject, Trace};

/// How many different answers are kept to be shown.
const SHOWN: usize = 8;
/// How many different first lines functions have.
const FIRST_LINES: u64 = 30000;
/// The bits of a published number that say how many frames call the innermost.
const DEPTH_BITS: u32 = 8;

/// Walks a thread and compares.
#[pyclass(module = "boucle._boucle", frozen)]
#[derive(Debug)]
pub(crate) struct StackOracle {
    shared: Arc<Shared>,
    walker: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    reader: Reader,
    subject: Subject,
    /// The file of the program.
    file: String,
    /// What it says that it executes; 0 for nothing.
    published: AtomicU64,
    stopping: AtomicBool,
    counts: Counts,
    wrong: Mutex<VecDeque<String>>,
}

/// How many walks came out how.
#[derive(Debug, Default)]
struct Counts {
    walks: AtomicU64,
    restless: AtomicU64,
    inconsistent: AtomicU64,
    comparable: AtomicU64,
    equal: AtomicU64,
    /// How often only frames that stayed were read.
    blurred: AtomicU64,
    /// How often the thread held the GIL.
    holding: AtomicU64,
    /// How often the garbage collector was at work.
    collecting: AtomicU64,
}

#[pymethods]
impl StackOracle {
    /// Begins to walk the calling thread, whose program is in a file of this name.
    #[new]
    fn new(py: Python<'_>, file: String) -> PyResult<Self> {
        let reader = Reader::new(py).map_err(|refusal| PyRuntimeError::new_err(refusal.to_string()))?;
        let shared = Arc::new(Shared {
            reader,
            subject: Subject::current(py),
            file,
            published: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
            counts: Counts::default(),
            wrong: Mutex::default(),
        });
        let theirs = Arc::clone(&shared);
        let walker = std::thread::spawn(move || theirs.walk_on());
        Ok(Self { shared, walker: Mutex::new(Some(walker)) })
    }

    /// From now on this is executed, in a function that is called by so many frames of itself.
    fn enter(&self, number: u64, depth: u8) {
        self.shared.published.store(number << DEPTH_BITS | u64::from(depth), Ordering::SeqCst);
    }

    /// From now on nothing is said.
    fn leave(&self) {
        self.shared.published.store(0, Ordering::SeqCst);
    }

    /// How many walks there were, were rejected as restless and as inconsistent, were comparable and equal, and how often
    /// the innermost frames were left out, the thread held the GIL and the garbage collector was at work.
    fn counts(&self) -> [u64; 8] {
        let counts = &self.shared.counts;
        [
            &counts.walks,
            &counts.restless,
            &counts.inconsistent,
            &counts.comparable,
            &counts.equal,
            &counts.blurred,
            &counts.holding,
            &counts.collecting,
        ]
        .map(|count| count.load(Ordering::Relaxed))
    }

    /// Some of the answers that were wrong.
    fn wrong(&self) -> Vec<String> {
        self.shared.wrong.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Walks no more. A second call does nothing.
    fn stop(&self, py: Python<'_>) -> PyResult<()> {
        self.shared.stopping.store(true, Ordering::SeqCst);
        let walker = self.walker.lock().unwrap_or_else(PoisonError::into_inner).take();
        let ended = walker.map_or(Ok(()), |walker| py.detach(|| walker.join()));
        ended.map_err(|_| PyRuntimeError::new_err("the walking thread panicked"))
    }
}

impl Drop for StackOracle {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
    }
}

impl Shared {
    fn walk_on(&self) {
        while !self.stopping.load(Ordering::Relaxed) {
            let before = self.published.load(Ordering::SeqCst);
            let trace = self.reader.trace(self.subject);
            let after = self.published.load(Ordering::SeqCst);
            self.count(before, after, trace);
        }
    }

    fn count(&self, before: u64, after: u64, trace: Result<Trace, Rejected>) {
        let add = |count: &AtomicU64| count.fetch_add(1, Ordering::Relaxed);
        let counts = &self.counts;
        add(&counts.walks);
        if self.reader.gil() == Some(Holder::Thread(self.subject)) {
            add(&counts.holding);
        }
        if self.reader.is_collecting() == Some(true) {
            add(&counts.collecting);
        }
        if trace.as_ref().is_ok_and(|trace| trace.is_blurred) {
            add(&counts.blurred);
        }
        match trace {
            Err(Rejected::Restless) => {
                add(&counts.restless);
            }
            Err(Rejected::Inconsistent) => {
                add(&counts.inconsistent);
            }
            Ok(trace) if before == after && before != 0 && self.is_comparable(before, &trace) => {
                add(&counts.comparable);
                if self.is_equal(before, &trace.frames) {
                    add(&counts.equal);
                } else {
                    self.show(before, &trace.frames);
                }
            }
            Ok(_) => {}
        }
    }

    /// Whether anything can be said of a trace: not if it was cut before the program's own frames.
    fn is_comparable(&self, published: u64, trace: &Trace) -> bool {
        let (_, depth) = number_and_depth(published);
        !trace.is_cut || self.own(&trace.frames).count() as u64 > depth
    }

    /// Whether the frames are the ones that a published number stands for.
    fn is_equal(&self, published: u64, frames: &[Frame]) -> bool {
        let (number, depth) = number_and_depth(published);
        let function = format!("f{number}");
        let first_line = (number % FIRST_LINES) as u32 + 1;
        let mut own = self.own(frames);
        let is_at = |frame: &Frame, line: u32| {
            frame.function == function && frame.first_line == first_line && frame.line == first_line + line
        };
        own.next().is_some_and(|frame| is_at(frame, 2))
            && (0..depth).all(|_| own.next().is_some_and(|frame| is_at(frame, 1)))
            && own.next().is_none_or(|frame| frame.function != function)
    }

    /// The program's own frames.
    fn own<'a>(&'a self, frames: &'a [Frame]) -> impl Iterator<Item = &'a Frame> {
        frames.iter().filter(|frame| frame.file == self.file)
    }

    fn show(&self, published: u64, frames: &[Frame]) {
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        if wrong.len() < SHOWN {
            let (number, depth) = number_and_depth(published);
            wrong.push_back(format!(
                "f{number} called by {depth} frames of its own: {:?}",
                self.own(frames).collect::<Vec<_>>()
            ));
        }
    }
}

fn number_and_depth(published: u64) -> (u64, u64) {
    (published >> DEPTH_BITS, published % (1 << DEPTH_BITS))
}

/// The stack of the calling thread, the innermost first: function, file, line, first line.
pub(crate) fn stack(py: Python<'_>) -> PyResult<Vec<(String, String, u32, u32)>> {
    let refused = |why: String| PyRuntimeError::new_err(why);
    let reader = Reader::new(py).map_err(|refusal| refused(refusal.to_string()))?;
    let trace = reader.trace(Subject::current(py)).map_err(|rejected| refused(rejected.to_string()))?;
    let frames = trace.frames;
    Ok(frames.into_iter().map(|frame| (frame.function, frame.file, frame.line, frame.first_line)).collect())
}

/// The line of an offset in bytes, as a code object's table says.
pub(crate) fn line(table: &[u8], first_line: u32, offset: u32) -> Option<u32> {
    let format = if cfg!(Py_3_11) { Format::Locations } else { Format::Deltas };
    line_table::line(format, table, first_line, offset)
}
