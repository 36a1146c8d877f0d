//! Who is told, and when: the thread `boucle-report`, which takes the GIL, and the line that needs none.
//!
//! A person should read one text about one block, at once. Whoever has the GIL can be had within moments while a step sleeps
//! or waits, and `logging` does it all; while C code holds the GIL it cannot, and then the watcher writes its own line to
//! descriptor 2 at once. The log's record follows when the GIL can be had, and says how late it is.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use boucle_core::clock::{Scale, Stamp};
use boucle_core::futex;
use boucle_core::recorder::directory::describe;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::frequency::Permit;
use super::incident::{Incident, Step, stays};
use super::look::Look;
use super::text::{Begun, Ended, Stay, Victim, culprit, duration};
use super::waiting::{self, Carriers, Span};
use super::{annotations, queue, running};
use crate::raw::{GilOnce, Owned};

/// How long Python may take to get the GIL before the watcher tells by itself.
const PATIENCE: Duration = Duration::from_millis(2);

/// How long Python may take before a record says that it is late.
const LATE: Duration = Duration::from_millis(10);

/// How many messages wait for the GIL at most. A process that makes more has other troubles.
const MOST_MESSAGES: usize = 256;

enum Message {
    Begun(Arc<Incident>),
    Ended(Arc<Incident>, Vec<Look>, Duration),
    NoProcessor(Duration),
}

static MESSAGES: Mutex<VecDeque<Message>> = Mutex::new(VecDeque::new());

/// Counts messages: the word of a futex. The highest bit says that the thread is to end.
static POST: AtomicU32 = AtomicU32::new(0);
const CLOSED: u32 = 1 << 31;

/// What Python does with a report: `boucle._watching`. With it is held the code object that runs the loops.
static FACE: GilOnce<(Owned, Owned)> = GilOnce::new();

fn messages() -> MutexGuard<'static, VecDeque<Message>> {
    MESSAGES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Says what Python does with a report: an object with functions `tell`, `tell_no_processor` and `name`.
pub(super) fn set_face(py: Python<'_>, face: Owned, root: Owned) {
    FACE.set(py, (face, root));
}

fn face(py: Python<'_>) -> Borrowed<'_, '_, PyAny> {
    FACE.get(py).0.any(py)
}

/// The thread is about to start.
pub(super) fn open() {
    POST.store(0, Ordering::SeqCst);
}

/// Tells the thread to end, when it has told what there is to tell.
pub(super) fn close() {
    POST.fetch_or(CLOSED, Ordering::SeqCst);
    futex::wake(&POST);
}

/// In the child of a fork: what was to be told is the parent's to tell.
pub(super) fn forget() {
    messages().clear();
}

fn post(message: Message) {
    let mut messages = messages();
    if messages.len() < MOST_MESSAGES {
        messages.push_back(message);
    }
    drop(messages);
    POST.fetch_add(1, Ordering::SeqCst);
    futex::wake(&POST);
}

/// A step starves others.
pub(super) fn begun(incident: &Arc<Incident>) {
    post(Message::Begun(Arc::clone(incident)));
    if !incident.wait_for_python(PATIENCE) && incident.permit != Permit::Quiet {
        write_line(&sentence_without_python(incident));
    }
}

/// It has returned.
pub(super) fn ended(incident: Arc<Incident>, looks: Vec<Look>, held: Duration) {
    post(Message::Ended(incident, looks, held));
}

/// A step was long, and the operating system is to blame.
pub(super) fn no_processor(held: Duration) {
    post(Message::NoProcessor(held));
}

/// Writes a line to descriptor 2, in one call.
fn write_line(sentence: &str) {
    // Where it is closed there is nobody to be told.
    io::stderr().write_all(format!("boucle: {sentence}\n").as_bytes()).ok();
}

fn sentence_without_python(incident: &Incident) -> String {
    let who = Account::of(incident).culprit();
    let Step { identity, turn, .. } = incident.step;
    let span = Span { start: identity.running.start, end: incident.at };
    match queue::waiting(turn, span) {
        Some((count, victims)) => sentence(incident, &who, count, victims.first()),
        None => sentence(incident, &who, identity.running.ready as usize, None),
    }
}

fn sentence(incident: &Incident, who: &str, waiting: usize, longest: Option<&Victim>) -> String {
    let Incident { seen, held, permit, .. } = incident;
    let suppressed = if let Permit::Tell { suppressed } = *permit { suppressed } else { 0 };
    Begun {
        held: *held,
        culprit: who,
        place: incident.place(),
        cause: seen.cause,
        detail: &seen.detail,
        waiting,
        longest,
        suppressed,
    }
    .sentence()
}

/// Reports until it is told to end.
pub(super) fn report() {
    loop {
        let before = POST.load(Ordering::SeqCst);
        let message = messages().pop_front();
        match message {
            Some(message) => Python::attach(|py| tell(py, message)),
            None if before & CLOSED != 0 => return,
            None => futex::wait(&POST, before, None),
        }
    }
}

fn tell(py: Python<'_>, message: Message) {
    let result = match message {
        Message::Begun(incident) => tell_begun(py, &incident),
        Message::Ended(incident, looks, held) => tell_ended(py, &incident, &looks, held),
        Message::NoProcessor(held) => tell_no_processor(py, held),
    };
    if let Err(error) = result {
        // The face catches what users' code raises: this is ours.
        error.write_unraisable(py, None);
    }
}

/// Who it was.
struct Account {
    name: String,
    coroutine: String,
    annotation: String,
}

