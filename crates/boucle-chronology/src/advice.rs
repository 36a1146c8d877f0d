//! What to do about what was found: the words that the pictures and the watchdog's report share.
//!
//! An advice is a phrase that follows a colon or stands alone: lower case, no full stop.

use crate::analysis::{HeldPlace, LintKind};
use crate::model::{Cause, Chronology, Origin};

/// What to do about many small steps that keep others waiting together.
pub const CONGESTION: &str =
    "bound what is in flight, do more than one thing a step, or move work to a thread or process";

/// What to do about a step that held the processor.
///
/// `detail` is a sample's, empty if nothing is known. `function` is the qualified name of the innermost function where
/// that is in a library (`Event.wait`, `getaddrinfo`), and empty where it is the user's own: a user's `get` says nothing.
/// `None` where nothing is known that helps.
pub fn of(cause: Cause, detail: &str, function: &str) -> Option<&'static str> {
    let name = function.rsplit('.').next().unwrap_or_default();
    let advice = match cause {
        Cause::Unknown => return None,
        Cause::Sleep => "await asyncio.sleep(…) instead",
        Cause::Socket if matches!(name, "getaddrinfo" | "gethostbyname" | "gethostbyaddr" | "getnameinfo") => {
            "await loop.getaddrinfo(…) or loop.getnameinfo(…) instead"
        }
        Cause::Socket => "use an async client, or await asyncio.to_thread(…)",
        Cause::File if matches!(name, "communicate" | "check_output") => CHILD,
        Cause::File => "await asyncio.to_thread(…) for what reads or writes",
        Cause::Lock if matches!(name, "get" | "put") => {
            "asyncio.Queue between tasks; await asyncio.to_thread(…) to wait for a thread"
        }
        Cause::Lock if name == "result" => "await asyncio.wrap_future(…) instead of result()",
        Cause::Lock if matches!(name, "join" | "shutdown" | "_wait_for_tstate_lock") => {
            "await asyncio.to_thread(…) to wait for a thread's end"
        }
        Cause::Lock => "asyncio.Lock or asyncio.Event between tasks; await asyncio.to_thread(…) to wait for a thread",
        Cause::Child => CHILD,
        Cause::SystemCall if detail.contains("sync") => "await asyncio.to_thread(…) for what waits for the disk",
        Cause::SystemCall => "await asyncio.to_thread(…)",
        Cause::Python => "await asyncio.to_thread(…), or a process pool; or smaller pieces with an await between them",
        Cause::Native if is_regex(name) => {
            "a pattern that takes so long backtracks: make its alternatives exclude each other, or use a process pool"
        }
        Cause::Native => "a process pool, since C code that holds the GIL stops threads too; or smaller pieces",
        Cause::Gil => "move what the other thread computes to a process, or make it let go of the GIL",
        Cause::Collector => "gc.freeze() once all is loaded, a higher gc.set_threshold(…), or fewer reference cycles",
        Cause::NoProcessor => "nothing in this code: give the process more processor, or run less beside it",
    };
    Some(advice)
}

/// What to do about what a step did at a place.
pub fn at(chronology: &Chronology, held: &HeldPlace) -> Option<&'static str> {
    let innermost = held.stack.first().map(|place| &chronology.places[place.index()]);
    let library = innermost.filter(|place| place.origin == Origin::Library);
    of(held.cause, &held.detail, library.map_or("", |place| &place.function))
}

const CHILD: &str = "await asyncio.create_subprocess_exec(…) instead";

fn is_regex(name: &str) -> bool {
    matches!(name, "match" | "search" | "fullmatch" | "sub" | "subn" | "split" | "findall" | "finditer")
}

/// What to do about a lint.
pub fn lint(kind: LintKind) -> &'static str {
    match kind {
        LintKind::BusyLoop => "await what it waits for: a future, an asyncio.Event, a queue; or sleep for some time",
        LintKind::PileUp => "bound what is in flight: asyncio.Semaphore, or asyncio.Queue with a maxsize",
        LintKind::LateTimers => {
            "look at what else runs: other threads that hold the GIL, other processes; or at code that stops the loop"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(cause: Cause, function: &str, expected: &str) {
        let advice = of(cause, "", function).unwrap_or_default();
        assert!(advice.contains(expected), "{cause:?} in {function:?}: {advice}");
    }

    #[test]
    fn the_advice_is_about_what_was_called() {
        check(Cause::Sleep, "", "asyncio.sleep");
        check(Cause::Socket, "SocketIO.readinto", "async client");
        check(Cause::Socket, "getaddrinfo", "loop.getaddrinfo");
        check(Cause::Lock, "Queue.get", "asyncio.Queue");
        check(Cause::Lock, "Future.result", "asyncio.wrap_future");
        check(Cause::Lock, "Condition.wait", "asyncio.Lock");
        check(Cause::Child, "Popen._wait", "create_subprocess_exec");
        check(Cause::Native, "match", "backtracks");
        check(Cause::Native, "", "process pool");
    }

    #[test]
    fn every_cause_but_the_unknown_has_one() {
        for (cause, word) in Cause::WORDS {
            assert_eq!(of(cause, "", "").is_some(), cause != Cause::Unknown, "{word}");
        }
    }
}
