// SPDX-License-Identifier: GPL-2.0

//! Pages without memory behind them, to map memory of other domains to.
//!
//! To map a grant or a foreign frame the kernel needs a guest-physical address where nothing is,
//! and a `struct page` for it. Xen tells which addresses are unused ("extended regions"); the pool
//! makes struct pages for parts of them, as they are needed, and hands the pages out: single ones,
//! or runs with consecutive frame numbers.
//!
//! An unpopulated page must never be touched while nothing is mapped to it. While it is handed out
//! its `struct page` belongs to whoever has it, and is not looked at except for the fields that
//! say whose page it is.
//!
//! This file is where calls from C arrive. It turns their arguments into types, and results into
//! error codes.
//!
//! - `free_map`: which pages of a chunk are free.
//! - `index`: the chunks, and which of them serves what.
//! - `ready`: the pages that small requests are served from.
//! - `page_list`: arrays of pages.
//! - `growth`: how large chunks are.
//! - `ballooned`: which pages came from the fallback.
//! - `pool`: all of that put together, under locks.
//! - `chunk`: the address space and the struct pages of a chunk.
//! - `glue`: calls to C.
//!
//! C header: [`unpopulated.h`](srctree/drivers/xen/unpopulated/unpopulated.h)

use kernel::{
    bindings,
    io::resource::Resource,
    prelude::*,
    time::Jiffies, //
};

mod ballooned;
mod chunk;
mod free_map;
mod glue;
mod growth;
mod index;
mod page_list;
mod pool;
mod random_test;
mod ready;

use chunk::PassedPage;

/// Prefix to appear before log messages.
const __LOG_PREFIX: &[u8] = b"xen_unpopulated\0";

kernel::sync::global_lock! {
    // SAFETY: Initialized by `xen_unpopulated_start`, before which nothing else may be called.
    pub(crate) unsafe(uninit) static POOL: Mutex<pool::Pool> = pool::Pool::new();
}

kernel::sync::global_lock! {
    // SAFETY: Initialized by `xen_unpopulated_start`, before which nothing else may be called.
    pub(crate) unsafe(uninit) static GROWTH: Mutex<pool::Growth> = pool::Growth::new();
}

kernel::sync::global_lock! {
    // SAFETY: Initialized by `xen_unpopulated_start`, before which nothing else may be called.
    pub(crate) unsafe(uninit) static BALLOONED: Mutex<ballooned::Ballooned> =
        ballooned::Ballooned::new();
}

/// Starts the pool.
///
/// # Safety
///
/// - This is called once, before any other function here.
/// - `target` is null, or a resource that exists for ever, and of which nothing but the links
///   changes.
/// - `donated` is null, or the first of a list of pages, linked through `zone_device_data`, which
///   exist for ever and which nobody uses.
#[export]
unsafe extern "C" fn xen_unpopulated_start(
    target: *mut bindings::resource,
    donated: *mut bindings::page,
) {
    // SAFETY: This is called once.
    unsafe { POOL.init() };
    // SAFETY: This is called once.
    unsafe { GROWTH.init() };
    // SAFETY: This is called once.
    unsafe { BALLOONED.init() };

    let target = if target.is_null() {
        None
    } else {
        // SAFETY: It is valid for ever and stays as it is, as required from the caller.
        Some(unsafe { Resource::from_raw(target) })
    };

    // SAFETY: As required from the caller.
    pool::start(target, unsafe { glue::Donated::new(donated) });
}

/// Fills an array with pages, wherever they are, see `xen.h`.
///
/// # Safety
///
/// `pages` points to room for `nr_pages` pointers, or `nr_pages` is 0.
#[export]
unsafe extern "C" fn xen_alloc_unpopulated_pages(
    nr_pages: c_uint,
    pages: *mut *mut bindings::page,
) -> c_int {
    if !glue::is_ready() {
        // SAFETY: There is room for that many, as required from the caller.
        return unsafe { bindings::xen_unpopulated_alloc_early(nr_pages, pages) };
    }

    let result = if nr_pages > 1 {
        // CAST: A `c_uint` fits into a `usize`.
        //
        // SAFETY: There is room for that many, as required from the caller.
        pool::alloc(unsafe { core::slice::from_raw_parts_mut(pages.cast(), nr_pages as usize) })
    } else if nr_pages == 1 {
        // SAFETY: There is room for one, as required from the caller.
        pool::alloc_one(unsafe { &mut *pages.cast() })
    } else {
        Ok(())
    };

    if let Err(error) = result {
        return error.to_errno();
    }
    // SAFETY: All of them have been written now.
    unsafe { prepare(nr_pages, pages) }
}

/// Has pages prepared for use in a PV domain. If that fails they are taken back.
///
/// # Safety
///
/// `pages` points to `nr_pages` pages that were just handed out, and that nobody else knows.
#[inline]
unsafe fn prepare(nr_pages: c_uint, pages: *mut *mut bindings::page) -> c_int {
    if !cfg!(CONFIG_XEN_HAVE_PVMMU) {
        return 0;
    }
    // SAFETY: There are that many, as required from the caller.
    let ret = unsafe { bindings::xen_unpopulated_prepare_pages(nr_pages, pages) };

    if ret != 0 {
        // CAST: A `c_uint` fits into a `usize`.
        //
        // SAFETY: There are that many, and nobody uses them, as required from the caller. They are
        // handed out, so that their chunks stay in existence.
        pool::free(unsafe { PassedPage::slice(pages, nr_pages as usize) });
    }
    ret
}