impl Account {
    fn of(incident: &Incident) -> Self {
        let actor = incident.step.identity.running.actor;
        let annotation = annotations::of(actor);
        match describe(actor) {
            Some(known) if known.is_task => Self { name: known.name, coroutine: known.function, annotation },
            Some(known) => Self { name: known.name, coroutine: String::new(), annotation },
            None => Self { name: "somebody".to_owned(), coroutine: String::new(), annotation },
        }
    }

    fn culprit(&self) -> String {
        culprit(&self.name, &self.coroutine, &self.annotation)
    }
}

fn tell_begun(py: Python<'_>, incident: &Incident) -> PyResult<()> {
    let was_written = incident.take_over();
    let scale = Scale::measure();
    let late = Duration::from_nanos(scale.nanos(Stamp::now().since(incident.at) as f64));
    let face = face(py);
    let identity = incident.step.identity;
    let account = Account::of(incident);
    // Only while the step goes on its loop's queue is the one that waits for it.
    let loop_object = running::object(py, incident.step.ring).filter(|_| running::runs(incident.step.ring, identity));
    let span = Span { start: identity.running.start, end: incident.at };
    let (count, victims) = if let Some(object) = &loop_object {
        waiting::queued(py, object, span, &face.getattr("name")?, &mut Carriers::new())
    } else {
        let victims = victims(py, incident, span, incident.held)?;
        (victims.len(), victims)
    };
    let mut sentence = sentence(incident, &account.culprit(), count, victims.first());
    if late > LATE {
        sentence = format!("{sentence} (told {} late: the GIL was held)", duration(late));
    }
    let fields = fields(py, incident, &account, &[only_stay(incident)], &victims)?;
    fields.set_item("duration", incident.held.as_secs_f64())?;
    fields.set_item("waiting", count)?;
    fields.set_item("late", if late > LATE { late.as_secs_f64() } else { 0.0 })?;
    fields.set_item("ended", false)?;
    let text = (incident.permit != Permit::Quiet).then_some(sentence);
    let object = loop_object.as_ref().map(|object| object.any(py));
    face.call_method1("tell", (text, was_written, fields, object))?;
    Ok(())
}

/// Where it is while it goes on: what one look tells.
fn only_stay(incident: &Incident) -> Stay {
    let seen = &incident.seen;
    Stay {
        place: incident.place().cloned(),
        cause: seen.cause,
        detail: seen.detail.clone(),
        called: super::look::called(&seen.stack),
        held: incident.held,
    }
}

fn tell_ended(py: Python<'_>, incident: &Incident, looks: &[Look], held: Duration) -> PyResult<()> {
    let scale = Scale::measure();
    let start = incident.step.identity.running.start;
    let stays = stays(looks, start, held, |stamps| scale.nanos(stamps as f64));
    let end = Stamp(start.0 + scale.stamps(held) as u64);
    let span = Span { start, end };
    let face = face(py);
    let victims = victims(py, incident, span, held)?;
    let account = Account::of(incident);
    let sentence = Ended { held, culprit: &account.culprit(), stays: &stays, victims: &victims }.sentence();
    let fields = fields(py, incident, &account, &stays, &victims)?;
    fields.set_item("duration", held.as_secs_f64())?;
    fields.set_item("waiting", victims.len())?;
    fields.set_item("late", 0.0)?;
    fields.set_item("ended", true)?;
    let text = (incident.permit != Permit::Quiet).then_some(sentence);
    face.call_method1("tell", (text, false, fields, py.None()))?;
    Ok(())
}

/// Who had to wait for a step that has returned: those that have run since and those that still wait.
fn victims(py: Python<'_>, incident: &Incident, span: Span, held: Duration) -> PyResult<Vec<Victim>> {
    let (mut victims, mut carriers) = waiting::served(incident.step.ring, incident.step.identity.sequence, span);
    if let Some(object) = running::object(py, incident.step.ring) {
        victims.extend(waiting::queued(py, &object, span, &face(py).getattr("name")?, &mut carriers).1);
    }
    victims.extend(waiting::callbacks(carriers, span));
    Ok(waiting::longest_first(victims, held))
}

fn tell_no_processor(py: Python<'_>, held: Duration) -> PyResult<()> {
    face(py).call_method1("tell_no_processor", (held.as_secs_f64(),))?;
    Ok(())
}

/// An incident as Python's `Incident` is made of it.
fn fields<'py>(
    py: Python<'py>,
    incident: &Incident,
    account: &Account,
    stays: &[Stay],
    victims: &[Victim],
) -> PyResult<Bound<'py, PyDict>> {
    let main = stays.first().expect("an incident has the look that blames it");
    let fields = PyDict::new(py);
    fields.set_item("id", (incident.step.ring, incident.step.identity.sequence))?;
    fields.set_item("task", &account.name)?;
    fields.set_item("coroutine", &account.coroutine)?;
    fields.set_item("annotation", &account.annotation)?;
    fields.set_item("file", main.place.as_ref().map(|place| &place.file))?;
    fields.set_item("line", main.place.as_ref().map(|place| place.line))?;
    fields.set_item("cause", main.cause.word())?;
    fields.set_item("detail", &main.detail)?;
    let places: Vec<_> = stays
        .iter()
        .filter_map(|stay| {
            let place = stay.place.as_ref()?;
            Some((&place.file, place.line, stay.cause.word(), stay.held.as_secs_f64()))
        })
        .collect();
    fields.set_item("places", places)?;
    let stack: Vec<_> = incident.seen.stack.iter().map(|place| (&place.file, place.line, &place.function)).collect();
    fields.set_item("stack", stack)?;
    let victims: Vec<_> =
        victims.iter().map(|victim| (&victim.name, &victim.coroutine, victim.waited.as_secs_f64())).collect();
    fields.set_item("victims", victims)?;
    Ok(fields)
}
