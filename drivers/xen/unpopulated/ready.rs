// SPDX-License-Identifier: GPL-2.0

//! The pages that small requests are served from.
//!
//! Most requests are for one page or a few. To find the chunk of a page and to keep the books of
//! it costs more than all the rest. So some pages are taken out of a chunk beforehand, and handed
//! out in the order in which they lie here. Those that were handed out last are mostly taken back
//! first, in the same order: then they need only be compared with what lies here, also where they
//! are not next to each other.

use super::{
    chunk::{
        PassedPage,
        PoolPage, //
    },
    page_list::{
        copy,
        is_page,
        is_same, //
    }, //
};
use core::mem::MaybeUninit;
use kernel::{
    bindings,
    prelude::*, //
};

/// How many pages can be ready, which is the largest request that is served from here.
pub(crate) const READY_PAGES: usize = 64;

/// A number of pages that is at most [`READY_PAGES`].
///
/// That it is small spares checks for overflow.
type Count = u8;

/// Pages of one chunk that are ready to be handed out.
///
/// # Invariants
///
/// - `known <= next <= READY_PAGES`.
/// - `pages[known..]` are pages of the chunk in `slot`, in ascending order. In the chunk's bitmap
///   they are not free.
/// - `pages[known..next]` are handed out, `pages[next..]` are not.
/// - There are none in `pages[..known]`.
pub(crate) struct Ready {
    pages: [Option<PoolPage>; READY_PAGES],
    known: Count,
    next: Count,
    slot: usize,
}

impl Ready {
    /// Makes an empty one.
    pub(crate) const fn new() -> Self {
        // CAST: A `Count` can be as much.
        //
        // INVARIANT: No page is known.
        Self {
            pages: [None; READY_PAGES],
            known: READY_PAGES as Count,
            next: READY_PAGES as Count,
            slot: 0,
        }
    }

    /// The slot of the chunk that the pages are of.
    pub(crate) fn slot(&self) -> usize {
        self.slot
    }

    #[inline]
    fn known(&self) -> usize {
        self.known.into()
    }

    #[inline]
    fn next(&self) -> usize {
        self.next.into()
    }

    #[inline]
    fn set_next(&mut self, next: usize) {
        // CAST: It is at most `READY_PAGES`.
        self.next = next as Count;
    }

