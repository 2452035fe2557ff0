// SPDX-License-Identifier: GPL-2.0

//! Address space.

pub mod resource;

pub type PhysAddr = u64;