/// Takes pages back, see `xen.h`.
///
/// # Safety
///
/// - `pages` points to `nr_pages` pointers to pages that exist, and that nobody is to use any more,
///   or `nr_pages` is 0.
/// - Each of the pages is handed out, or is in no chunk that can be given back meanwhile.
#[export]
unsafe extern "C" fn xen_free_unpopulated_pages(nr_pages: c_uint, pages: *mut *mut bindings::page) {
    if !glue::is_ready() {
        // SAFETY: There are that many, as required from the caller.
        return unsafe { bindings::xen_unpopulated_free_early(nr_pages, pages) };
    }

    if nr_pages > 1 {
        // CAST: A `c_uint` fits into a `usize`.
        //
        // SAFETY: There are that many, as required from the caller. A page that is out keeps its
        // chunk in existence, and that of another is not given back, as required too.
        pool::free(unsafe { PassedPage::slice(pages, nr_pages as usize) })
    } else if nr_pages == 1 {
        // SAFETY: As above.
        pool::free_one(unsafe { PassedPage::entry(pages) })
    }
}

/// Hands out pages with consecutive frame numbers, see `xen.h`.
///
/// # Safety
///
/// `first` points to room for a pointer.
#[export]
unsafe extern "C" fn xen_alloc_unpopulated_contiguous_pages(
    nr_pages: c_uint,
    align: c_uint,
    max_addr: bindings::phys_addr_t,
    first: *mut *mut bindings::page,
) -> c_int {
    if !glue::is_ready() || glue::is_pv_domain() {
        return EOPNOTSUPP.to_errno();
    }
    if nr_pages == 0 || !align.is_power_of_two() {
        return EINVAL.to_errno();
    }
    let Some(max_pfn) = pool::max_pfn(max_addr) else {
        return ENOMEM.to_errno();
    };

    // CAST: A `c_uint` fits into a `usize`.
    match pool::alloc_run(pool::Run {
        nr: nr_pages as usize,
        align: align as usize,
        max_pfn,
    }) {
        Ok(page) => {
            // SAFETY: There is room, as required from the caller.
            unsafe { first.write(page.as_ptr()) };
            0
        }
        Err(error) => error.to_errno(),
    }
}

/// Takes back pages with consecutive frame numbers, see `xen.h`.
///
/// # Safety
///
/// - `first` points to a page that exists, as do the `nr_pages - 1` that follow, and nobody is to
///   use any of them any more.
/// - The first is handed out, or is in no chunk that can be given back meanwhile.
#[export]
unsafe extern "C" fn xen_free_unpopulated_contiguous_pages(
    nr_pages: c_uint,
    first: *mut bindings::page,
) {
    if !glue::is_ready() {
        return;
    }
    // SAFETY: The page exists, as required from the caller. If it is out, it keeps its chunk in
    // existence, and if not, that is not given back, as required too.
    if let Some(first) = unsafe { PassedPage::new(first) } {
        // CAST: A `c_uint` fits into a `usize`.
        pool::free_run(first, nr_pages as usize);
    }
}

/// Returns whether a page is in a chunk that the pool has made, see `xen.h`.
///
/// # Safety
///
/// `page` points to a page that exists, and that is handed out, or is in no chunk that can be given
/// back meanwhile.
#[export]
unsafe extern "C" fn is_xen_unpopulated_page(page: *mut bindings::page) -> bool {
    // SAFETY: The page exists, as required from the caller. If it is out, it keeps its chunk in
    // existence, and if not, that is not given back, as required too.
    unsafe { PassedPage::new(page) }.is_some_and(|page| chunk::slot_of(page).is_some())
}

/// Gives back chunks that have been wholly free for long, and returns after how many jiffies to do
/// so again, or 0.
///
/// # Safety
///
/// `xen_unpopulated_start` has been called.
#[export]
unsafe extern "C" fn xen_unpopulated_give_back() -> Jiffies {
    pool::give_back().unwrap_or(0)
}

/// Says what the pool has and has done.
///
/// # Safety
///
/// `stats` points to room for the statistics.
#[export]
unsafe extern "C" fn xen_unpopulated_get_statistics(
    stats: *mut bindings::xen_unpopulated_statistics,
) {
    let (totals, counts) = pool::statistics();

    // SAFETY: There is room, as required from the caller.
    unsafe {
        stats.write(bindings::xen_unpopulated_statistics {
            total: totals.pages,
            free: totals.free,
            chunks: totals.chunks,
            ballooned: counts.ballooned,
            grown: counts.grown,
            given_back: counts.given_back,
            refused: counts.refused,
            pinned: counts.pinned,
            fallback: counts.fallback,
        })
    };
}

/// Describes the chunk in a slot of the index, if there is one.
///
/// # Safety
///
/// `chunk` points to room for the description.
#[export]
unsafe extern "C" fn xen_unpopulated_get_chunk(
    slot: c_uint,
    chunk: *mut bindings::xen_unpopulated_chunk,
) -> bool {
    // CAST: A `c_uint` fits into a `usize`.
    let Some((first_pfn, nr_pages, nr_free)) = pool::describe(slot as usize) else {
        return false;
    };

    // SAFETY: There is room, as required from the caller.
    unsafe {
        chunk.write(bindings::xen_unpopulated_chunk {
            first_pfn,
            nr_pages,
            nr_free,
        })
    };
    true
}
