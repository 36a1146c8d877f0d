//! Who had to wait for a step: those that still do, and those that have run since.

use std::collections::HashMap;
use std::time::Duration;

use boucle_core::clock::{Moment, Scale, Stamp};
use boucle_core::recorder::directory::describe;
use boucle_core::recorder::{WokenBy, rings};
use pyo3::prelude::*;

use super::text::Victim;
use crate::directory::CALLBACK;
use crate::loop_core::LoopCore;
use crate::raw::guard::discard;
use crate::raw::{Owned, This};

/// How many of those that wait are asked for their names.
const ASKED: usize = 1000;

/// The time that a step held, so far or in all.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    /// From when.
    pub(super) start: Stamp,
    /// Until when.
    pub(super) end: Stamp,
}

impl Span {
    /// How much of it somebody waited who was ready from `since` until `until`.
    pub(super) fn overlap(self, since: Stamp, until: Stamp, scale: &Scale) -> Duration {
        let stamps = self.end.min(until).since(self.start.max(since));
        Duration::from_nanos(scale.nanos(stamps as f64))
    }
}

/// Since when callbacks that have run were ready, and who ran, by the name that those know them by whom they woke up.
pub(super) type Carriers = HashMap<WokenBy, (Stamp, u32)>;

/// Those in the queue of a loop, with the due timers: how many, and the first of them by name, the longest wait first.
/// `name` is a function of Python's, of a list of what is queued. Who was woken up by a carrier, which is taken out, has
/// been waiting for as long.
pub(super) fn queued(
    py: Python<'_>,
    object: &Owned,
    span: Span,
    name: &Bound<'_, PyAny>,
    carriers: &mut Carriers,
) -> (usize, Vec<Victim>) {
    let scale = Scale::measure();
    let core = This::<LoopCore>::of(object);
    let ready = core.map(|core| core.waiting(Moment::now(), &scale)).unwrap_or_default();
    let mut ready: Vec<_> = ready
        .into_iter()
        .map(|one| (one.item, carriers.remove(&one.woken_by).map_or(one.since, |(since, _)| since.min(one.since))))
        .filter(|(_, since)| *since < span.end)
        .collect();
    let count = ready.len();
    ready.sort_by_key(|(_, since)| *since);
    ready.truncate(ASKED);
    let items: Vec<_> = ready.iter().map(|(item, _)| item.any(py)).collect();
    let names = name.call1((items,)).and_then(|names| names.extract::<Vec<(String, String)>>());
    let names = names.unwrap_or_else(|error| {
        discard(py, error);
        Vec::new()
    });
    let victims = ready
        .iter()
        .zip(names)
        .map(|((_, since), (name, coroutine))| {
            let waited = span.overlap(*since, span.end, &scale);
            Victim { name, coroutine, waited }
        })
        .collect();
    (count, victims)
}

/// Those that ran after a step and were ready before it ended. `sequence` is that of the step. Of callbacks it is not known
/// whether they were victims: one that only wakes a task up, as that of a sleep does, was none, but the task was, for as long.
/// Those whom nobody is known to have been woken up by are given back.
pub(super) fn served(ring: u32, sequence: u64, span: Span) -> (Vec<Victim>, Carriers) {
    let mut carriers = Carriers::new();
    let Some(ring) = rings::all().get(ring as usize).cloned() else { return (Vec::new(), carriers) };
    let scale = Scale::measure();
    let mut waits: HashMap<u32, Duration> = HashMap::new();
    let reading = ring.ring.read(sequence + 1);
    for (sequence, step) in (reading.first..).zip(reading.steps) {
        let own = Stamp(step.start.0.saturating_sub(step.waited as u64));
        let since = carriers.remove(&step.woken_by).map_or(own, |(carried, _)| carried.min(own));
        if since >= span.end {
            continue;
        }
        if step.actor & CALLBACK != 0 {
            carriers.insert(WokenBy::step(sequence), (since, step.actor));
        } else {
            let wait = waits.entry(step.actor).or_default();
            *wait = (*wait).max(span.overlap(since, step.start, &scale));
        }
    }
    (waits.into_iter().filter_map(|(actor, waited)| victim(actor, waited)).collect(), carriers)
}

/// Callbacks that woke nobody up: they were victims themselves.
pub(super) fn callbacks(carriers: Carriers, span: Span) -> Vec<Victim> {
    let scale = Scale::measure();
    let victims = carriers.into_values();
    victims.filter_map(|(since, actor)| victim(actor, span.overlap(since, span.end, &scale))).collect()
}

/// An actor that waited so long, by its name; nothing where that is forgotten.
pub(super) fn victim(actor: u32, waited: Duration) -> Option<Victim> {
    let known = describe(actor)?;
    let coroutine = if known.is_task { known.function } else { String::new() };
    Some(Victim { name: known.name, coroutine, waited })
}

/// Those of several lists, each once, the longest wait first. Nobody waited longer than the step held; waits too short to
/// be shown are left out.
pub(super) fn longest_first(victims: impl IntoIterator<Item = Victim>, held: Duration) -> Vec<Victim> {
    let mut unique: Vec<Victim> = Vec::new();
    for mut victim in victims {
        victim.waited = victim.waited.min(held);
        if victim.waited < Duration::from_millis(1) {
            continue;
        }
        match unique.iter_mut().find(|known| known.name == victim.name && known.coroutine == victim.coroutine) {
            Some(known) => known.waited = known.waited.max(victim.waited),
            None => unique.push(victim),
        }
    }
    unique.sort_by(|one, other| other.waited.cmp(&one.waited).then_with(|| one.name.cmp(&other.name)));
    unique
}
