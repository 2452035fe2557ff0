// SPDX-License-Identifier: GPL-2.0

//! Arrays of pages as callers pass them: to be filled, or to be taken back.
//!
//! Pages mostly come in runs, of which all but the first page need only be written or compared.

use super::chunk::PassedPage;
use core::mem::MaybeUninit;
use kernel::{
    bindings,
    prelude::*, //
};

/// Fills `entries` with pages in a row, from `first` on.
#[inline]
pub(crate) fn fill(entries: &mut [MaybeUninit<*mut bindings::page>], first: *mut bindings::page) {
    /// Entries written without a branch between them.
    const BATCH: usize = 8;

    let mut next = first;
    let mut batches = entries.chunks_exact_mut(BATCH);

    for batch in &mut batches {
        for (nr, entry) in batch.iter_mut().enumerate() {
            entry.write(next.wrapping_add(nr));
        }
        next = next.wrapping_add(BATCH);
    }
    for (nr, entry) in batches.into_remainder().iter_mut().enumerate() {
        entry.write(next.wrapping_add(nr));
    }
}

/// Pages compared without a branch between them.
const BATCH: usize = 8;

/// What the addresses of two batches differ by.
const STEP: usize = BATCH * size_of::<bindings::page>();

/// Returns whether there are `batch`, in this order, from the address `first` on.
#[inline(always)]
fn is_batch_at(batch: &[Option<PassedPage>], first: usize) -> bool {
    batch.iter().enumerate().fold(true, |same, (nr, page)| {
        same & (address(page) == first.wrapping_add(nr * size_of::<bindings::page>()))
    })
}

/// The address of a page, 0 if there is none.
#[inline(always)]
fn address(page: &Option<PassedPage>) -> usize {
    page.map_or(0, PassedPage::addr)
}

/// Returns whether all pages follow the first in the address space as they do in `pages`.
#[inline]
pub(crate) fn is_run(pages: &[Option<PassedPage>]) -> bool {
    let mut at = pages.first().map_or(0, address);
    let batches = pages.chunks_exact(BATCH);
    let rest = batches.remainder();
    let mut differ = 0_usize;

    for batch in batches {
        differ |= usize::from(!is_batch_at(batch, at));
        at = at.wrapping_add(STEP);
    }
    for page in rest {
        differ |= usize::from(address(page) != at);
        at = at.wrapping_add(size_of::<bindings::page>());
    }
    differ == 0
}

/// The number of pages, at most `max`, that follow the first in the address space as they do in
/// `pages`.
#[inline]
pub(crate) fn run_length(pages: &[Option<PassedPage>], max: usize) -> usize {
    /// Batches between branches.
    const BATCHES: usize = 8;

    let pages = &pages[..pages.len().min(max)];
    let mut at = pages.first().map_or(0, address);
    let mut len = 0;

    for stride in pages.chunks_exact(BATCHES * BATCH) {
        let mut next = at;
        let same = stride
            .chunks_exact(BATCH)
            .map(|batch| {
                let same = is_batch_at(batch, next);

                next = next.wrapping_add(STEP);
                usize::from(same)
            })
            .sum::<usize>();

        if same != BATCHES {
            break;
        }
        at = next;
        len += BATCHES * BATCH;
    }
    for page in &pages[len..] {
        if address(page) != at {
            break;
        }
        at = at.wrapping_add(size_of::<bindings::page>());
        len += 1;
    }
    len
}

#[kunit_tests(xen_unpopulated_page_list)]
mod tests {
    use super::*;

    #[test]
    fn a_run_ends_where_the_next_page_is_another() -> Result {
        let mut pages = KVec::new();

        for nr in 1..101 {
            pages.push(Some(PassedPage::nth(nr)), GFP_KERNEL)?;
        }
        assert_eq!(run_length(&pages, usize::MAX), 100);
        assert_eq!(run_length(&pages, 17), 17);
        assert_eq!(run_length(&pages[..1], 17), 1);
        assert_eq!(run_length(&[], 17), 0);
        assert!(is_run(&pages));
        assert!(is_run(&pages[..1]));
        assert!(is_run(&[]));
        for at in [1, 7, 8, 9, 16, 99] {
            let page = pages[at];

            pages[at] = pages[0];
            assert_eq!(run_length(&pages, usize::MAX), at);
            assert!(!is_run(&pages));
            pages[at] = None;
            assert_eq!(run_length(&pages, usize::MAX), at);
            pages[at] = page;
        }
        Ok(())
    }
}
