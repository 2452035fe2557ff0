// SPDX-License-Identifier: GPL-2.0

//! What the pool of unpopulated pages asks for: see unpopulated/glue.c.

use super::{memory, page};
use crate::ffi::{c_int, c_uint, c_ulong};
use crate::host;
use crate::sync::Lock;
use std::collections::BTreeSet;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct xen_unpopulated_statistics {
    pub total: usize,
    pub free: usize,
    pub chunks: usize,
    pub ballooned: usize,
    pub grown: usize,
    pub given_back: usize,
    pub refused: usize,
    pub pinned: usize,
    pub fallback: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct xen_unpopulated_chunk {
    pub first_pfn: usize,
    pub nr_pages: usize,
    pub nr_free: usize,
}

pub struct xen_unpopulated_key {
    pub key: bool,
}

pub static mut xen_unpopulated_ready: xen_unpopulated_key = xen_unpopulated_key { key: false };
pub static mut xen_unpopulated_idle_seconds: c_uint = 0;
pub static mut xen_unpopulated_max_pages: usize = 0;
pub static mut jiffies: c_ulong = 0;

/// What has been asked for, and what there is.
#[derive(Default)]
pub struct State {
    /// After how long chunks are to be given back.
    pub queued: Option<c_ulong>,
    pub refused: usize,
    pub fell_back: usize,
    pub exhausted: usize,
    /// How many pages the balloon has.
    pub balloonable: usize,
    /// The pages that it has given.
    pub out: BTreeSet<usize>,
    /// How large pageblocks are, in bytes, and the addresses of those that have RAM in them.
    pub pageblock: u64,
    pub ram: BTreeSet<u64>,
}

pub static STATE: Lock<State> = Lock::new(State {
    queued: None,
    refused: 0,
    fell_back: 0,
    exhausted: 0,
    balloonable: 0,
    out: BTreeSet::new(),
    pageblock: 0,
    ram: BTreeSet::new(),
});

/// The number of the first page of the balloon, far from those of the pool.
pub const BALLOON: usize = 1 << 30;

pub unsafe fn xen_unpopulated_queue_give_back(delay: c_ulong) {
    STATE.lock().queued = Some(delay);
}

pub unsafe fn xen_unpopulated_refused(nr_pages: usize) {
    STATE.lock().refused += nr_pages;
}

pub unsafe fn xen_unpopulated_fell_back(_: c_int, nr_pages: usize) {
    STATE.lock().fell_back += nr_pages;
}

pub unsafe fn xen_unpopulated_exhausted(_: c_int, nr_pages: usize) {
    STATE.lock().exhausted += nr_pages;
}

pub unsafe fn xen_unpopulated_balloonable() -> usize {
    STATE.lock().balloonable
}

pub unsafe fn xen_unpopulated_noio_save() -> c_uint {
    c_uint::from(host::NO_IO.replace(true))
}

pub unsafe fn xen_unpopulated_noio_restore(flags: c_uint) {
    host::NO_IO.set(flags != 0);
}

pub unsafe fn xen_unpopulated_is_pv() -> bool {
    false
}

pub unsafe fn xen_unpopulated_past_ram(start: u64, end: u64) -> u64 {
    let state = STATE.lock();
    let first = (start + 1).saturating_sub(state.pageblock);
    let last = state.ram.range(first..end).next_back();

    last.map_or(0, |last| last + state.pageblock)
}

pub unsafe fn xen_unpopulated_prepare_range(_: u64, _: usize) -> c_int {
    0
}

pub unsafe fn xen_alloc_ballooned_pages(nr_pages: c_uint, pages: *mut *mut page) -> c_int {
    let mut state = STATE.lock();

    if state.balloonable < nr_pages as usize || !host::succeeds() {
        return -12;
    }
    state.balloonable -= nr_pages as usize;

    let free: Vec<usize> = (BALLOON..)
        .filter(|pfn| !state.out.contains(pfn))
        .take(nr_pages as usize)
        .collect();

    for (nr, pfn) in free.into_iter().enumerate() {
        state.out.insert(pfn);
        // SAFETY: There is room, as required from the caller.
        unsafe { pages.add(nr).write(memory::page(pfn)) };
    }
    0
}

pub unsafe fn xen_free_ballooned_pages(nr_pages: c_uint, pages: *mut *mut page) {
    let mut state = STATE.lock();

    for nr in 0..nr_pages as usize {
        // SAFETY: There are that many, as required from the caller.
        let pfn = memory::pfn(unsafe { pages.add(nr).read() });

        assert!(state.out.remove(&pfn), "freed to the balloon twice");
        state.balloonable += 1;
    }
}
