//! The frames of a thread that may go on running: read twice, and believed if both times they are the same.
//!
//! The chain of frames is followed in a copy of memory, then the copy is made anew and the chain followed again. Of the
//! innermost frame the instruction may have moved meanwhile; all else must be the same, and each frame must be one of a code
//! object that has the instruction. Where not, the newer copy is the first of the next pair.
//!
//! A thread that calls and returns every few nanoseconds is rarely found twice in the same place. After so many copies the
//! frames count that were in both of the last: the thread was inside of them all the while.
//!
//! # Invariants
//!
//! * The number of frames, of attempts and of bytes read is bounded, whatever is found.

use super::code::{self, Head};
use super::copy::{Copy, number, word};
use super::memory::{Access, Unreadable};
use super::offsets::{Offsets, owner};
use super::{RawFrame, Rejected, Stack, Subject};

/// How many frames are read at most.
pub(super) const DEEPEST: usize = 512;
/// How many further frames, of the interpreter's own, may stand between them.
const ENTRIES: usize = 128;
/// How many copies are made until two agree.
const COPIES: usize = 64;
/// How many times code objects that turn out to be none are taken for bad luck.
const ATTEMPTS: usize = 4;
/// The bytes from a block's beginning in which frames lie: more only in a function with thousands of variables.
const BLOCK: usize = 1 << 16;

/// A frame in the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Link {
    /// Where it lies.
    address: usize,
    /// Its code object.
    code: usize,
    /// Where it is in it: an address, or in 3.10 a number of instructions.
    instruction: usize,
    /// Who owns it.
    owner: u8,
}

/// A chain of frames, the innermost first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Chain {
    links: Vec<Link>,
    /// Whether it goes on.
    is_cut: bool,
    /// Whether the innermost frames are left out.
    is_blurred: bool,
}

impl Chain {
    /// Whether it is the same chain, a moment later.
    fn is(&self, other: &Self) -> bool {
        let innermost_but_instruction =
            |one: &Link, other: &Link| Link { instruction: other.instruction, ..*one } == *other;
        self.is_cut == other.is_cut
            && match (self.links.split_first(), other.links.split_first()) {
                (Some((one, ones)), Some((other, others))) => innermost_but_instruction(one, other) && ones == others,
                (None, None) => true,
                _ => false,
            }
    }

    /// The frames that are in both of two chains, as the later one has them. The innermost of them may have gone on.
    fn common(&self, earlier: &Self) -> Option<Self> {
        let is_cut = self.is_cut || earlier.is_cut;
        let is_common = |index: usize| {
            let link = &self.links[index];
            let same =
                earlier.links.iter().position(|other| (other.address, other.code) == (link.address, link.code))?;
            let (ours, theirs) = (&self.links[index + 1..], &earlier.links[same + 1..]);
            let both = ours.len().min(theirs.len());
            (ours[..both] == theirs[..both] && (is_cut || ours.len() == theirs.len())).then_some(index)
        };
        let innermost = (0..self.links.len()).find_map(is_common)?;
        Some(Self { links: self.links[innermost..].to_vec(), is_cut: self.is_cut, is_blurred: true })
    }
}

/// The frames of a thread.
pub(super) fn walk(access: &Access, offsets: &Offsets, subject: Subject) -> Result<Stack, Rejected> {
    let mut copy = Copy::new(access, 1 + usize::from(offsets.thread.within.is_some()));
    for _ in 0..ATTEMPTS {
        let chain = settled(&mut copy, offsets, subject)?;
        if let Some(stack) = stack(access, offsets, &chain) {
            return Ok(stack);
        }
    }
    Err(Rejected::Inconsistent)
}

/// A chain that two copies agree on, or what the last two have in common.
fn settled(copy: &mut Copy<'_>, offsets: &Offsets, subject: Subject) -> Result<Chain, Rejected> {
    let mut before: Option<Chain> = None;
    let mut common = Err(Rejected::Inconsistent);
    for _ in 0..COPIES {
        let Ok(now) = copy.again().and_then(|()| chain(copy, offsets, subject)) else { continue };
        if let Some(before) = before {
            if before.is(&now) {
                return Ok(now);
            }
            common = now.common(&before).ok_or(Rejected::Restless);
        }
        before = Some(now);
    }
    common
}

