//! Errors of the core as Python exceptions.

use boucle_core::Error;
use pyo3::PyErr;
use pyo3::exceptions::{PyOSError, PyRuntimeError};

/// A failed system call becomes `OSError(errno, text)`: Python then picks the subclass and sets `errno`.
pub(crate) fn to_py_err(error: &Error) -> PyErr {
    match *error {
        Error::Os { errno, .. } => {
            let with_number = std::io::Error::from_raw_os_error(errno).to_string();
            // The standard library appends the number, which the exception shows by itself.
            let text = with_number.split(" (os error").next().unwrap_or_default().to_owned();
            PyOSError::new_err((errno, text))
        }
        Error::NotRegistered { .. } => PyRuntimeError::new_err(error.to_string()),
    }
}
