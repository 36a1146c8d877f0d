//! Which threads and tasks get a lane, and in which order.

use super::{Lane, Subject};
use crate::analysis::{Analysis, is_task};
use crate::model::{ActorId, Chronology, Left, Nanos, Origin, Place, StepId, ThreadId};
use crate::{name, quantity};
use std::collections::HashMap;

/// Lanes in their order, still empty, and how many more there could be.
pub(super) struct Chosen {
    pub(super) lanes: Vec<Lane>,
    pub(super) not_drawn: usize,
}

/// A lane for each thread that ran steps, or for the `most` busiest.
pub(super) fn threads(chronology: &Chronology, analysis: &Analysis, most: usize) -> Chosen {
    let mut ran = vec![false; chronology.threads.len()];
    for step in &chronology.steps {
        ran[step.thread.index()] = true;
    }
    let all: Vec<_> = (0..ran.len()).filter(|&thread| ran[thread]).map(|thread| ThreadId(thread as u32)).collect();
    let chosen = greatest(&all, most, |thread| analysis.threads[thread.index()].busy);
    let not_drawn = all.len() - chosen.len();
    let lane = |thread: ThreadId| Lane {
        subject: Subject::Thread(thread),
        depth: 0,
        name: match all.len() {
            1 => "processor".to_owned(),
            _ => name::shown(&chronology.threads[thread.index()].name),
        },
        caption: format!("busy {}", quantity::percent(analysis.threads[thread.index()].utilisation)),
        file: String::new(),
        segments: Vec::new(),
    };
    Chosen { lanes: chosen.into_iter().map(lane).collect(), not_drawn }
}

/// A lane for each task that ran, or for `most` of them: culprits and victims first, then the busiest.
pub(super) fn tasks(chronology: &Chronology, analysis: &Analysis, most: usize) -> Chosen {
    let mut appeared = Vec::new();
    let mut seen = vec![false; chronology.actors.len()];
    for step in &chronology.steps {
        if is_task(chronology, step.actor) && !std::mem::replace(&mut seen[step.actor.index()], true) {
            appeared.push(step.actor);
        }
    }
    let involved = involved(analysis, chronology.actors.len());
    let rank = |actor: ActorId| (involved[actor.index()], analysis.actors[actor.index()].busy);
    let chosen = greatest(&appeared, most, rank);
    let lane = |(actor, depth): (ActorId, usize)| {
        let of_actor = &chronology.actors[actor.index()];
        Lane {
            subject: Subject::Task(actor),
            depth,
            name: name::shown(&of_actor.name),
            caption: String::new(),
            file: String::new(),
            segments: Vec::new(),
        }
    };
    let not_drawn = appeared.len() - chosen.len();
    let mut lanes: Vec<_> = below_parents(chronology, &chosen).into_iter().map(lane).collect();
    find_files(chronology, &mut lanes);
    for lane in &mut lanes {
        lane.caption = caption(chronology, lane);
    }
    Chosen { lanes, not_drawn }
}

/// The steps of each lane, in order.
pub(super) fn steps(chronology: &Chronology, lanes: &[Lane]) -> Vec<Vec<StepId>> {
    let mut of_thread = vec![None; chronology.threads.len()];
    let mut of_actor = vec![None; chronology.actors.len()];
    for (index, lane) in lanes.iter().enumerate() {
        match lane.subject {
            Subject::Thread(thread) => of_thread[thread.index()] = Some(index),
            Subject::Task(actor) => of_actor[actor.index()] = Some(index),
        }
    }
    let mut steps = vec![Vec::new(); lanes.len()];
    for (index, step) in chronology.steps.iter().enumerate() {
        for lane in [of_thread[step.thread.index()], of_actor[step.actor.index()]].into_iter().flatten() {
            steps[lane].push(StepId(index as u32));
        }
    }
    steps
}