    /// The number of pages that are ready.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        READY_PAGES - self.next()
    }

    /// Returns whether any page is known, without which none can be ready before the next refill.
    #[inline]
    pub(crate) fn knows_any(&self) -> bool {
        self.known() < READY_PAGES
    }

    /// Fills `entry` with a page, and returns whether there is one.
    #[inline]
    pub(crate) fn take_one(&mut self, entry: &mut MaybeUninit<*mut bindings::page>) -> bool {
        let Some(page) = self.pages.get(self.next()) else {
            return false;
        };

        entry.write(PoolPage::ptr_or_null(*page));
        // INVARIANT: This one is handed out.
        self.next += 1;
        true
    }

    /// Fills `pages`, or takes none at all.
    #[inline]
    pub(crate) fn take(&mut self, pages: &mut [MaybeUninit<*mut bindings::page>]) -> bool {
        let end = self.next().wrapping_add(pages.len());
        let Some(ready) = self.pages.get(self.next()..end) else {
            return false;
        };

        if !copy(pages, ready) {
            return false;
        }
        // INVARIANT: These are handed out.
        self.set_next(end);
        true
    }

    /// Takes back `page` if it is the one that was handed out last, and returns whether it is.
    #[inline]
    pub(crate) fn put_one(&mut self, page: &Option<PassedPage>) -> bool {
        let last = self.next().wrapping_sub(1);

        // There is one in this place only if it is known.
        match self.pages.get(last) {
            Some(out @ Some(_)) if is_page(page, out) => {}
            _ => return false,
        }
        // INVARIANT: This one is not handed out any more.
        self.set_next(last);
        true
    }

    /// Takes back `pages` if they are what was handed out last, and returns whether they are.
    #[inline]
    pub(crate) fn put(&mut self, pages: &[Option<PassedPage>]) -> bool {
        if self.known().wrapping_add(pages.len()) > self.next() {
            return false;
        }
        let start = self.next().wrapping_sub(pages.len());
        let Some(out) = self.pages.get(start..self.next()) else {
            return false;
        };

        if !is_same(pages, out) {
            return false;
        }
        // INVARIANT: These are not handed out any more.
        self.set_next(start);
        true
    }

    /// Returns whether one of `nr` pages from `first` on may be known.
    #[inline]
    pub(crate) fn overlaps(&self, first: PassedPage, nr: usize) -> bool {
        let (low, high) = self.span();

        first.addr() <= high && first.addr_further(nr) > low
    }

    /// The addresses of the first page that is known and of the last. The former is above the
    /// latter if there are none.
    #[inline]
    pub(crate) fn span(&self) -> (usize, usize) {
        let addr = |at: usize| self.pages.get(at).copied().flatten().map(PoolPage::addr);

        match (addr(self.known()), addr(READY_PAGES - 1)) {
            (Some(low), Some(high)) => (low, high),
            _ => (usize::MAX, 0),
        }
    }

    /// Returns whether `page` is ready. If not, then it can be taken back other than by
    /// [`Self::put`].
    #[inline]
    pub(crate) fn has_one(&mut self, page: PassedPage) -> bool {
        if !self.overlaps(page, 1) {
            return false;
        }

        let addr = page.addr();
        let known = self.pages.get(self.known()..).unwrap_or(&[]);
        let at = |nr: usize| known.get(nr).copied().flatten();

        // Mostly they are next to each other.
        let mut nr = at(0).map_or(0, |first| first.distance_to(addr));
        if at(nr).is_none_or(|found| found.addr() != addr) {
            nr = known.partition_point(|known| known.is_some_and(|known| known.addr() < addr));
        }
        let mut near = self.known() + nr;

        self.has(addr, &mut near)
    }

    /// Returns whether the page with the address `addr`, which is in the span, is ready. If not,
    /// then it can be taken back other than by [`Self::put`].
    ///
    /// The search begins at the place `near`, which becomes the one where it ended: pages in a row
    /// are found in few steps each.
    #[inline(never)]
    pub(crate) fn has(&mut self, addr: usize, near: &mut usize) -> bool {
        let addr_at = |at: usize| match self.pages.get(at) {
            Some(Some(page)) => page.addr(),
            _ => usize::MAX,
        };
        let mut at = self.known().max(*near);

        while addr_at(at) < addr {
            at += 1;
        }
        while at > self.known() && addr_at(at - 1) >= addr {
            at -= 1;
        }
        *near = at;

        if addr_at(at) != addr {
            return false;
        }
        if at >= self.next() {
            return true;
        }
        self.forget(at + 1);
        false
    }

    /// Forgets the pages before the place `end`, which are handed out.
    fn forget(&mut self, end: usize) {
        let start = self.known();

        if let Some(pages) = self.pages.get_mut(start..end) {
            pages.fill(None);
        }
        // CAST: It is at most `READY_PAGES`.
        //
        // INVARIANT: These are not known any more, and there are none in their places.
        self.known = end as Count;
    }

    /// Takes the first pages in a row, and returns the first of them and how many there are.
    ///
    /// No page is known to be handed out after that.
    pub(crate) fn take_run(&mut self) -> Option<(PoolPage, usize)> {
        self.forget(self.next());

        let ready = self.pages.get(self.next()..)?;
        let first = (*ready.first()?)?;
        let len = ready
            .iter()
            .enumerate()
            .take_while(|(nr, page)| **page == first.further(*nr))
            .count();

        self.set_next(self.next() + len);
        self.forget(self.next());
        Some((first, len))
    }

    /// Begins to make `nr` pages of the chunk in `slot` ready, at most [`READY_PAGES`]. None must
    /// be ready now.
    pub(crate) fn refill(&mut self, slot: usize, nr: usize) -> Refill<'_> {
        let start = READY_PAGES - nr;

        // INVARIANT: No page is known.
        self.set_next(READY_PAGES);
        self.forget(READY_PAGES);
        self.slot = slot;
        Refill {
            ready: self,
            start,
            at: start,
        }
    }
}

/// Pages that will be ready when there are as many as was said.
pub(crate) struct Refill<'a> {
    ready: &'a mut Ready,
    start: usize,
    at: usize,
}

impl Refill<'_> {
    /// Adds a page that was taken out of the chunk, which is behind the others.
    #[inline]
    pub(crate) fn add(&mut self, page: Option<PoolPage>) {
        if let Some(entry) = self.ready.pages.get_mut(self.at) {
            *entry = page;
            self.at += 1;
        }
    }

    /// Has the pages handed out from now on.
    pub(crate) fn finish(self) {
        self.ready.set_next(self.start);
        // CAST: It is at most `READY_PAGES`.
        //
        // INVARIANT: From `start` on all pages were added, or else none is kept.
        self.ready.known = self.start as Count;
        if self.at != READY_PAGES {
            self.ready.set_next(READY_PAGES);
            self.ready.forget(READY_PAGES);
        }
    }
}

