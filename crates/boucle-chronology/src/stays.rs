//! Where a long step was and what held it there, told from looks at it: the one answer that recordings, the live report and
//! the metrics give.
//!
//! A watchdog looks at a step now and then, so a time at a place is an estimate: the step is cut in the middle between
//! two looks. The first look's stretch begins with the step, the last one's ends with it.
//!
//! # Invariants
//!
//! * A place is the innermost frame of the user's own code, or the innermost frame where there is none. Looks at the
//!   same file and line are one place.
//! * A look that could not read the stack is taken to be where the look before it was, or else the one after it. So at
//!   most one stay has no place, and then it is the only one.
//! * The times of all stays add up to the step. The longest come first, where the time for which the operating system gave
//!   no processor does not count: it is nobody's fault. A stay that never had a processor comes last.
//! * The cause of a stay is what held it for the longest time, all stretches together; no processor only if nothing else
//!   was seen there. It is told by the look of its longest stretch.
//! * A step is blamed for the cause of its first stay.
//!
//! Times are nanoseconds or stamps, from wherever: only their differences matter.

use crate::model::{Cause, Origin, Place};
use std::cmp::Reverse;
use std::collections::HashMap;

/// One look at a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look<'a> {
    /// When. One that was, by its clock, outside of the step counts as at its begin or end.
    pub at: u64,
    /// The [`place`] of the stack; `None` where that could not be read.
    pub place: Option<&'a Place>,
    /// What held the processor.
    pub cause: Cause,
}

impl<'a> Look<'a> {
    /// A look that saw this stack, the innermost frame first; an empty one could not be read.
    pub fn at_stack(at: u64, stack: &'a [Place], cause: Cause) -> Self {
        Self { at, place: place(stack, |place| place.origin), cause }
    }
}

/// What is known of a step at one of its places, all visits together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stay {
    /// The look that tells it, as an index: what held the step there for longest, seen in the longest stretch of that.
    pub look: usize,
    /// The look whose stack says where that was: the same one, or its neighbour; `None` if no look could read one.
    pub stack: Option<usize>,
    /// What held it.
    pub cause: Cause,
    /// For how long it was there.
    pub held: u64,
    /// For how long of that it had no processor.
    pub withheld: u64,
}

