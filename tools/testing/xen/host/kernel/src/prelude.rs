// SPDX-License-Identifier: GPL-2.0

//! What everyone uses.

pub use crate::ffi::*;
pub use crate::{
    alloc::{
        flags::{GFP_ATOMIC, GFP_KERNEL},
        KBox, KVVec, KVec,
    },
    error::{code::*, Error, Result},
    macros::{kunit_tests, pin_data},
    pr_warn, try_pin_init,
};
