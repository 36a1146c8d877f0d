//! Copies of our own memory, made by system calls that fail where nothing is mapped.
//!
//! `process_vm_readv` copies any number of pieces in one call. Where a sandbox forbids it, `/proc/self/mem` does the same, one
//! call a piece. It is opened anew for each use: an open one would go on showing the parent's memory after a fork.
//!
//! # Invariants
//!
//! * An address is never dereferenced: the kernel looks whether it may be read.
//! * A copy is whole or it is an error.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use pyo3::ffi;
use pyo3::prelude::*;

/// The system call that reads other processes' memory, by which ours is read too.
const CALL: &str = "process_vm_readv";
/// The file in which our memory is seen.
const FILE: &str = "/proc/self/mem";

/// A part of our memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// Where it begins.
    pub(super) address: usize,
    /// How many bytes it has.
    pub(super) length: usize,
}

/// Not all of it is mapped, or it may not be read any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unreadable;

/// How memory can be read in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Memory {
    /// By the system call.
    Call,
    /// By the file.
    File,
}

/// Memory that is being read: for a short time, within one process.
#[derive(Debug)]
pub(super) enum Access {
    /// By the system call.
    Call,
    /// By the file, which is open.
    File(File),
}

impl Memory {
    /// The first way that works, or why none does.
    pub(super) fn find() -> Result<Self, String> {
        let known = 0x6c63_756f_6275_6f62_u64.to_ne_bytes();
        let piece = Piece { address: known.as_ptr() as usize, length: known.len() };
        let mut failures = Vec::new();
        for (way, name) in [(Self::Call, CALL), (Self::File, FILE)] {
            let mut copy = [0; 8];
            match way.open().and_then(|access| access.copy(&[piece], &mut copy)) {
                Ok(()) if copy == known => return Ok(way),
                Ok(()) => failures.push(format!("{name} gives something else")),
                Err(error) => failures.push(format!("{name}: {error}")),
            }
        }
        Err(format!("this process may not read its own memory ({})", failures.join("; ")))
    }

    /// Begins to read.
    pub(super) fn open(self) -> io::Result<Access> {
        Ok(match self {
            Self::Call => Access::Call,
            Self::File => Access::File(File::open(FILE)?),
        })
    }
}

impl Access {
    /// Copies pieces, one after the other, into a buffer of the size of all of them.
    pub(super) fn read(&self, pieces: &[Piece], into: &mut [u8]) -> Result<(), Unreadable> {
        self.copy(pieces, into).map_err(|_| Unreadable)
    }

    fn copy(&self, pieces: &[Piece], into: &mut [u8]) -> io::Result<()> {
        match self {
            Self::Call => call(pieces, into),
            Self::File(file) => {
                let mut rest = into;
                for piece in pieces {
                    let (part, after) = rest.split_at_mut(piece.length);
                    file.read_exact_at(part, piece.address as u64)?;
                    rest = after;
                }
                Ok(())
            }
        }
    }
}

/// Copies pieces by one system call for as many of them as it takes.
fn call(pieces: &[Piece], into: &mut [u8]) -> io::Result<()> {
    let mut rest = into;
    for pieces in pieces.chunks(libc::UIO_MAXIOV as usize) {
        let length: usize = pieces.iter().map(|piece| piece.length).sum();
        let (part, after) = rest.split_at_mut(length);
        let remote: Vec<libc::iovec> = pieces
            .iter()
            .map(|piece| libc::iovec {
                iov_base: std::ptr::without_provenance_mut(piece.address),
                iov_len: piece.length,
            })
            .collect();
        let local = libc::iovec { iov_base: part.as_mut_ptr().cast(), iov_len: length };
        let process = std::process::id() as libc::pid_t;
        // SAFETY: the kernel writes at most `length` bytes, which `part` has, and nobody else sees them; it looks by itself
        // whether what it is to read is mapped.
        let count = unsafe {
            libc::process_vm_readv(process, &raw const local, 1, remote.as_ptr(), remote.len() as libc::c_ulong, 0)
        };
        if count < 0 {
            return Err(io::Error::last_os_error());
        }
        if count as usize != length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        rest = after;
    }
    Ok(())
}

/// The address of something that the interpreter exports, or none.
pub(super) fn symbol(name: &CStr) -> Option<usize> {
    // SAFETY: looks a name up among what is loaded; the name ends with a zero.
    let address = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    (!address.is_null()).then_some(address as usize)
}

/// The address of the calling thread's state.
pub(super) fn thread_state(_py: Python<'_>) -> usize {
    // SAFETY: the GIL is held, so there is one.
    unsafe { ffi::PyThreadState_Get() as usize }
}
