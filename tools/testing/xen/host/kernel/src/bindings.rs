// SPDX-License-Identifier: GPL-2.0

//! What C does, as far as the Rust files of drivers/xen ask for it.

#![allow(non_camel_case_types, non_upper_case_globals)]

pub mod balloon;
pub mod dma;
pub mod grants;
pub mod memory;

pub use balloon::*;
pub use dma::*;
pub use grants::functions::*;
pub use memory::{
    __free_pages, alloc_pages, alloc_pages_exact_noprof, free_pages_exact, page, xen_page_to_gfn,
};

use crate::ffi::{c_uint, c_ulong};

pub type gfp_t = c_uint;
pub type phys_addr_t = u64;
pub type dma_addr_t = u64;
pub type domid_t = u16;
pub type grant_ref_t = u32;
pub type xen_pfn_t = u64;
pub type resource = crate::io::resource::Resource;

pub const GFP_ATOMIC: gfp_t = 2;
pub const __GFP_ZERO: gfp_t = 4;
pub const DOMID_FIRST_RESERVED: u32 = 0x7ff0;
pub const XEN_PAGE_SHIFT: u32 = 12;

/// Small, so that the largest step is one that tests take.
pub const PAGES_PER_SECTION: c_ulong = 256;
