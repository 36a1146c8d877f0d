//! What the numbers in the recorder stand for, and recordings.
//!
//! A place is a `Location` of the compiler: where a task called what it awaits (`sleep` notes its caller). So a step is
//! labelled with lines without any help of the program.

use std::panic::Location;
use std::sync::{Mutex, MutexGuard, PoisonError};

use boucle_chronology::{Actor, ActorKind, Chronology, Origin, Place};
use boucle_core::clock::Stamp;
use boucle_core::recorder::chronicle::{Names, Start, chronicle};
use boucle_core::recorder::recent::Recent;

/// How many tasks' names are kept.
const REMEMBERED_TASKS: usize = 1 << 17;

/// The number of the timers: what wakes a sleeping task is a callback that belongs to none.
pub(crate) const TIMER: u32 = u32::MAX;

struct Task {
    name: String,
    function: &'static str,
}

struct Directory {
    tasks: Recent<Task>,
    /// How many tasks have been named by their number.
    numbered: u64,
    /// The functions that steps were left in, each with its file.
    codes: Vec<(&'static str, &'static str)>,
}

static DIRECTORY: Mutex<Directory> =
    Mutex::new(Directory { tasks: Recent::new(REMEMBERED_TASKS, TIMER), numbered: 0, codes: Vec::new() });

fn directory() -> MutexGuard<'static, Directory> {
    DIRECTORY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The number of a new task.
pub(crate) fn task<F>(name: Option<&str>) -> u32 {
    let mut directory = directory();
    let name = name.map_or_else(
        || {
            directory.numbered += 1;
            format!("Task-{}", directory.numbered)
        },
        str::to_owned,
    );
    directory.tasks.push(Task { name, function: function_name::<F>() })
}

/// The actor of timers.
pub(crate) fn timer_actor() -> crate::event_loop::Actor {
    crate::event_loop::Actor { number: TIMER, begun: true }
}

/// The number of the code that an actor was left in.
pub(crate) fn code(actor: u32, location: &'static Location<'static>) -> u32 {
    let mut directory = directory();
    let function = directory.tasks.get(actor).map_or("", |task| task.function);
    let code = (function, location.file());
    let known = directory.codes.iter().position(|entry| *entry == code);
    let index = known.unwrap_or_else(|| {
        directory.codes.push(code);
        directory.codes.len() - 1
    });
    index as u32
}

/// The name of the `async fn` or block behind a future's type.
fn function_name<F>() -> &'static str {
    let name = std::any::type_name::<F>();
    let name = name.trim_end_matches("::{{closure}}");
    name.rsplit("::").next().unwrap_or(name)
}

impl Names for Directory {
    fn actor(&mut self, actor: u32) -> Actor {
        let (kind, name, function) = match self.tasks.get(actor) {
            Some(task) => (ActorKind::Task, task.name.clone(), task.function.to_owned()),
            None if actor == TIMER => (ActorKind::Callback, "timer".to_owned(), "timer".to_owned()),
            None => (ActorKind::Task, format!("task {actor}"), "?".to_owned()),
        };
        Actor { kind, name, function, parent: None }
    }

    /// The compiler tells where a task was made, not where its code begins.
    fn start(&mut self, _: u32) -> Option<Place> {
        None
    }

    fn place(&mut self, code: u32, offset: u32) -> Option<Place> {
        let (function, file) = self.codes.get(code as usize)?;
        Some(Place { function: (*function).to_owned(), file: (*file).to_owned(), line: offset, origin: Origin::User })
    }
}

/// A recording that goes on.
#[derive(Debug)]
pub struct Recording(Start);

impl Recording {
    /// Begins now.
    pub fn start() -> Self {
        Self(Start::now())
    }

    /// What ran since it began, in every thread. `program` is what a person would call what ran.
    pub fn chronology(&self, program: &str) -> Chronology {
        let recorded_by = concat!("boucle ", env!("CARGO_PKG_VERSION"), ", Rust").to_owned();
        chronicle(&self.0, Stamp::now(), &mut *directory(), program.to_owned(), recorded_by)
    }
}
