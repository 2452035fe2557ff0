// SPDX-License-Identifier: GPL-2.0

//! What the pool asks of C.

use super::{
    ballooned::Returned,
    chunk::{
        PassedPage,
        PoolPage, //
    }, //
};
use core::{
    mem::MaybeUninit,
    ptr::NonNull, //
};
use kernel::{
    bindings,
    error::to_result,
    jump_label::static_branch_unlikely,
    page::page_to_pfn,
    prelude::*,
    time::{
        msecs_to_jiffies,
        Jiffies, //
    },
    types::NotThreadSafe, //
};

/// Returns whether [`super::pool::start`] has returned.
#[inline(always)]
pub(crate) fn is_ready() -> bool {
    /// The type that the key is the only field of.
    type Key = bindings::xen_unpopulated_key;

    // SAFETY: It is a static key.
    unsafe { static_branch_unlikely!(bindings::xen_unpopulated_ready, Key, key) }
}

/// Returns whether this is a PV domain.
pub(crate) fn is_pv_domain() -> bool {
    if !cfg!(CONFIG_XEN_PV) {
        return false;
    }
    // SAFETY: There are no requirements.
    unsafe { bindings::xen_unpopulated_is_pv() }
}

/// The time.
#[inline]
pub(crate) fn now() -> Jiffies {
    // The variable is written to by the timer interrupt, as a whole: a marked access.
    //
    // SAFETY: It is a static variable.
    unsafe { (&raw const bindings::jiffies).read_volatile() }
}

/// For how long a chunk has to be wholly free before it is given back, if chunks are at all.
#[inline]
pub(crate) fn idle_time() -> Option<Jiffies> {
    // A parameter, which is written to as a whole: a marked access.
    //
    // SAFETY: It is a static variable.
    let seconds = unsafe { (&raw const bindings::xen_unpopulated_idle_seconds).read_volatile() };

    (seconds != 0).then(|| msecs_to_jiffies(seconds.saturating_mul(1000)))
}

/// The number of pages that the pool must not grow beyond, if there is one.
pub(crate) fn ceiling() -> Option<usize> {
    // As above.
    //
    // SAFETY: It is a static variable.
    let pages = unsafe { (&raw const bindings::xen_unpopulated_max_pages).read_volatile() };

    (pages != 0).then_some(pages)
}

/// Has [`super::pool::give_back`] called after `delay`.
#[cold]
pub(crate) fn queue_give_back(delay: Jiffies) {
    // SAFETY: There are no requirements.
    unsafe { bindings::xen_unpopulated_queue_give_back(delay) }
}

/// Warns, the first time, that pages were refused.
pub(crate) fn warn_refused(nr_pages: usize) {
    // SAFETY: There are no requirements.
    unsafe { bindings::xen_unpopulated_refused(nr_pages) }
}

/// Tells, the first time, that pages come from the fallback.
pub(crate) fn tell_fallback(cause: Error, nr_pages: usize) {
    // SAFETY: There are no requirements.
    unsafe { bindings::xen_unpopulated_fell_back(cause.to_errno(), nr_pages) }
}

/// Tells, the first time, that there are no pages.
pub(crate) fn tell_exhausted(cause: Error, nr_pages: usize) {
    // SAFETY: There are no requirements.
    unsafe { bindings::xen_unpopulated_exhausted(cause.to_errno(), nr_pages) }
}

/// How many pages the balloon could give: those that it has, and RAM to be had without much ado;
/// any number if it is to add memory by hotplug.
pub(crate) fn balloonable_pages() -> usize {
    // SAFETY: There are no requirements.
    unsafe { bindings::xen_unpopulated_balloonable() }
}

/// As long as this lives, memory is not reclaimed by I/O where this thread allocates some.
///
/// A backend gets pages in the thread that does the I/O of others, which reclaim may wait for.
pub(crate) struct NoIo {
    flags: c_uint,
    /// It is the thread that is changed.
    _thread: NotThreadSafe,
}

impl NoIo {
    /// Begins with it. Those that live at once are dropped the other way round.
    pub(crate) fn new() -> Self {
        Self {
            // SAFETY: There are no requirements.
            flags: unsafe { bindings::xen_unpopulated_noio_save() },
            _thread: NotThreadSafe,
        }
    }
}

impl Drop for NoIo {
    fn drop(&mut self) {
        // SAFETY: This is the thread that saved the flags.
        unsafe { bindings::xen_unpopulated_noio_restore(self.flags) }
    }
}