#[kunit_tests(xen_unpopulated_ready)]
mod tests {
    use super::*;

    /// Pages with these numbers, ready.
    fn ready(numbers: &[usize]) -> Ready {
        let mut ready = Ready::new();
        let mut refill = ready.refill(3, numbers.len());

        for nr in numbers {
            refill.add(Some(PassedPage::nth(*nr).as_pool_page()));
        }
        refill.finish();
        assert_eq!(ready.len(), numbers.len());
        assert_eq!(ready.slot(), 3);
        ready
    }

    /// The pages with these numbers, as callers pass them.
    fn passed(numbers: &[usize]) -> Result<KVec<Option<PassedPage>>> {
        let mut pages = KVec::new();

        for nr in numbers {
            pages.push(Some(PassedPage::nth(*nr)), GFP_KERNEL)?;
        }
        Ok(pages)
    }

    /// Takes `nr` pages.
    fn take(ready: &mut Ready, nr: usize) -> bool {
        ready.take(&mut [const { MaybeUninit::uninit() }; READY_PAGES + 1][..nr])
    }

    /// Returns whether the page with the number `nr` is found to be ready.
    fn has(ready: &mut Ready, nr: usize, near: &mut usize) -> bool {
        let page = PassedPage::nth(nr);

        ready.overlaps(page, 1) && ready.has(page.addr(), near)
    }

    #[test]
    fn a_request_is_met_as_a_whole_or_not_at_all() {
        let mut ready = ready(&[10, 11, 20, 21, 30]);

        assert!(!take(&mut ready, 6));
        assert_eq!(ready.len(), 5);
        assert!(take(&mut ready, 3));
        assert_eq!(ready.len(), 2);
        assert!(!take(&mut ready, 3));
        assert!(take(&mut ready, 0));
        assert!(take(&mut ready, 2));
        assert!(!take(&mut ready, 1));
        assert!(!ready.take_one(&mut MaybeUninit::uninit()));
        assert!(!take(&mut Ready::new(), 1));
    }

    #[test]
    fn what_was_handed_out_last_is_taken_back() -> Result {
        let mut numbers = [0; READY_PAGES];

        for (nr, number) in numbers.iter_mut().enumerate() {
            *number = 3 * nr + 5;
        }
        let mut ready = ready(&numbers);

        for nr in 0..=READY_PAGES {
            assert!(take(&mut ready, nr));
            assert_eq!(ready.len(), READY_PAGES - nr);
            for at in 0..nr {
                let mut pages = passed(&numbers[..nr])?;

                pages[at] = Some(PassedPage::nth(1));
                assert!(!ready.put(&pages));
                pages[at] = None;
                assert!(!ready.put(&pages));
            }
            assert!(ready.put(&passed(&numbers[..nr])?));
            assert_eq!(ready.len(), READY_PAGES);
        }
        Ok(())
    }

    #[test]
    fn single_pages_are_taken_back_in_reverse() -> Result {
        let mut ready = ready(&[10, 11, 20]);

        for _ in 0..3 {
            assert!(ready.take_one(&mut MaybeUninit::uninit()));
        }
        assert!(!ready.put_one(&passed(&[10])?[0]));
        assert!(!ready.put_one(&None));
        assert!(ready.put_one(&passed(&[20])?[0]));
        assert!(!ready.put_one(&passed(&[20])?[0]));
        assert!(ready.put(&passed(&[10, 11])?));
        assert!(!ready.put_one(&passed(&[10])?[0]));
        assert!(!ready.put(&passed(&[10])?));
        assert_eq!(ready.len(), 3);
        Ok(())
    }

    #[test]
    fn a_page_that_is_ready_is_found() {
        let mut ready = ready(&[10, 12, 20, 21, 30]);
        let mut near = 0;

        assert!(take(&mut ready, 2));
        for nr in [20, 21, 30, 21, 20, 30] {
            assert!(has(&mut ready, nr, &mut near));
        }
        for nr in [9, 11, 13, 22, 31, 25, 19] {
            assert!(!has(&mut ready, nr, &mut near));
            assert!(!ready.has_one(PassedPage::nth(nr)));
        }
        for nr in [30, 20, 21] {
            assert!(ready.has_one(PassedPage::nth(nr)));
        }
        assert_eq!(ready.len(), 3);
    }

