//! Recorded runs as a program would leave them, for pictures and examples. Times are in microseconds.

use boucle_chronology::{
    Actor, ActorId, ActorKind, Cause, Chronology, Left, Origin, Place, PlaceId, Sample, Step, StepId, Thread, ThreadId,
    Wake,
};

/// A recording in the making: a chronology whose steps come in their order.
pub(crate) struct Recording {
    file: &'static str,
    pub(crate) chronology: Chronology,
}

impl Recording {
    pub(crate) fn new(program: &str, file: &'static str) -> Recording {
        let chronology = Chronology {
            program: program.to_owned(),
            recorded_by: "boucle 0.1.0, CPython 3.13.0".to_owned(),
            threads: vec![Thread { name: "MainThread".to_owned() }],
            ..Chronology::default()
        };
        Recording { file, chronology }
    }

    pub(crate) fn task(&mut self, name: &str, function: &str, parent: Option<ActorId>) -> ActorId {
        self.actor(ActorKind::Task, name, function, parent)
    }

    pub(crate) fn callback(&mut self, name: &str) -> ActorId {
        self.actor(ActorKind::Callback, name, name, None)
    }

    fn actor(&mut self, kind: ActorKind, name: &str, function: &str, parent: Option<ActorId>) -> ActorId {
        let actor = Actor { kind, name: name.to_owned(), function: function.to_owned(), parent };
        self.chronology.actors.push(actor);
        ActorId(self.chronology.actors.len() as u32 - 1)
    }

    pub(crate) fn place(&mut self, function: &str, line: u32) -> PlaceId {
        let file = format!("/home/ada/{}", self.file);
        self.keep(Place { function: function.to_owned(), file, line, origin: Origin::User })
    }

    pub(crate) fn library(&mut self, function: &str, file: &str, line: u32) -> PlaceId {
        let file = format!("/usr/lib/python3.13/{file}");
        self.keep(Place { function: function.to_owned(), file, line, origin: Origin::Library })
    }

    fn keep(&mut self, place: Place) -> PlaceId {
        let places = &mut self.chronology.places;
        let index = places.iter().position(|known| *known == place).unwrap_or_else(|| {
            places.push(place);
            places.len() - 1
        });
        PlaceId(index as u32)
    }

    /// A step of a task, from line to line of its function; to line 0 if it returned.
    pub(crate) fn run(&mut self, task: ActorId, times: (u64, u64, u64), woken_by: Wake, lines: (u32, u32)) -> StepId {
        let function = self.chronology.actors[task.index()].function.clone();
        let resumed = Some(self.place(&function, lines.0));
        let left = if lines.1 == 0 { Left::Returned } else { Left::Awaited(self.place(&function, lines.1)) };
        self.step(task, times, woken_by, resumed, left)
    }

    /// A run of a callback.
    pub(crate) fn call(&mut self, callback: ActorId, times: (u64, u64, u64), woken_by: Wake) -> StepId {
        self.step(callback, times, woken_by, None, Left::Returned)
    }

    fn step(
        &mut self,
        actor: ActorId,
        (start, duration, waited): (u64, u64, u64),
        woken_by: Wake,
        resumed: Option<PlaceId>,
        left: Left,
    ) -> StepId {
        let (start, duration, waited) = (start * 1_000, duration * 1_000, waited * 1_000);
        let step = Step { thread: ThreadId(0), actor, start, duration, waited, woken_by, resumed, left };
        self.chronology.steps.push(step);
        StepId(self.chronology.steps.len() as u32 - 1)
    }

    /// What a watchdog saw of the last step, `after` its start.
    pub(crate) fn seen(&mut self, after: u64, cause: Cause, detail: &str, stack: &[PlaceId]) {
        let step = StepId(self.chronology.steps.len() as u32 - 1);
        let at = self.chronology.steps[step.index()].start + after * 1_000;
        let (detail, stack) = (detail.to_owned(), stack.to_vec());
        self.chronology.samples.push(Sample { step, at, cause, detail, stack });
    }

    /// Gives a step times in nanoseconds.
    fn retime(&mut self, step: StepId, (start, duration, waited): (u64, u64, u64)) {
        let step = &mut self.chronology.steps[step.index()];
        (step.start, step.duration, step.waited) = (start, duration, waited);
    }