/// Gives each task's lane the file of its coroutine: of the places where its steps resumed or left, the first in that
/// coroutine; else the first in the user's own code; else the first.
fn find_files(chronology: &Chronology, lanes: &mut [Lane]) {
    let mut of_actor = vec![None; chronology.actors.len()];
    for (index, lane) in lanes.iter().enumerate() {
        if let Subject::Task(actor) = lane.subject {
            of_actor[actor.index()] = Some((index, 0));
        }
    }
    for step in &chronology.steps {
        let Some((lane, best)) = &mut of_actor[step.actor.index()] else { continue };
        let left = if let Left::Awaited(place) = step.left { Some(place) } else { None };
        for place in [step.resumed, left].into_iter().flatten() {
            let place = &chronology.places[place.index()];
            let fits = fitness(place, &chronology.actors[step.actor.index()].function);
            if fits > *best {
                *best = fits;
                lanes[*lane].file.clone_from(&place.file);
            }
        }
    }
}

fn caption(chronology: &Chronology, lane: &Lane) -> String {
    let Subject::Task(actor) = lane.subject else { return String::new() };
    let function = &chronology.actors[actor.index()].function;
    let parts = [function.as_str(), name::file_name(&lane.file)];
    parts.into_iter().filter(|part| !part.is_empty()).map(name::shown).collect::<Vec<_>>().join(" · ")
}

fn fitness(place: &Place, coroutine: &str) -> u8 {
    if place.function == coroutine {
        3
    } else if place.origin == Origin::User {
        2
    } else {
        1
    }
}

/// The `most` greatest items by rank, in the order in which they came; of equals, the first.
fn greatest<T: Copy, R: Ord>(items: &[T], most: usize, rank: impl Fn(T) -> R) -> Vec<T> {
    let mut order: Vec<usize> = (0..items.len()).collect();
    if items.len() > most {
        order.sort_by_key(|&index| std::cmp::Reverse(rank(items[index])));
        order.truncate(most);
        order.sort_unstable();
    }
    order.into_iter().map(|index| items[index]).collect()
}

/// By actor, how much it has to do with starvations: culprits before victims, then by time.
fn involved(analysis: &Analysis, actors: usize) -> Vec<(bool, Nanos)> {
    let mut involved = vec![(false, 0); actors];
    for starvation in &analysis.starvations {
        let culprit = &mut involved[starvation.actor.index()];
        *culprit = (*culprit).max((true, starvation.duration));
        for victim in &starvation.victims {
            let victim_of = &mut involved[victim.actor.index()];
            *victim_of = (*victim_of).max((false, victim.waited));
        }
    }
    involved
}

/// Each task after its nearest ancestor that is among them, with the number of such ancestors.
fn below_parents(chronology: &Chronology, tasks: &[ActorId]) -> Vec<(ActorId, usize)> {
    let position: HashMap<ActorId, usize> = tasks.iter().enumerate().map(|(index, &task)| (task, index)).collect();
    let mut children = vec![Vec::new(); tasks.len()];
    let mut roots = Vec::new();
    for (index, &task) in tasks.iter().enumerate() {
        match ancestor(chronology, task, &position) {
            Some(parent) => children[parent].push(index),
            None => roots.push(index),
        }
    }
    let mut ordered = Vec::with_capacity(tasks.len());
    let mut placed = vec![false; tasks.len()];
    // Tasks that are each other's ancestors, which no program makes but a file can say, are roots at the end.
    for root in roots.into_iter().chain(0..tasks.len()) {
        let mut stack = vec![(root, 0)];
        while let Some((index, depth)) = stack.pop() {
            if !std::mem::replace(&mut placed[index], true) {
                ordered.push((tasks[index], depth));
                stack.extend(children[index].iter().rev().map(|&child| (child, depth + 1)));
            }
        }
    }
    ordered
}

/// The nearest ancestor of `task` that has a position.
fn ancestor(chronology: &Chronology, task: ActorId, position: &HashMap<ActorId, usize>) -> Option<usize> {
    let mut next = chronology.actors[task.index()].parent;
    // No line of ancestors is longer than there are actors.
    for _ in 0..chronology.actors.len() {
        let parent = next?;
        if let Some(&found) = position.get(&parent) {
            return Some(found);
        }
        next = chronology.actors[parent.index()].parent;
    }
    None
}