/// Follows the chain in a copy.
fn chain(copy: &mut Copy<'_>, offsets: &Offsets, subject: Subject) -> Result<Chain, Unreadable> {
    let Innermost { mut frame, block } = innermost(copy, offsets, subject)?;
    let mut chain = Chain::default();
    let mut outermost = 0;
    for _ in 0..DEEPEST + ENTRIES {
        if frame == 0 || chain.links.len() == DEEPEST {
            break;
        }
        let (link, previous) = link(copy, offsets, frame, block)?;
        outermost = link.owner;
        if link.owner < owner::INTERPRETER {
            chain.links.push(link);
        }
        frame = previous;
    }
    chain.is_cut = frame != 0;
    // A generator is always called by somebody: this one has yielded meanwhile.
    if outermost == owner::GENERATOR && !chain.is_cut { Err(Unreadable) } else { Ok(chain) }
}

/// Where the frames begin.
struct Innermost {
    /// The innermost frame.
    frame: usize,
    /// The block in which the newest frames lie.
    block: usize,
}

/// Where the frames of a thread begin; fails if that has changed since the copy was begun.
fn innermost(copy: &mut Copy<'_>, offsets: &Offsets, subject: Subject) -> Result<Innermost, Unreadable> {
    let thread = &offsets.thread;
    let block = thread.block.unwrap_or(thread.current);
    let (first, last) = (thread.current.min(block), thread.current.max(block));
    let length = last - first + size_of::<usize>();
    let state = copy.bytes(subject.state.checked_add(first).ok_or(Unreadable)?, length)?;
    let current = word(state, thread.current - first).ok_or(Unreadable)?;
    let block = thread.block.and_then(|block| word(state, block - first)).unwrap_or(0);
    let frame = match thread.within {
        Some(within) => {
            let structure = current.checked_add(within).ok_or(Unreadable)?;
            word(copy.bytes(structure, size_of::<usize>())?, 0).ok_or(Unreadable)?
        }
        None => current,
    };
    let afterwards = copy.afterwards();
    let same = |offset: usize, value: usize| word(afterwards, offset).is_none_or(|later| later == value);
    if !same(thread.current - first, current) || (thread.within.is_some() && !same(length, frame)) {
        if thread.within.is_some() {
            // The structure is another one, and must be among the first pieces again.
            copy.clear();
        }
        return Err(Unreadable);
    }
    Ok(Innermost { frame, block })
}

/// A frame, and the one that called it.
fn link(copy: &mut Copy<'_>, offsets: &Offsets, address: usize, block: usize) -> Result<(Link, usize), Unreadable> {
    let fields = &offsets.frame;
    let last = [fields.code, fields.previous, fields.instruction, fields.owner].into_iter().fold(0, usize::max);
    let length = last + size_of::<usize>();
    let is_in_block = address.checked_sub(block).is_some_and(|within| within < BLOCK);
    let frame = if is_in_block { copy.bytes_with_pages(address, length) } else { copy.bytes(address, length) }?;
    let field = |offset| word(frame, offset).ok_or(Unreadable);
    let (owner, instruction) = if cfg!(Py_3_11) {
        (*frame.get(fields.owner).ok_or(Unreadable)?, field(fields.instruction)?)
    } else {
        let is_of_a_generator = field(fields.owner)? != 0;
        let owner = if is_of_a_generator { owner::GENERATOR } else { 0 };
        (owner, number(frame, fields.instruction).ok_or(Unreadable)? as usize)
    };
    // The two lowest bits say, from 3.14 on, whether the reference is counted.
    let code = field(fields.code)? & !3;
    Ok((Link { address, code, instruction, owner }, field(fields.previous)?))
}

/// The frames of a chain, if each is one of a code object that has its instruction.
fn stack(access: &Access, offsets: &Offsets, chain: &Chain) -> Option<Stack> {
    let codes: Vec<usize> = chain.links.iter().map(|link| link.code).collect();
    let heads = code::heads(access, offsets, &codes).ok()?;
    let mut frames = Vec::with_capacity(heads.len());
    for (link, head) in chain.links.iter().zip(&heads) {
        match place(link, head)? {
            Place::At(instruction) => frames.push(RawFrame { code: link.code, instruction }),
            Place::Before => {}
        }
    }
    Some(Stack { frames, is_cut: chain.is_cut, is_blurred: chain.is_blurred })
}

/// Where a frame is in its code.
enum Place {
    /// At this offset in bytes.
    At(usize),
    /// It has not begun, or never does: Python does not show it either.
    Before,
}

/// Where a frame is in its code; none if it is nowhere in it.
fn place(link: &Link, head: &Head) -> Option<Place> {
    let offset = match head.instructions {
        Some(first) => (link.instruction as isize).checked_sub(first as isize)?,
        None => (link.instruction as isize).checked_mul(2)?,
    };
    if link.owner != owner::GENERATOR && offset < head.begins_at {
        return (offset >= -2).then_some(Place::Before);
    }
    let offset = usize::try_from(offset).ok()?;
    (offset < head.size && offset.is_multiple_of(2)).then_some(Place::At(offset))
}
