// SPDX-License-Identifier: GPL-2.0

//! Pages.

use crate::bindings::{self, memory};
use crate::ffi::c_void;
use core::ptr::NonNull;

pub const PAGE_SHIFT: usize = 12;
pub const PAGE_SIZE: usize = 1 << PAGE_SHIFT;

pub unsafe fn page_to_pfn(page: NonNull<bindings::page>) -> usize {
    memory::pfn(page.as_ptr())
}

pub unsafe fn pfn_to_page(pfn: usize) -> NonNull<bindings::page> {
    NonNull::new(memory::page(pfn)).unwrap()
}

pub unsafe fn page_to_phys(page: NonNull<bindings::page>) -> u64 {
    (memory::pfn(page.as_ptr()) << PAGE_SHIFT) as u64
}

pub unsafe fn virt_to_page(addr: *const c_void) -> NonNull<bindings::page> {
    NonNull::new(memory::page(memory::pfn_at(addr))).unwrap()
}

pub unsafe fn page_address(page: NonNull<bindings::page>) -> *mut c_void {
    memory::address(memory::pfn(page.as_ptr()))
}