    pub(crate) fn lasting(mut self, duration: u64) -> Chronology {
        self.chronology.duration = duration * 1_000;
        assert_eq!(self.chronology.check(), Ok(()));
        self.chronology
    }
}

/// Two coroutines in three pieces each, which await between them: nobody waits for anybody.
pub(crate) fn pieces() -> Chronology {
    let mut run = Recording::new("pieces.py", "pieces.py");
    let main = run.task("Task-1", "main", None);
    let run1 = run.task("run1", "pieces", Some(main));
    let run2 = run.task("run2", "pieces", Some(main));
    let timer = run.callback("futures._set_result_unless_cancelled");
    let gathered = run.callback("gather.<locals>._done_callback");

    let begin = run.run(main, (42, 118, 12), Wake::Unknown, (13, 14));
    run.run(run1, (164, 61, 58), Wake::Step(begin), (4, 6));
    run.run(run2, (229, 44, 101), Wake::Step(begin), (4, 6));
    let due1 = run.call(timer, (500_291, 9, 66), Wake::Timer);
    let due2 = run.call(timer, (500_302, 5, 27), Wake::Timer);
    run.run(run1, (500_312, 71, 14), Wake::Step(due1), (6, 8));
    run.run(run2, (500_386, 52, 81), Wake::Step(due2), (6, 8));
    let due1 = run.call(timer, (1_500_455, 10, 73), Wake::Timer);
    let due2 = run.call(timer, (1_500_467, 5, 31), Wake::Timer);
    let end1 = run.run(run1, (1_500_478, 38, 15), Wake::Step(due1), (8, 0));
    let end2 = run.run(run2, (1_500_519, 29, 49), Wake::Step(due2), (8, 0));
    run.call(gathered, (1_500_551, 8, 36), Wake::Step(end1));
    let done = run.call(gathered, (1_500_561, 12, 14), Wake::Step(end2));
    run.run(main, (1_500_576, 21, 5), Wake::Step(done), (14, 0));
    run.lasting(1_500_640)
}

/// The same two coroutines, but in the second piece each holds the processor for a second instead of awaiting. The
/// timer of run2 is due just after run1 began to, so that its callback itself is late.
pub(crate) fn starvation() -> Chronology {
    let mut run = Recording::new("starvation.py", "starvation.py");
    let main = run.task("Task-1", "main", None);
    let run1 = run.task("run1", "pieces", Some(main));
    let run2 = run.task("run2", "pieces", Some(main));
    let timer = run.callback("futures._set_result_unless_cancelled");
    let gathered = run.callback("gather.<locals>._done_callback");

    let begin = run.run(main, (42, 118, 12), Wake::Unknown, (15, 16));
    run.run(run1, (164, 61, 58), Wake::Step(begin), (5, 7));
    run.run(run2, (229, 44, 101), Wake::Step(begin), (5, 7));
    let due1 = run.call(timer, (500_291, 9, 66), Wake::Timer);
    let end1 = run.run(run1, (500_304, 1_000_148, 6), Wake::Step(due1), (7, 0));
    // run1 is done: gather's callback waits until the end of run2.
    let due2 = run.call(timer, (1_500_463, 6, 1_000_071), Wake::Timer);
    let end2 = run.run(run2, (1_500_473, 1_000_097, 5), Wake::Step(due2), (7, 0));
    run.call(gathered, (2_500_574, 9, 1_000_123), Wake::Step(end1));
    let done = run.call(gathered, (2_500_586, 13, 17), Wake::Step(end2));
    run.run(main, (2_500_602, 22, 5), Wake::Step(done), (16, 0));
    run.lasting(2_500_670)
}

