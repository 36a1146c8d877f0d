//! What can go wrong between the loop and the kernel.
//!
//! `WouldBlock` and `Interrupted` are control flow and never appear here.

use std::fmt;

/// A result of the core.
pub type Result<T> = std::result::Result<T, Error>;

/// A failed operation, with the values a person needs to understand it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// A system call failed.
    Os {
        /// What was attempted, as the name of the system call.
        call: &'static str,
        /// The error number the kernel gave.
        errno: i32,
    },
    /// The token names no registration, or one that has ended.
    NotRegistered {
        /// The slot the token named.
        slot: u32,
    },
}

impl Error {
    /// The failure of `call` with a kernel error number.
    pub fn os(call: &'static str, errno: rustix::io::Errno) -> Self {
        Self::Os { call, errno: errno.raw_os_error() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Os { call, errno } => {
                write!(f, "{call}: {}", std::io::Error::from_raw_os_error(*errno))
            }
            Self::NotRegistered { slot } => write!(f, "registration {slot} does not exist or has ended"),
        }
    }
}

impl std::error::Error for Error {}
