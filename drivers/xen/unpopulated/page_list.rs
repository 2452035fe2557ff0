// SPDX-License-Identifier: GPL-2.0

//! Arrays of pages as callers pass them: to be filled, or to be taken back.
//!
//! Pages mostly come in runs, of which all but the first page need only be written or compared.

use super::chunk::{
    PassedPage,
    PoolPage, //
};
use core::mem::MaybeUninit;
use kernel::{
    bindings,
    prelude::*, //
};

/// Fills `entries` with pages in a row, from `first` on.
#[inline]
pub(crate) fn fill(entries: &mut [MaybeUninit<*mut bindings::page>], first: *mut bindings::page) {
    /// Entries written without a branch between them.
    const BATCH: usize = 32;

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
pub(crate) fn address(page: &Option<PassedPage>) -> usize {
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

/// Returns whether two pages are the same.
#[inline(always)]
pub(crate) fn is_page(page: &Option<PassedPage>, other: &Option<PoolPage>) -> bool {
    address(page) == other.map_or(0, PoolPage::addr)
}

/// Fills `entries` with `pages`, of which there are as many, and returns whether there is no gap.
///
/// There is none. But that one could be found keeps the compiler from making calls of memcpy() out
/// of the loops, which take longer for this few.
#[inline(always)]
pub(crate) fn copy(
    entries: &mut [MaybeUninit<*mut bindings::page>],
    pages: &[Option<PoolPage>],
) -> bool {
    const BATCH: usize = 8;
    const HALF: usize = BATCH / 2;

    let copy_few = |entries: &mut [MaybeUninit<_>], pages: &[Option<PoolPage>]| {
        for (entry, page) in entries.iter_mut().zip(pages) {
            let Some(page) = page else {
                return false;
            };
            entry.write(page.as_ptr());
        }
        true
    };

    if entries.len() < BATCH {
        return copy_few(entries, pages);
    }

    let mut entries = entries.chunks_exact_mut(BATCH);
    let pages = pages.chunks_exact(BATCH);
    let rest = pages.remainder();

    for (entries, pages) in (&mut entries).zip(pages) {
        for (entry, page) in entries[..HALF].iter_mut().zip(&pages[..HALF]) {
            entry.write(PoolPage::ptr_or_null(*page));
        }
        if pages[0].is_none() {
            return false;
        }
        for (entry, page) in entries[HALF..].iter_mut().zip(&pages[HALF..]) {
            entry.write(PoolPage::ptr_or_null(*page));
        }
    }
    copy_few(entries.into_remainder(), rest)
}

/// Returns whether `pages` are the same as `others`, of which there are as many.
#[inline(always)]
pub(crate) fn is_same(pages: &[Option<PassedPage>], others: &[Option<PoolPage>]) -> bool {
    /// As above, but less, as there are mostly few.
    const BATCH: usize = 8;

    let is_same_few = |pages: &[_], others: &[_]| {
        let mut both = pages.iter().zip(others);

        both.all(|(page, other)| is_page(page, other))
    };

    if pages.len() < BATCH {
        return is_same_few(pages, others);
    }

    let pages = pages.chunks_exact(BATCH);
    let others = others.chunks_exact(BATCH);
    let rest = (pages.remainder(), others.remainder());
    let mut all_same = true;

    for (pages, others) in pages.zip(others) {
        let both = pages.iter().zip(others);

        all_same &= both.fold(true, |same, (page, other)| same & is_page(page, other));
    }
    all_same && is_same_few(rest.0, rest.1)
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
    const STRIDE: usize = 128;

    let pages = &pages[..pages.len().min(max)];
    let mut next = pages.first().map_or(0, address);
    let mut rest = pages;

    while let Some((stride, behind)) = rest.split_at_checked(STRIDE) {
        if !is_run_at(stride, next) {
            break;
        }
        next = next.wrapping_add(STRIDE * STEP);
        rest = behind;
    }
    while let Some((page, behind)) = rest.split_first() {
        if address(page) != next {
            break;
        }
        next = next.wrapping_add(STEP);
        rest = behind;
    }
    pages.len() - rest.len()
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
        for at in [1, 7, 8, 9, 16, 31, 32, 33, 63, 64, 65, 99] {
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

    #[test]
    fn each_page_is_compared() -> Result {
        for len in 0..40 {
            let mut pages = KVec::new();
            let mut others = KVec::new();

            for nr in 0..len {
                let page = PassedPage::nth(7 * nr + 3);

                pages.push(Some(page), GFP_KERNEL)?;
                others.push(Some(page.as_pool_page()), GFP_KERNEL)?;
            }
            assert!(is_same(&pages, &others));
            for at in 0..len {
                let page = pages[at];

                pages[at] = Some(PassedPage::nth(7 * at + 4));
                assert!(!is_same(&pages, &others));
                pages[at] = None;
                assert!(!is_same(&pages, &others));
                pages[at] = page;
            }
        }
        Ok(())
    }
}