/// The stays of a step, from the looks at it, the earliest first. There is one at least if there is a look.
pub fn of(looks: &[Look<'_>], begin: u64, end: u64) -> Vec<Stay> {
    let stacks = stacks(looks);
    let within = |at: u64| at.max(begin).min(end);
    let middle = |before: &Look<'_>, after: &Look<'_>| u64::midpoint(within(before.at), within(after.at));
    let mut groups: Vec<Group> = Vec::new();
    let mut known: HashMap<Option<(&str, u32)>, usize> = HashMap::new();
    let mut from = begin;
    for (index, look) in looks.iter().enumerate() {
        let until = looks.get(index + 1).map_or(end, |after| middle(look, after)).max(from);
        let place = stacks[index].and_then(|stack| looks[stack].place);
        let line = place.map(|place| (place.file.as_str(), place.line));
        let group = *known.entry(line).or_insert_with(|| {
            groups.push(Group::default());
            groups.len() - 1
        });
        groups[group].add(index, look.cause, until - from);
        from = until;
    }
    let mut stays: Vec<Stay> = groups.into_iter().map(|group| group.stay(looks, &stacks)).collect();
    stays.sort_by_key(|stay| Reverse((stay.cause != Cause::NoProcessor, stay.held - stay.withheld, stay.held)));
    stays
}

/// The place that names a stack, which has its innermost frame first; `None` for an empty one.
pub fn place<T>(stack: &[T], origin: impl Fn(&T) -> Origin) -> Option<&T> {
    stack.iter().find(|frame| origin(frame) == Origin::User).or(stack.first())
}

/// For each look the one whose stack counts for it: its own, or that of a neighbour where it could not be read.
fn stacks(looks: &[Look<'_>]) -> Vec<Option<usize>> {
    let mut last = looks.iter().position(|look| look.place.is_some());
    let stack = |(index, look): (usize, &Look<'_>)| {
        if look.place.is_some() {
            last = Some(index);
        }
        last
    };
    looks.iter().enumerate().map(stack).collect()
}

/// The looks at one place.
#[derive(Default)]
struct Group {
    held: u64,
    /// By cause, how long it was that.
    causes: [u64; Cause::WORDS.len()],
    /// By cause, the longest stretch and the look that saw it.
    longest: [Option<(u64, usize)>; Cause::WORDS.len()],
}

impl Group {
    fn add(&mut self, look: usize, cause: Cause, held: u64) {
        let cause = cause as usize;
        self.held += held;
        self.causes[cause] += held;
        if self.longest[cause].is_none_or(|(longest, _)| held > longest) {
            self.longest[cause] = Some((held, look));
        }
    }

    fn stay(self, looks: &[Look<'_>], stacks: &[Option<usize>]) -> Stay {
        let seen = Cause::WORDS.iter().filter_map(|&(cause, _)| {
            let (_, look) = self.longest[cause as usize]?;
            Some((cause != Cause::NoProcessor, self.causes[cause as usize], look))
        });
        let longest = seen.rev().max_by_key(|(has_processor, held, _)| (*has_processor, *held));
        let (_, _, look) = longest.expect("a group has the look that made it");
        Stay {
            look,
            stack: stacks[look],
            cause: looks[look].cause,
            held: self.held,
            withheld: self.causes[Cause::NoProcessor as usize],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A look after so long, at a line; 0 where the stack could not be read.
    type Seen = (u64, u32, Cause);

    fn in_line(line: u32) -> Place {
        Place { function: "f".into(), file: "shop.py".into(), line, origin: Origin::User }
    }

    /// The stays of a step from 1000 to 2000: `line cause held`, with what was withheld and the looks that tell it.
    #[track_caller]
    fn check(seen: &[Seen], expected: &[&str]) {
        let places: Vec<_> = seen.iter().map(|&(_, line, _)| (line > 0).then(|| in_line(line))).collect();
        let looks: Vec<_> = seen
            .iter()
            .zip(&places)
            .map(|(&(at, _, cause), place)| Look { at: 1000 + at, place: place.as_ref(), cause })
            .collect();
        let told = of(&looks, 1000, 2000).into_iter().map(|Stay { look, stack, cause, held, withheld }| {
            assert_eq!(cause, looks[look].cause);
            let line = stack.map_or("nowhere".to_owned(), |stack| seen[stack].1.to_string());
            let withheld = if withheld == 0 { String::new() } else { format!(", withheld {withheld}") };
            let by = match stack {
                Some(stack) if stack != look => format!("look {look}, stack of {stack}"),
                _ => format!("look {look}"),
            };
            format!("{line} {} {held}{withheld}; {by}", cause.word())
        });
        assert_eq!(told.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn who_did_not_look_knows_nothing() {
        check(&[], &[]);
    }

    #[test]
    fn a_step_is_cut_in_the_middle_between_two_looks() {
        check(&[(300, 1, Cause::Sleep)], &["1 sleep 1000; look 0"]);
        check(&[(300, 1, Cause::Sleep), (500, 2, Cause::Lock)], &["2 lock 600; look 1", "1 sleep 400; look 0"]);
    }

    #[test]
    fn visits_of_a_line_are_one_stay() {
        let seen = [(100, 1, Cause::Sleep), (300, 2, Cause::Sleep), (700, 1, Cause::Sleep)];
        check(&seen, &["1 sleep 700; look 2", "2 sleep 300; look 1"]);
    }

    #[test]
    fn the_cause_is_what_held_it_for_longest_and_not_what_was_seen_first_or_last() {
        let seen = [(50, 1, Cause::Sleep), (150, 1, Cause::Native), (800, 1, Cause::Native), (900, 1, Cause::Socket)];
        check(&seen, &["1 C code holding the GIL 1000; look 1"]);
        // Twice 300 are more than once 400.
        let seen = [(200, 1, Cause::Sleep), (400, 1, Cause::Native), (1000, 1, Cause::Sleep)];
        check(&seen, &["1 sleep 1000; look 0"]);
    }

    #[test]
    fn time_without_a_processor_is_nobodys_fault() {
        // It is not the cause, however long it was ...
        let seen = [(400, 1, Cause::NoProcessor), (1000, 1, Cause::Python)];
        check(&seen, &["1 Python code 1000, withheld 700; look 1"]);
        // ... and does not make a stay long.
        let seen = [(400, 1, Cause::NoProcessor), (800, 1, Cause::Python), (1000, 2, Cause::Sleep)];
        check(&seen, &["1 Python code 900, withheld 600; look 1", "2 sleep 100; look 2"]);
        let seen = [(800, 1, Cause::NoProcessor), (840, 1, Cause::Python), (880, 2, Cause::Sleep)];
        check(&seen, &["2 sleep 140; look 2", "1 Python code 860, withheld 820; look 1"]);
        // A place where nothing else was seen comes last.
        let seen = [(900, 1, Cause::NoProcessor), (1000, 2, Cause::Sleep)];
        check(&seen, &["2 sleep 50; look 1", "1 no processor 950, withheld 950; look 0"]);
    }

    #[test]
    fn a_look_without_a_stack_is_where_its_neighbour_was() {
        let seen = [(100, 0, Cause::Lock), (200, 1, Cause::Sleep), (400, 0, Cause::Native), (800, 2, Cause::Sleep)];
        check(&seen, &["1 C code holding the GIL 600; look 2, stack of 1", "2 sleep 400; look 3"]);
        check(&[(100, 0, Cause::Lock), (200, 1, Cause::Sleep)], &["1 sleep 1000; look 1"]);
        check(&[(800, 0, Cause::Lock), (900, 1, Cause::Sleep)], &["1 lock 1000; look 0, stack of 1"]);
    }

    #[test]
    fn a_cause_is_known_where_no_stack_could_be_read() {
        let seen = [(50, 0, Cause::Sleep), (150, 0, Cause::Lock)];
        check(&seen, &["nowhere lock 1000; look 1"]);
    }

    #[test]
    fn a_look_that_seems_to_be_outside_of_the_step_is_at_its_border() {
        check(&[(400, 1, Cause::Sleep), (5000, 2, Cause::Lock)], &["1 sleep 700; look 0", "2 lock 300; look 1"]);
        let early = Look { at: 10, place: None, cause: Cause::Sleep };
        let stays = of(&[early, Look { at: 1500, ..early }], 1000, 2000);
        assert_eq!(stays, [Stay { look: 1, stack: None, cause: Cause::Sleep, held: 1000, withheld: 0 }]);
    }

    #[test]
    fn a_stack_is_named_by_the_innermost_frame_of_the_users_own() {
        let origins = |stack: &[Origin]| {
            let frames: Vec<_> = stack.iter().copied().enumerate().collect();
            place(&frames, |&(_, origin)| origin).map(|&(index, _)| index)
        };
        assert_eq!(origins(&[Origin::Library, Origin::User, Origin::User]), Some(1));
        assert_eq!(origins(&[Origin::Library, Origin::Library]), Some(0));
        assert_eq!(origins(&[]), None);
    }
}
