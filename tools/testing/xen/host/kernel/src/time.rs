// SPDX-License-Identifier: GPL-2.0

//! Time.

use crate::ffi::{c_uint, c_ulong};

pub type Jiffies = c_ulong;
pub type Msecs = c_uint;

/// There are 250 in a second, and a part of one counts as one.
pub fn msecs_to_jiffies(msecs: Msecs) -> Jiffies {
    (msecs as c_ulong).div_ceil(4)
}
