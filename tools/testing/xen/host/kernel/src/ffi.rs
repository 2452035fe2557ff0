// SPDX-License-Identifier: GPL-2.0

//! The types of C, as the kernel has them.

pub use core::ffi::{c_int, c_uint, c_void, CStr};

pub type c_ulong = usize;