/// A handler that computes for 0.2 s on one line and sleeps for 0.5 s on the next, before the eyes of a watchdog; a
/// chat and a callback have to wait. Later the chat waits for a socket on the wrong side of an await.
pub(crate) fn watched() -> Chronology {
    let mut run = Recording::new("-m uvicorn shop:app", "shop.py");
    let main = run.task("Task-1", "main", None);
    let report = run.task("GET /report", "report", Some(main));
    let chat = run.task("chat", "chat", Some(main));
    let timer = run.callback("futures._set_result_unless_cancelled");
    let flush = run.callback("Metrics.flush");

    let begin = run.run(main, (60, 140, 12), Wake::Unknown, (60, 61));
    let (total, caller, sleeping) = (run.place("total", 21), run.place("report", 30), run.place("report", 31));
    let retry = run.library("pause", "site-packages/retry/api.py", 88);
    run.run(report, (206, 703_204, 140), Wake::Step(begin), (28, 34));
    for after in [50_090, 100_120] {
        run.seen(after, Cause::Python, "", &[total, caller]);
    }
    run.seen(200_140, Cause::Native, "", &[total, caller]);
    for after in [250_210, 400_160] {
        run.seen(after, Cause::Sleep, "", &[retry, sleeping]);
    }
    let due = run.call(timer, (703_440, 8, 601_940), Wake::Timer);
    run.call(flush, (703_455, 310, 250_455), Wake::Timer);
    run.run(chat, (703_790, 92, 330), Wake::Step(due), (43, 44));
    let asked = run.library("SocketIO.readinto", "socket.py", 719);
    let (lookup, price) = (run.library("get", "site-packages/requests/api.py", 73), run.place("chat", 47));
    run.run(chat, (905_010, 121_377, 20), Wake::Io, (44, 49));
    run.seen(50_080, Cause::Socket, "10.0.0.3:5432", &[asked, lookup, price]);
    run.seen(100_070, Cause::Socket, "10.0.0.3:5432", &[asked, lookup, price]);
    run.run(report, (1_026_460, 75, 66_020), Wake::Timer, (34, 0));
    run.run(main, (1_026_560, 31, 18), Wake::Step(StepId(6)), (61, 0));
    run.lasting(1_100_000)
}

/// Two tasks on a machine that has too much to run: what one does takes long only for want of a processor, and the other
/// has a pattern that backtracks besides.
pub(crate) fn stalled() -> Chronology {
    let mut run = Recording::new("busy.py", "busy.py");
    let innocent = run.task("innocent", "tick", None);
    let culprit = run.task("culprit", "parse", None);
    let ticking = run.place("tick", 9);
    run.run(innocent, (1_000, 120_400, 40), Wake::Timer, (8, 10));
    run.seen(50_300, Cause::NoProcessor, "", &[ticking]);
    run.seen(100_200, Cause::NoProcessor, "", &[ticking]);
    let matching = run.library("match", "re/__init__.py", 167);
    let parsing = run.place("parse", 21);
    run.run(culprit, (121_600, 402_000, 118_000), Wake::Io, (20, 22));
    run.seen(50_100, Cause::Native, "", &[matching, parsing]);
    run.seen(100_400, Cause::NoProcessor, "", &[matching, parsing]);
    run.seen(200_100, Cause::Native, "", &[matching, parsing]);
    run.seen(400_100, Cause::NoProcessor, "", &[]);
    run.run(innocent, (523_700, 40, 290_000), Wake::Timer, (10, 10));
    run.lasting(600_000)
}

/// Ten callbacks of 10 ms, which one poll reports together with what wakes a task: it waits for all of them.
pub(crate) fn congested() -> Chronology {
    let mut run = Recording::new("feed.py", "feed.py");
    let chat = run.task("chat", "chat", None);
    let parse = run.callback("Feed.parse");
    let wake = run.callback("futures._set_result_unless_cancelled");
    run.run(chat, (120, 80, 20), Wake::Unknown, (4, 6));
    let mut now = 50_000;
    for _ in 0..10 {
        run.call(parse, (now, 10_020, now - 50_000), Wake::Io);
        now += 10_022;
    }
    let due = run.call(wake, (now, 4, now - 50_100), Wake::Timer);
    run.run(chat, (now + 10, 60, 6), Wake::Step(due), (6, 6));
    run.lasting(200_000)
}

/// A program with three habits it should not have: a task that yields until somebody has set a flag, callbacks that
/// schedule more than they do, and a loop that is left alone while a timer is due.
pub(crate) fn careless() -> Chronology {
    let mut run = Recording::new("careless.py", "careless.py");
    let poller = run.task("poller", "wait_for_flag", None);
    let spread = run.callback("Crawler.spread");
    let beat = run.callback("heartbeat");
    let mut now = 1_000;
    let mut last = run.run(poller, (now, 9, 20), Wake::Unknown, (10, 12));
    for _ in 0..2_400 {
        now += 14;
        last = run.run(poller, (now, 9, 5), Wake::Step(last), (12, 12));
    }
    now += 14;
    run.run(poller, (now, 9, 5), Wake::Step(last), (12, 0));

    now = 50_000;
    let mut turn = vec![run.call(spread, (now, 190, 20), Wake::Timer)];
    for _ in 0..9 {
        let mut next = Vec::new();
        for &by in &turn {
            let ready = run.chronology.steps[by.index()].end() / 1_000 - 30;
            for _ in 0..2 {
                now += 200;
                next.push(run.call(spread, (now, 190, now - ready), Wake::Step(by)));
            }
        }
        turn = next;
    }
    run.call(beat, (600_000, 40, 210_000), Wake::Timer);
    run.lasting(650_000)
}

