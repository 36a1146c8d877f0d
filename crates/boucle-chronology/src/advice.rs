//! What to do about what was found: the words that the pictures and the watchdog's report share.
//!
//! An advice is a phrase that follows a colon or stands alone: lower case, no full stop.

use crate::analysis::LintKind;
use crate::model::Cause;

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
        Cause::SystemCall if detail.is_empty() || !detail.contains("fsync") => "await asyncio.to_thread(…)",
        Cause::SystemCall => "await asyncio.to_thread(…) for what waits for the disk",
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
