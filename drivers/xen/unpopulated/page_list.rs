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
    const BATCH: usize = 16;

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

/// The address of a page, 0 if there is none.
#[inline]
fn address(page: &Option<PassedPage>) -> usize {
    page.map_or(0, PassedPage::addr)
}

/// What the addresses of two pages in a row differ by.
const STEP: usize = size_of::<bindings::page>();

/// Returns whether there are `pages`, in this order, from the address `first` on.
#[inline(always)]
fn is_run_at(pages: &[Option<PassedPage>], first: usize) -> bool {
    /// Pages compared without a branch between them. That there is none between two batches either
    /// is what keeps the compiler from making one of each comparison.
    const BATCH: usize = 16;

    let batches = pages.chunks_exact(BATCH);
    let rest = batches.remainder();
    let mut next = first;
    let mut all_same = true;

    for batch in batches {
        let same = batch.iter().enumerate().fold(true, |same, (nr, page)| {
            same & (address(page) == next.wrapping_add(nr * STEP))
        });

        all_same &= same;
        next = next.wrapping_add(BATCH * STEP);
    }
    for page in rest {
        all_same &= address(page) == next;
        next = next.wrapping_add(STEP);
    }
    all_same
}

/// Returns whether all pages follow the first in the address space as they do in `pages`.
#[inline]
pub(crate) fn is_run(pages: &[Option<PassedPage>]) -> bool {
    is_run_at(pages, pages.first().map_or(0, address))
}

/// The number of pages, at most `max`, that follow the first in the address space as they do in
/// `pages`.
#[inline]
pub(crate) fn run_length(pages: &[Option<PassedPage>], max: usize) -> usize {
    /// Pages compared at once.
    const STRIDE: usize = 64;

    let pages = &pages[..pages.len().min(max)];
    let mut next = pages.first().map_or(0, address);
    let mut len = 0;

    for stride in pages.chunks_exact(STRIDE) {
        if !is_run_at(stride, next) {
            break;
        }
        next = next.wrapping_add(STRIDE * STEP);
        len += STRIDE;
    }
    for page in &pages[len..] {
        if address(page) != next {
            break;
        }
        next = next.wrapping_add(STEP);
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
