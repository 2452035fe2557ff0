// SPDX-License-Identifier: GPL-2.0

//! The Rust files of drivers/xen, the same ones that are part of the kernel, and tests that need
//! more time, or other tools, than there are in a kernel.
//!
//! Left out are the files where calls from C arrive.

// What those would use.
#![allow(dead_code)]

#[path = "../../../../../drivers/xen/grant_dma_alloc/logic.rs"]
mod grant_dma_alloc;
mod grant_dma_ops;
mod unpopulated;

#[cfg(test)]
mod tests;
