// SPDX-License-Identifier: GPL-2.0

//! Types for others to be made of.

use core::marker::PhantomData;

/// Makes what contains it a matter of one thread.
pub type NotThreadSafe = PhantomData<*mut ()>;

/// One of these.
#[allow(non_upper_case_globals)]
pub const NotThreadSafe: NotThreadSafe = PhantomData;