    #[test]
    fn a_page_that_is_taken_back_by_others_is_not_known() -> Result {
        let mut ready = ready(&[10, 12, 20, 21, 30]);

        assert!(take(&mut ready, 4));
        assert!(!has(&mut ready, 12, &mut 0));
        assert!(!ready.put(&passed(&[12, 20, 21])?));
        assert!(ready.put(&passed(&[20, 21])?));
        assert!(!ready.put(&passed(&[12])?));
        assert!(!ready.put_one(&passed(&[12])?[0]));
        assert!(!has(&mut ready, 10, &mut 0));
        assert!(has(&mut ready, 20, &mut 0));
        Ok(())
    }

    #[test]
    fn the_span_is_that_of_known_pages() {
        let mut ready = ready(&[10, 12, 20]);
        let overlaps = |ready: &Ready, first, nr| ready.overlaps(PassedPage::nth(first), nr);

        assert!(!overlaps(&ready, 8, 2));
        assert!(overlaps(&ready, 8, 3));
        assert!(overlaps(&ready, 11, 1));
        assert!(overlaps(&ready, 20, 9));
        assert!(!overlaps(&ready, 21, 9));
        assert!(take(&mut ready, 3));
        assert!(overlaps(&ready, 10, 1));
        assert!(!has(&mut ready, 10, &mut 0));
        assert!(!overlaps(&ready, 10, 2));
        assert!(overlaps(&ready, 10, 3));
        assert!(!has(&mut ready, 20, &mut 0));
        assert!(!overlaps(&ready, 0, 100));
        assert!(!overlaps(&Ready::new(), 0, 100));
    }

    #[test]
    fn runs_are_put_back_as_such() {
        let mut ready = ready(&[9, 10, 11, 20, 21, 30]);
        let mut runs = [(10, 2), (20, 2), (30, 1)].into_iter();

        assert!(take(&mut ready, 1));
        while let Some((first, nr)) = ready.take_run() {
            let run = runs
                .next()
                .map(|(nr, len)| (PassedPage::nth(nr).addr(), len));

            assert_eq!(run, Some((first.addr(), nr)));
        }
        assert_eq!(runs.next(), None);
        assert_eq!(ready.len(), 0);
        assert!(!ready.put_one(&Some(PassedPage::nth(9))));
    }

    #[test]
    fn nothing_is_known_once_all_is_put_back() -> Result {
        let mut ready = ready(&[9, 10]);

        assert!(take(&mut ready, 2));
        assert!(ready.knows_any());
        assert!(ready.take_run().is_none());
        assert!(!ready.knows_any());
        assert!(!ready.put(&passed(&[9, 10])?));
        assert!(!ready.put_one(&passed(&[10])?[0]));
        Ok(())
    }

    #[test]
    fn too_few_pages_are_not_handed_out() {
        let mut ready = Ready::new();
        let mut refill = ready.refill(0, 2);

        refill.add(Some(PassedPage::nth(10).as_pool_page()));
        refill.finish();
        assert!(!ready.knows_any());
        assert!(!take(&mut ready, 1));
    }

    #[test]
    fn no_page_is_taken_back_twice() -> Result {
        let mut numbers = [0; 40];
        let mut out = [false; 40];
        let mut next = 0;
        let mut random = 1_u64;
        let mut below = |limit: usize| {
            random = random.wrapping_mul(6364136223846793005).wrapping_add(1);
            (random >> 33) as usize % limit
        };

        for (nr, number) in numbers.iter_mut().enumerate() {
            *number = 2 * nr + nr / 3;
        }
        let mut ready = ready(&numbers);

        for _ in 0..5_000 {
            let nr = below(6);

            if below(2) == 0 {
                // Pages that were taken back by others are not handed out again.
                let can = next + nr <= numbers.len();

                assert_eq!(take(&mut ready, nr), can);
                if can {
                    out[next..next + nr].fill(true);
                    next += nr;
                }
            } else if below(3) > 0 {
                let start = below(numbers.len() - nr + 1);

                if ready.put(&passed(&numbers[start..start + nr])?) {
                    assert!(nr == 0 || start + nr == next);
                    assert!(out[start..start + nr].iter().all(|out| *out));
                    out[start..start + nr].fill(false);
                    next -= nr;
                }
            } else {
                let at = below(numbers.len());

                assert_eq!(has(&mut ready, numbers[at], &mut 0), at >= next);
                out[at] = false;
            }
            assert_eq!(ready.len(), numbers.len() - next);
        }
        Ok(())
    }
}
