// SPDX-License-Identifier: GPL-2.0

//! Errors.

use crate::alloc::AllocError;
use crate::ffi::{c_int, c_void};
use core::num::TryFromIntError;

/// The negative number that C has for an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error(c_int);

impl Error {
    /// Returns the number.
    pub fn to_errno(self) -> c_int {
        self.0
    }

    /// Returns what stands for the error where a pointer is expected.
    pub fn to_ptr<T>(self) -> *mut T {
        core::ptr::without_provenance_mut::<c_void>(self.0 as usize).cast()
    }
}

/// A result.
pub type Result<T = (), E = Error> = core::result::Result<T, E>;

/// The errors.
pub mod code {
    use super::Error;

    pub const EIO: Error = Error(-5);
    pub const ENOMEM: Error = Error(-12);
    pub const EFAULT: Error = Error(-14);
    pub const EBUSY: Error = Error(-16);
    pub const ENODEV: Error = Error(-19);
    pub const EINVAL: Error = Error(-22);
    pub const ENOSPC: Error = Error(-28);
    pub const ERANGE: Error = Error(-34);
    pub const EOPNOTSUPP: Error = Error(-95);
    pub const EREMOTEIO: Error = Error(-121);
}

impl From<AllocError> for Error {
    fn from(_: AllocError) -> Self {
        code::ENOMEM
    }
}

impl From<TryFromIntError> for Error {
    fn from(_: TryFromIntError) -> Self {
        code::EINVAL
    }
}

impl From<core::convert::Infallible> for Error {
    fn from(error: core::convert::Infallible) -> Self {
        match error {}
    }
}

/// Makes a result of what a C function returns.
pub fn to_result(errno: c_int) -> Result {
    if errno < 0 {
        return Err(Error(errno));
    }
    Ok(())
}
