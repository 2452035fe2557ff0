// SPDX-License-Identifier: GPL-2.0

//! RAM, and the array of struct pages.
//!
//! The array goes on behind the RAM, for address space where nothing is. What is there is never
//! looked at, nor is there anything.

use super::gfp_t;
use crate::ffi::{c_uint, c_ulong, c_void};
use crate::host;
use crate::page::{PAGE_SHIFT, PAGE_SIZE};
use crate::sync::Lock;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

/// How many pages there are.
pub const RAM_PAGES: usize = 512;

/// A struct page, as far as fields of it are used.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
pub struct page {
    pub __bindgen_anon_1: page_fields,
}

/// What is a union in C.
#[derive(Clone, Copy)]
pub struct page_fields {
    pub __bindgen_anon_4: page_zone_device,
}

/// What pages have that are in no zone of RAM.
#[derive(Clone, Copy)]
pub struct page_zone_device {
    pub zone_device_data: *mut c_void,
}

/// A page of memory.
#[repr(align(4096))]
#[derive(Clone, Copy)]
struct Memory {
    _bytes: [u8; PAGE_SIZE],
}

/// Where they are.
struct Ram {
    pages: *mut page,
    memory: *mut Memory,
}

// SAFETY: These are addresses.
unsafe impl Send for Ram {}
// SAFETY: As above.
unsafe impl Sync for Ram {}

static RAM: LazyLock<Ram> = LazyLock::new(|| {
    const NONE: page = page {
        __bindgen_anon_1: page_fields {
            __bindgen_anon_4: page_zone_device {
                zone_device_data: core::ptr::null_mut(),
            },
        },
    };

    Ram {
        pages: Vec::leak(vec![NONE; RAM_PAGES]).as_mut_ptr(),
        memory: Vec::leak(vec![
            Memory {
                _bytes: [0; PAGE_SIZE]
            };
            RAM_PAGES
        ])
        .as_mut_ptr(),
    }
});

/// What has been allocated: the first page and how many.
static ALLOCATED: Lock<BTreeMap<usize, usize>> = Lock::new(BTreeMap::new());

/// The pages that are pinned, and how often.
static PINS: Lock<BTreeMap<usize, usize>> = Lock::new(BTreeMap::new());

/// The pages that can't be pinned.
pub static SLAB: Lock<BTreeSet<usize>> = Lock::new(BTreeSet::new());

/// The pages that are those of someone else.
pub static FOREIGN: Lock<BTreeSet<usize>> = Lock::new(BTreeSet::new());

/// The struct page with a number.
pub fn page(pfn: usize) -> *mut page {
    RAM.pages.wrapping_add(pfn)
}

/// The number of a struct page.
pub fn pfn(page: *const page) -> usize {
    page.addr().wrapping_sub(RAM.pages.addr()) / size_of::<page>()
}

/// Where the memory of a page is.
pub fn address(pfn: usize) -> *mut c_void {
    RAM.memory.wrapping_add(pfn).cast()
}

/// The page that an address is in.
pub fn pfn_at(address: *const c_void) -> usize {
    (address.addr() - RAM.memory.addr()) >> PAGE_SHIFT
}

/// How many pages are allocated.
pub fn nr_allocated() -> usize {
    ALLOCATED.lock().values().sum()
}

/// How many times pages are pinned.
pub fn nr_pinned() -> usize {
    PINS.lock().values().sum()
}

/// Frees all pages, but for so many in a row that someone has.
///
/// This comes before threads do, for ThreadSanitizer does not see how these wait for the array.
pub fn reset(someones: usize) {
    LazyLock::force(&RAM);
    PINS.lock().clear();
    SLAB.lock().clear();
    FOREIGN.lock().clear();
    *ALLOCATED.lock() = BTreeMap::from([(0, someones)]);
}

/// Allocates pages in a row.
fn allocate(nr: usize, align: usize, clear: bool) -> Option<usize> {
    if !host::succeeds() {
        return None;
    }

    let mut allocated = ALLOCATED.lock();
    let mut first = 0;

    for (&other, &its) in allocated.iter() {
        if first + nr <= other {
            break;
        }
        first = (other + its).next_multiple_of(align);
    }
    if first + nr > RAM_PAGES {
        return None;
    }
    allocated.insert(first, nr);

    // What was there before is not what anybody should see.
    let byte = if clear { 0 } else { 0xa5 };

    // SAFETY: It is memory that nobody has.
    unsafe {
        address(first)
            .cast::<u8>()
            .write_bytes(byte, nr << PAGE_SHIFT)
    };
    Some(first)
}

fn free(first: usize, nr: usize) {
    let freed = ALLOCATED.lock().remove(&first);

    host::expect(freed == Some(nr), "freed wrongly");
}

pub unsafe fn alloc_pages(gfp: gfp_t, order: c_uint) -> *mut page {
    let nr = 1 << order;

    allocate(nr, nr, gfp & super::__GFP_ZERO != 0).map_or(core::ptr::null_mut(), page)
}

pub unsafe fn __free_pages(first: *mut page, order: c_uint) {
    free(pfn(first), 1 << order);
}

pub unsafe fn alloc_pages_exact_noprof(size: usize, gfp: gfp_t) -> *mut c_void {
    let nr = size.div_ceil(PAGE_SIZE);
    let first = allocate(nr, nr.next_power_of_two(), gfp & super::__GFP_ZERO != 0);

    first.map_or(core::ptr::null_mut(), address)
}

pub unsafe fn free_pages_exact(memory: *mut c_void, size: usize) {
    free(pfn_at(memory), size.div_ceil(PAGE_SIZE));
}

pub unsafe fn xen_page_to_gfn(page: *mut page) -> c_ulong {
    pfn(page) as c_ulong
}

fn is_own(first: usize, nr_pages: usize) -> bool {
    let end = first + nr_pages;

    end <= RAM_PAGES && FOREIGN.lock().range(first..end).next().is_none()
}

pub unsafe fn xen_grant_dma_is_own(phys: u64, nr_pages: usize) -> bool {
    is_own(phys as usize >> PAGE_SHIFT, nr_pages)
}

/// Only of some is it known without a closer look.
fn is_plain(first: usize, nr_pages: usize) -> bool {
    is_own(first, nr_pages) && first % 7 != 0
}

pub unsafe fn xen_grant_dma_is_plain(phys: u64, nr_pages: usize) -> bool {
    is_plain(phys as usize >> PAGE_SHIFT, nr_pages)
}

pub unsafe fn xen_grant_dma_plain_phys(first: *mut page, nr_pages: usize) -> u64 {
    let first = pfn(first);

    if is_plain(first, nr_pages) {
        (first << PAGE_SHIFT) as u64
    } else {
        u64::MAX
    }
}

pub unsafe fn xen_grant_dma_pin(pfn: usize) -> bool {
    if SLAB.lock().contains(&pfn) {
        return false;
    }
    *PINS.lock().entry(pfn).or_default() += 1;
    true
}

pub unsafe fn xen_grant_dma_unpin(pfn: usize) {
    let mut pins = PINS.lock();
    let Some(nr) = pins.get_mut(&pfn) else {
        return host::expect(false, "not pinned");
    };

    *nr -= 1;
    if *nr == 0 {
        pins.remove(&pfn);
    }
}
