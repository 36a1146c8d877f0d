//! The directory's behaviour: what was written is found, by its number and by no other.

use super::super::chronicle::Names;
use super::*;

fn memory() -> (Writer, View<Own>) {
    let words = mapping::for_test(SIZE);
    (Writer(Some(words)), View::of(words))
}

/// One deltas range of ten bytes, three lines below the first.
const TABLE: [u8; 2] = [10, 3];

fn code(name: &str) -> NewCode<'_> {
    NewCode {
        name,
        file: "shop.py",
        first_line: 7,
        origin: Origin::User,
        lines: Some((Format::Deltas, &TABLE)),
        shuts_down: false,
    }
}

#[test]
fn a_task_is_known_by_its_name_and_its_code() {
    let (mut writer, mut view) = memory();
    let sell = writer.enter(&code("sell"));
    let numbered = writer.meet(Name::Numbered(12), sell);
    let named = writer.meet(Name::Given("customer"), sell);
    let described = |name: &str| Description {
        name: name.into(),
        function: "sell".into(),
        file: "shop.py".into(),
        first_line: 7,
        is_task: true,
    };
    assert_eq!(view.describe(numbered), Some(described("Task-12")));
    assert_eq!(view.describe(named), Some(described("customer")));
    assert_eq!(view.describe(named + 1), None);
    assert_eq!(view.describe(named + REMEMBERED_TASKS as u32), None);
}

#[test]
fn a_task_can_be_renamed_again_and_again() {
    let (mut writer, mut view) = memory();
    let number = writer.meet(Name::Numbered(1), UNKNOWN_CODE);
    for round in 0..10 {
        writer.rename(number, &format!("name {round}"));
        assert_eq!(view.describe(number).unwrap().name, format!("name {round}"));
    }
    writer.rename(number + 1, "a task that is not there");
    assert_eq!(view.describe(number + 1), None);
    let other = writer.meet(Name::Given("other"), UNKNOWN_CODE);
    assert_eq!(view.describe(other).unwrap().name, "other");
    assert_eq!(view.describe(number).unwrap().name, "name 9");
}

#[test]
fn the_last_tasks_are_remembered_and_older_ones_are_nobody() {
    let (mut writer, mut view) = memory();
    let first = writer.meet(Name::Given("first"), UNKNOWN_CODE);
    let second = writer.meet(Name::Given("second"), UNKNOWN_CODE);
    for serial in 0..REMEMBERED_TASKS as u64 - 1 {
        writer.meet(Name::Numbered(serial), UNKNOWN_CODE);
    }
    assert_eq!(view.describe(first), None);
    assert_eq!(view.describe(second).unwrap().name, "second");
}

#[test]
fn a_name_that_was_overwritten_is_unknown() {
    let (mut writer, mut view) = memory();
    let task = writer.meet(Name::Given("first"), UNKNOWN_CODE);
    let other = writer.meet(Name::Numbered(1), UNKNOWN_CODE);
    for round in 0..=REMEMBERED_TASKS {
        let words = writer.0.unwrap();
        give_name(words, &round.to_string());
    }
    assert_eq!(view.describe(task).unwrap().name, "task 0");
    writer.rename(task, "again");
    assert_eq!(view.describe(task).unwrap().name, "again");
    assert_eq!(view.describe(other).unwrap().name, "Task-1");
}

#[test]
fn numbers_begin_again_after_the_highest() {
    let (mut writer, mut view) = memory();
    writer.words().unwrap()[NEXT_TASK].store(u64::from(CALLBACK) - 1, Ordering::Relaxed);
    assert_eq!(writer.meet(Name::Numbered(1), UNKNOWN_CODE), CALLBACK - 1);
    assert_eq!(writer.meet(Name::Numbered(2), UNKNOWN_CODE), 0);
    assert_eq!(view.describe(CALLBACK - 1).unwrap().name, "Task-1");
}

#[test]
fn code_is_known_with_its_lines_and_a_callback_by_it() {
    let (mut writer, mut view) = memory();
    let plain = writer.enter(&NewCode { lines: None, origin: Origin::Library, ..code("print") });
    let lined = writer.enter(&code("sell"));
    let place = view.place(lined, 4).unwrap();
    assert_eq!((place.function.as_str(), place.file.as_str(), place.line), ("sell", "shop.py", 10));
    assert_eq!(view.place(lined, 10).unwrap().line, 0);
    let place = view.place(plain, 4).unwrap();
    assert_eq!((place.line, place.origin), (0, Origin::Library));
    let actor = view.actor(plain | CALLBACK);
    assert_eq!((actor.kind, actor.name.as_str()), (boucle_chronology::ActorKind::Callback, "print"));
    assert_eq!(view.place(UNKNOWN_CODE, 0), None);
    assert_eq!(view.place(lined + 1, 0), None);
}

#[test]
fn what_shuts_a_loop_down_is_no_task_of_the_program() {
    let (mut writer, mut view) = memory();
    let code = writer.enter(&NewCode { shuts_down: true, ..code("shutdown_asyncgens") });
    let task = writer.meet(Name::Numbered(1), code);
    let described = view.describe(task).unwrap();
    assert_eq!((described.is_task, described.name.as_str()), (false, "shutdown_asyncgens"));
}

#[test]
fn a_program_that_makes_code_without_end_runs_out_of_numbers() {
    let (mut writer, mut view) = memory();
    for _ in 0..MOST_CODES {
        assert_ne!(writer.enter(&code("again")), UNKNOWN_CODE);
    }
    assert_eq!(writer.enter(&code("one more")), UNKNOWN_CODE);
    assert_eq!(view.place(MOST_CODES as u32, 0).unwrap().function, "again");
}

#[test]
fn long_texts_are_cut_and_a_line_table_is_whole_or_left_out() {
    let (mut writer, mut view) = memory();
    let (name, file, table) = ("n".repeat(5000), "f".repeat(5000), vec![1; LONGEST_TABLE + 2]);
    let long = NewCode { name: &name, file: &file, lines: Some((Format::Deltas, &table)), ..code("") };
    let number = writer.enter(&long);
    let place = view.place(number, 0).unwrap();
    assert_eq!((place.function.len(), place.file.len(), place.line), (LONGEST_NAME, LONGEST_PATH, 0));
}

#[test]
fn a_damaged_directory_gives_nonsense_or_nothing_but_no_panic() {
    let (mut writer, _) = memory();
    let number = writer.enter(&code("sell"));
    let task = writer.meet(Name::Given("customer"), number);
    let words = writer.0.unwrap();
    let mut state = 1_u64;
    let places = (TASKS..TASKS + 4).chain(NAMES..NAMES + 4).chain([CODES]).chain(TEXT..TEXT + 6);
    for at in places {
        let former = words[at].load(Ordering::Relaxed);
        for _ in 0..2000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            words[at].store(state.rotate_left((state % 64) as u32), Ordering::Relaxed);
            let mut view = View::of(words);
            view.describe(task);
            view.place(number, 4);
        }
        words[at].store(former, Ordering::Relaxed);
    }
    assert_eq!(View::of(words).describe(task).unwrap().name, "customer");
}