/// A server with 300 requests at once, one of which computes for 180 ms; the recorder kept only the latest steps.
pub(crate) fn crowded() -> Chronology {
    let mut run = Recording::new("-m uvicorn shop:app --workers 1", "shop.py");
    let main = run.task("Task-1", "Server.serve", None);
    let timer = run.callback("futures._set_result_unless_cancelled");
    let requests: Vec<_> =
        (0..299).map(|number| run.task(&format!("request-{number}"), "checkout", Some(main))).collect();
    let mut now = 350;
    let serving = run.run(main, (now, 2_410, 41), Wake::Io, (210, 214));
    now += 2_430;
    for (number, &request) in requests.iter().enumerate() {
        let work = 90 + number as u64 * 7 % 41;
        run.run(request, (now, work, now - 1_900), Wake::Step(serving), (31, 36));
        now += work + 4;
    }
    now = 120_000;
    for (number, &request) in requests.iter().enumerate() {
        let due = 118_000 + number as u64 * 731;
        now = now.max(due);
        let carrier = run.call(timer, (now, 7, now - due), Wake::Timer);
        now += 10;
        let work = if number == 41 { 180_204 } else { 150 + number as u64 * 13 % 97 };
        run.run(request, (now, work, 4), Wake::Step(carrier), (36, 52));
        now += work + 4;
    }
    let mut chronology = run.lasting(600_000);
    chronology.lost = 48_113;
    chronology
}

/// A recording in which nothing ran.
pub(crate) fn empty() -> Chronology {
    Recording::new("empty.py", "empty.py").lasting(250_000)
}

/// `steps` steps of a busy server with `connections` of them: each request is read by a task that a file descriptor's
/// callback wakes, now and then one sleeps, and everything takes some microseconds.
pub(crate) fn server(connections: u64, steps: usize) -> Chronology {
    let mut run = Recording::new("server.py", "server.py");
    let serving = run.task("Task-1", "serve", None);
    let readers: Vec<_> =
        (0..connections).map(|number| run.task(&format!("Task-{}", number + 2), "handle", Some(serving))).collect();
    let readable = run.callback("_SelectorSocketTransport._read_ready");
    let timer = run.callback("futures._set_result_unless_cancelled");
    for line in [40, 44, 47, 52] {
        run.place("handle", line);
    }
    // The numbers of a linear congruential generator: the same in each run, and not in step with anything.
    let mut state: u64 = 1;
    let mut random = move |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let mut at = vec![44; readers.len()];
    // In nanoseconds here. The loop takes some between two steps; what one poll reports becomes ready at once.
    let mut now = 1_000_000;
    while run.chronology.steps.len() < steps {
        now += if random(4) == 0 { random(900_000) } else { 1_000 };
        let polled = now;
        let mut batch = Vec::new();
        for _ in 0..=random(20) {
            let (callback, ready, wake) = match random(5) {
                0 => (timer, polled - random(60_000), Wake::Timer),
                _ => (readable, polled, Wake::Io),
            };
            now += 60 + random(240);
            let took = 3_000 + random(9_000);
            let step = run.call(callback, (0, 0, 0), wake);
            run.retime(step, (now, took, now - ready));
            now += took;
            batch.push((step, random(connections) as usize, now - 300 - random(900)));
        }
        for (woken_by, reader, ready) in batch {
            now += 60 + random(240);
            let (from, to) = (at[reader], [44, 44, 47, 52][random(4) as usize]);
            at[reader] = to;
            let took = 12_000 + random(160_000);
            let step = run.run(readers[reader], (0, 0, 0), Wake::Step(woken_by), (from, to));
            run.retime(step, (now, took, now - ready));
            now += took;
        }
    }
    run.lasting(now / 1_000 + 1)
}
