//! What is written at a step: the piece of code it ran, as the line where it resumed and the line where it left.

use crate::model::{Chronology, Left, Place, PlaceId, Step};
use crate::name;

/// The piece of code a step of a task ran: `12→14`, or `12→end` where the coroutine returned. Empty where nothing is
/// known.
pub fn piece(chronology: &Chronology, step: &Step) -> String {
    let resumed = step.resumed.and_then(|place| line(chronology, place));
    let left = match step.left {
        Left::Awaited(place) => line(chronology, place),
        Left::Returned => Some("end".to_owned()),
        Left::Unknown => None,
    };
    match (resumed, left) {
        (None, None) => String::new(),
        (resumed, left) => format!("{}→{}", resumed.unwrap_or_default(), left.unwrap_or_default()),
    }
}

/// The same in full, for where there is room: `pieces.py:12 → 14 in pieces`; both places in full where the function or
/// the file differs.
pub fn piece_in_full(chronology: &Chronology, step: &Step, file: impl Fn(&str) -> &str) -> Option<String> {
    let place = |id: PlaceId| &chronology.places[id.index()];
    let full = |at: &Place| format!("{} in {}", position(at, &file), name::shown(&at.function));
    let resumed = step.resumed.map(place);
    match (resumed, step.left) {
        (Some(from), Left::Awaited(to)) => {
            let to = place(to);
            if from.file == to.file && from.function == to.function && to.line != 0 {
                let function = name::shown(&from.function);
                Some(format!("{} → {} in {function}", position(from, &file), to.line))
            } else {
                Some(format!("{} → {}", full(from), full(to)))
            }
        }
        (None, Left::Awaited(to)) => Some(format!("→ {}", full(place(to)))),
        (Some(from), Left::Returned) => {
            Some(format!("{} → end in {}", position(from, &file), name::shown(&from.function)))
        }
        (Some(from), Left::Unknown) => Some(full(from)),
        (None, Left::Returned | Left::Unknown) => None,
    }
}

/// A file and a line: `pieces.py:12`.
pub(crate) fn position(place: &Place, file: impl Fn(&str) -> &str) -> String {
    let file = name::escaped(file(&place.file));
    if place.line == 0 { file } else { format!("{file}:{}", place.line) }
}

fn line(chronology: &Chronology, place: PlaceId) -> Option<String> {
    let line = chronology.places[place.index()].line;
    (line > 0).then(|| line.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ActorId, Origin, ThreadId, Wake};

    fn check(resumed: Option<u32>, left: Left, expected: &str, in_full: Option<&str>) {
        let place = |function: &str, line| Place {
            function: function.to_owned(),
            file: "/home/me/pieces.py".to_owned(),
            line,
            origin: Origin::User,
        };
        let chronology = Chronology {
            places: vec![place("pieces", 12), place("pieces", 14), place("helper", 30), place("pieces", 0)],
            ..Chronology::default()
        };
        let step = Step {
            thread: ThreadId(0),
            actor: ActorId(0),
            start: 0,
            duration: 0,
            waited: 0,
            woken_by: Wake::Unknown,
            resumed: resumed.map(PlaceId),
            left,
        };
        assert_eq!(piece(&chronology, &step), expected);
        assert_eq!(piece_in_full(&chronology, &step, name::file_name).as_deref(), in_full);
    }

    #[test]
    fn a_piece_goes_from_where_it_resumed_to_where_it_left() {
        check(Some(0), Left::Awaited(PlaceId(1)), "12→14", Some("pieces.py:12 → 14 in pieces"));
        check(Some(1), Left::Returned, "14→end", Some("pieces.py:14 → end in pieces"));
    }

    #[test]
    fn a_piece_across_functions_names_both() {
        let in_full = Some("pieces.py:12 in pieces → pieces.py:30 in helper");
        check(Some(0), Left::Awaited(PlaceId(2)), "12→30", in_full);
    }

    #[test]
    fn what_is_unknown_is_left_out() {
        check(None, Left::Unknown, "", None);
        check(None, Left::Returned, "→end", None);
        check(None, Left::Awaited(PlaceId(1)), "→14", Some("→ pieces.py:14 in pieces"));
        check(Some(0), Left::Unknown, "12→", Some("pieces.py:12 in pieces"));
        check(Some(3), Left::Unknown, "", Some("pieces.py in pieces"));
    }
}
