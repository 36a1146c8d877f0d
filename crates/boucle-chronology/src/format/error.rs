//! Why bytes are not a recording, in words that a person can act on.

use std::fmt;

/// Where the bytes stop making sense, and why. The caller, who knows it, puts the file's name in front.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeError {
    /// The offset of the first byte that cannot be right.
    pub offset: usize,
    problem: Problem,
}

/// What is wrong at that offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Problem {
    /// The first bytes are those of something else.
    NotARecording { found: String },
    /// A version that this reader does not know.
    Version { found: u64, read: u64 },
    /// The bytes end too early.
    Truncated { what: &'static str },
    /// A number has more bits than its meaning.
    TooLarge { what: &'static str },
    /// A string is not UTF-8.
    NotText { what: &'static str },
    /// More items are announced than the rest of the bytes could hold.
    TooMany { what: &'static str, count: u64, remaining: usize },
    /// Something names what does not exist.
    NoSuch { claim: &'static str, number: u64, available: u64, kind: &'static str },
    /// A step has bits set that mean nothing.
    Head { found: u8 },
    /// A sample has a cause that is none.
    Cause { found: u8 },
    /// A sample is not within its step.
    AfterItsStep,
    /// A step begins before the one before it.
    OutOfOrder,
    /// A step ends after the recording.
    AfterTheEnd { duration: u64 },
    /// Bytes follow the checksum.
    Trailing { bytes: usize },
    /// The bytes were changed after they were written.
    Checksum { stated: u32, computed: u32 },
}

impl DecodeError {
    pub(super) fn new(offset: usize, problem: Problem) -> DecodeError {
        DecodeError { offset, problem }
    }
}

/// `number` as an id, if it names one of `available` items.
pub(super) fn id(
    offset: usize,
    claim: &'static str,
    number: u64,
    available: usize,
    kind: &'static str,
) -> Result<u32, DecodeError> {
    let available = available as u64;
    match u32::try_from(number) {
        Ok(id) if number < available => Ok(id),
        _ => Err(DecodeError::new(offset, Problem::NoSuch { claim, number, available, kind })),
    }
}

impl std::error::Error for DecodeError {}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "byte {}: {}", self.offset, self.problem)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::NotARecording { found } if found.is_empty() => {
                write!(f, "this is not a recording of boucle: it is empty")
            }
            Problem::NotARecording { found } => {
                write!(f, "this is not a recording of boucle: it begins with \"{found}\"")
            }
            Problem::Version { found, read } if found > read => {
                write!(
                    f,
                    "the recording has format version {found}, and this boucle reads versions up to {read}: update boucle"
                )
            }
            Problem::Version { found, read } => {
                write!(
                    f,
                    "the recording has format version {found}, which never was; this boucle reads versions up to {read}"
                )
            }
            Problem::Truncated { what } => write!(f, "the file ends in the middle of {what}"),
            Problem::TooLarge { what } => write!(f, "{what} is too large a number"),
            Problem::NotText { what } => write!(f, "{what} is not UTF-8"),
            Problem::TooMany { what, count, remaining } => {
                write!(f, "{count} {what} should follow, but the file has only {remaining} bytes left")
            }
            Problem::NoSuch { claim, number, available: 1, .. } => {
                write!(f, "{claim} {number}, but there is only one")
            }
            Problem::NoSuch { claim, number, available, kind } => {
                write!(f, "{claim} {number}, but there are {available} {kind}")
            }
            Problem::Head { found } => write!(f, "a step begins with {found:#04x}, which means nothing"),
            Problem::Cause { found } => write!(f, "a sample has cause {found}, which means nothing"),
            Problem::AfterItsStep => write!(f, "the sample was taken after its step"),
            Problem::OutOfOrder => write!(f, "the step begins before the one before it"),
            Problem::AfterTheEnd { duration } => {
                write!(f, "the step ends after the recording, which lasted {duration} ns")
            }
            Problem::Trailing { bytes: 1 } => write!(f, "a byte follows the end of the recording"),
            Problem::Trailing { bytes } => write!(f, "{bytes} bytes follow the end of the recording"),
            Problem::Checksum { stated, computed } => write!(
                f,
                "the checksum is {stated:08x}, but the bytes before it give {computed:08x}: the file was damaged"
            ),
        }
    }
}
