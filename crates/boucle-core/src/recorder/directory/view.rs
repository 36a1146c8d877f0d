//! Reading the directory: of this process, from any thread, or a copy of another's.

use std::collections::HashMap;

use boucle_chronology::{Actor, ActorKind, Origin, Place};

use super::super::chronicle::Names;
use super::super::line_table::{self, Format};
use super::super::words::{Own, Words, bytes, halves, read_slot, read_text};
use super::{
    CALLBACK, CODES, DELTAS, DESCRIPTION_HEAD, GIVEN, IS_USERS, LOCATIONS, LONGEST_NAME, LONGEST_PATH, LONGEST_TABLE,
    MOST_CODES, MOST_TEXT, NAMES, REMEMBERED_TASKS, SHUTS_DOWN, TASK_SLOT, TASKS, TEXT, TEXT_SLOT,
};

/// What is known about an actor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// A task's name; a callback's qualified name.
    pub name: String,
    /// The qualified name of the coroutine; a callback's is its name.
    pub function: String,
    /// The file of its code; empty where that is unknown.
    pub file: String,
    /// The line where its code begins; 0 where that is unknown.
    pub first_line: u32,
    /// Whether it is a task of the program.
    pub is_task: bool,
}

/// What this process knows about an actor; nothing of a task that is long gone. Any thread may ask at any time.
pub fn describe(actor: u32) -> Option<Description> {
    View::own().describe(actor)
}

/// A piece of code.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Code {
    name: String,
    file: String,
    first_line: u32,
    origin: Origin,
    lines: Option<(Format, Vec<u8>)>,
    shuts_down: bool,
}

impl Code {
    fn place(&self, line: u32) -> Place {
        Place { function: self.name.clone(), file: self.file.clone(), line, origin: self.origin }
    }

    fn line(&self, offset: u32) -> u32 {
        let Some((format, table)) = &self.lines else { return 0 };
        line_table::line(*format, table, self.first_line, offset).unwrap_or(0)
    }
}

/// A directory to look things up in.
#[derive(Debug)]
pub struct View<W> {
    words: W,
    /// The codes that were looked up.
    codes: HashMap<u32, Option<Code>>,
}

impl View<Own> {
    /// The directory of this process.
    pub fn own() -> Self {
        Self::of(super::OWN.get().copied().flatten().unwrap_or(&[]))
    }
}

impl<W: Words> View<W> {
    /// The directory in these words.
    pub fn of(words: W) -> Self {
        Self { words, codes: HashMap::new() }
    }

    /// What is known about an actor.
    pub fn describe(&mut self, actor: u32) -> Option<Description> {
        let (name, code) = self.look_up(actor)?;
        let code = self.code(code);
        let is_task = actor & CALLBACK == 0 && code.is_none_or(|code| !code.shuts_down);
        let function = code.map_or_else(|| "?".to_owned(), |code| code.name.clone());
        let name = if is_task { name } else { function.clone() };
        let (file, first_line) = code.map(|code| (code.file.clone(), code.first_line)).unwrap_or_default();
        Some(Description { name, function, file, first_line, is_task })
    }

    /// The name, of a task, and the number of the code.
    fn look_up(&self, actor: u32) -> Option<(String, u32)> {
        if actor & CALLBACK != 0 {
            return Some((String::new(), actor & !CALLBACK));
        }
        let at = TASKS + actor as usize % REMEMBERED_TASKS * TASK_SLOT;
        let [_, number_and_code, name, _] = read_slot::<TASK_SLOT>(&self.words, at)?;
        let (number, code) = halves(number_and_code);
        (number == actor).then(|| (self.name(name).unwrap_or_else(|| unnamed(actor)), code))
    }

    /// The name that a word of a task stands for.
    fn name(&self, word: u64) -> Option<String> {
        if word & GIVEN == 0 {
            return Some(format!("Task-{word}"));
        }
        let serial = word & !GIVEN;
        let (key, _, name) = read_text(&self.words, NAMES + serial as usize % REMEMBERED_TASKS * TEXT_SLOT)?;
        (key == serial).then_some(name)
    }

    fn code(&mut self, number: u32) -> Option<&Code> {
        let Self { words, codes } = self;
        codes.entry(number).or_insert_with(|| read_code(words, number)).as_ref()
    }

    fn code_of(&mut self, actor: u32) -> Option<&Code> {
        let (_, code) = self.look_up(actor)?;
        self.code(code)
    }
}

/// What a task is called whose name is not known any more.
fn unnamed(number: u32) -> String {
    format!("task {number}")
}

/// The description of a code. Nothing in it is believed before it was compared with the bounds.
fn read_code(words: &impl Words, number: u32) -> Option<Code> {
    let index = (number as usize).checked_sub(1).filter(|index| *index < MOST_CODES)?;
    let (at, length) = halves(words.word(CODES + index));
    let (at, length) = (at as usize, length as usize);
    // What was written before the entry is seen after it.
    std::sync::atomic::fence(std::sync::atomic::Ordering::Acquire);
    let longest = DESCRIPTION_HEAD + (LONGEST_NAME + LONGEST_PATH + LONGEST_TABLE).div_ceil(size_of::<u64>());
    if !(DESCRIPTION_HEAD..=longest).contains(&length) || at + length > MOST_TEXT {
        return None;
    }
    let mut record = vec![0; length];
    if !words.copy(TEXT + at, &mut record) {
        return None;
    }
    let (head, text) = record.split_at(DESCRIPTION_HEAD);
    let text = bytes(text, usize::MAX);
    let (name_length, file_length) = halves(head[0]);
    let (table_length, first_line) = halves(head[1]);
    let (name, rest) = text.split_at_checked(name_length as usize)?;
    let (file, rest) = rest.split_at_checked(file_length as usize)?;
    let table = rest.get(..table_length as usize)?;
    let flag = |flag| head[2] & flag != 0;
    let format = if flag(DELTAS) { Some(Format::Deltas) } else { flag(LOCATIONS).then_some(Format::Locations) };
    Some(Code {
        name: String::from_utf8_lossy(name).into_owned(),
        file: String::from_utf8_lossy(file).into_owned(),
        first_line,
        origin: if flag(IS_USERS) { Origin::User } else { Origin::Library },
        lines: format.map(|format| (format, table.to_vec())),
        shuts_down: flag(SHUTS_DOWN),
    })
}

impl<W: Words> Names for View<W> {
    fn actor(&mut self, actor: u32) -> Actor {
        let known = self.describe(actor);
        let Some(Description { name, function, is_task, .. }) = known else {
            return Actor { kind: ActorKind::Task, name: unnamed(actor), function: "?".to_owned(), parent: None };
        };
        let kind = if is_task { ActorKind::Task } else { ActorKind::Callback };
        Actor { kind, name, function, parent: None }
    }

    fn start(&mut self, actor: u32) -> Option<Place> {
        self.code_of(actor).map(|code| code.place(code.first_line))
    }

    fn place(&mut self, code: u32, offset: u32) -> Option<Place> {
        self.code(code).map(|code| code.place(code.line(offset)))
    }
}