/// Fills `pages` with ballooned pages.
pub(crate) fn alloc_ballooned(
    pages: &mut [MaybeUninit<*mut bindings::page>],
) -> Result<&[*mut bindings::page]> {
    let nr_pages = pages.len().try_into()?;
    let first = pages.as_mut_ptr().cast();

    // SAFETY: There is room for `nr_pages` pointers.
    to_result(unsafe { bindings::xen_alloc_ballooned_pages(nr_pages, first) })?;

    // SAFETY: All of them have been written now.
    Ok(unsafe { core::slice::from_raw_parts(first, pages.len()) })
}

/// Gives pages back that [`alloc_ballooned`] returned.
pub(crate) fn free_ballooned(returned: Returned<'_>) {
    let pages = returned.pages();
    // CAST: Who frees pages says with a `c_uint` how many they are.
    let nr_pages = pages.len() as c_uint;

    // SAFETY: There are that many pointers, which are only read. By the type invariants none is
    // null, and all pages came from `alloc_ballooned` and have not been freed since.
    unsafe { bindings::xen_free_ballooned_pages(nr_pages, pages.as_ptr().cast_mut().cast()) }
}

kernel::declare_trace! {
    /// # Safety
    ///
    /// There are no requirements.
    unsafe fn xen_unpopulated_grow(first_pfn: c_ulong, nr_pages: c_ulong);

    /// # Safety
    ///
    /// There are no requirements.
    unsafe fn xen_unpopulated_give_back_chunk(first_pfn: c_ulong, nr_pages: c_ulong);

    /// # Safety
    ///
    /// There are no requirements.
    unsafe fn xen_unpopulated_alloc_contiguous(first: *mut bindings::page, nr_pages: c_ulong);

    /// # Safety
    ///
    /// There are no requirements.
    unsafe fn xen_unpopulated_free_contiguous(first: *mut bindings::page, nr_pages: c_ulong);
}

/// Traces that the pool grew.
pub(crate) fn trace_grow(first_pfn: usize, nr_pages: usize) {
    // SAFETY: There are no requirements.
    unsafe { xen_unpopulated_grow(first_pfn, nr_pages) }
}

/// Traces that a chunk was given back.
pub(crate) fn trace_give_back(first_pfn: usize, nr_pages: usize) {
    // SAFETY: There are no requirements.
    unsafe { xen_unpopulated_give_back_chunk(first_pfn, nr_pages) }
}

/// Traces the allocation of a run.
#[inline]
pub(crate) fn trace_alloc_run(first: PoolPage, nr_pages: usize) {
    // SAFETY: There are no requirements, as the page is not looked into.
    unsafe { xen_unpopulated_alloc_contiguous(first.as_ptr(), nr_pages) }
}

/// Traces that a run is freed.
#[inline]
pub(crate) fn trace_free_run(first: PassedPage, nr_pages: usize) {
    // SAFETY: There are no requirements, as the page is not looked into.
    unsafe { xen_unpopulated_free_contiguous(first.as_ptr(), nr_pages) }
}

/// The runs in a list of pages that is linked through `zone_device_data`.
pub(crate) struct Donated(Option<NonNull<bindings::page>>);

impl Donated {
    /// Walks the list that begins with `first`.
    ///
    /// # Safety
    ///
    /// The pages exist for ever, and nobody else uses them or the list.
    pub(crate) unsafe fn new(first: *mut bindings::page) -> Self {
        Self(NonNull::new(first))
    }
}

impl Iterator for Donated {
    /// The first page of a run, its frame number, and how many pages there are.
    type Item = (NonNull<bindings::page>, usize, usize);

    fn next(&mut self) -> Option<Self::Item> {
        let mut first = self.0?;
        let mut nr_pages = 0;

        // The list has the page that came last at its head, so that runs are found from the end.
        loop {
            // SAFETY: The page exists, and is not used, so that the field is the link.
            let next = unsafe {
                (*first.as_ptr())
                    .__bindgen_anon_1
                    .__bindgen_anon_4
                    .zone_device_data
            };

            nr_pages += 1;
            self.0 = NonNull::new(next.cast());
            match self.0 {
                Some(before) if before.as_ptr().wrapping_add(1) == first.as_ptr() => first = before,
                _ => break,
            }
        }

        // SAFETY: The page exists.
        Some((first, unsafe { page_to_pfn(first) }, nr_pages))
    }
}
