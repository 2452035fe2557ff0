// SPDX-License-Identifier: GPL-2.0

//! Xen's types, from the files of the kernel.

pub use super::xen_base::*;

#[path = "../../../../../../rust/kernel/xen/grant.rs"]
pub mod grant;
