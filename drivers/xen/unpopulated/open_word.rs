// SPDX-License-Identifier: GPL-2.0

//! The pages that small requests are served from.
//!
//! Most requests are for one page or a few. To find the chunk of a page and to keep the books of
//! it costs more than all the rest. So up to 64 pages in a row are taken out of their chunk, and
//! are handed out and taken back here, with nothing but a word to look at.

use super::{
    chunk::{
        PassedPage,
        PoolPage, //
    },
    free_map::{
        mask,
        Word,
        WORD_PAGES, //
    },
    page_list::{
        fill,
        is_run, //
    }, //
};
use core::mem::MaybeUninit;
use kernel::{
    bindings,
    prelude::*, //
};

/// A word that was taken out of the bitmap of its chunk.
///
/// # Invariants
///
/// In the chunk's bitmap, the bits of this word are clear. Those of pages that are free are set in
/// `free`.
pub(crate) struct OpenWord {
    /// The page of bit 0.
    first: PoolPage,
    free: Word,
    /// The slot of the chunk.
    slot: usize,
    /// The place of bit 0 in the chunk.
    start: usize,
}

/// What is put back into the bitmap when a word is closed.
pub(crate) struct Closed {
    /// The slot of the chunk.
    pub(crate) slot: usize,
    /// The place of bit 0 in the chunk.
    pub(crate) start: usize,
    /// The pages that are free.
    pub(crate) free: Word,
}

impl OpenWord {
    /// Opens the word of the pages from `first` on, which are `start` and following of the chunk in
    /// `slot`. Those in `free` were free, and are taken out of the chunk's bitmap.
    pub(crate) fn new(first: PoolPage, slot: usize, start: usize, free: Word) -> Self {
        // INVARIANT: The caller has cleared the bits in the bitmap.
        Self {
            first,
            free,
            slot,
            start,
        }
    }

    /// Closes the word; what is returned must be put into the bitmap.
    pub(crate) fn close(self) -> Closed {
        Closed {
            slot: self.slot,
            start: self.start,
            free: self.free,
        }
    }

    /// Returns whether all pages are free.
    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.free == Word::MAX
    }

    /// Takes one page.
    #[inline]
    pub(crate) fn take_one(&mut self) -> Option<*mut bindings::page> {
        if self.free == 0 {
            return None;
        }
        let bit = self.free.trailing_zeros() as usize;

        self.free &= self.free - 1;
        Some(self.first.ptr_further(bit))
    }

    /// Fills `pages`, or takes none at all.
    #[inline]
    pub(crate) fn take(&mut self, pages: &mut [MaybeUninit<*mut bindings::page>]) -> bool {
        let mut free = self.free;
        let mut rest = pages;

        while !rest.is_empty() {
            if free == 0 {
                return false;
            }
            let bit = free.trailing_zeros() as usize;
            let len = ((free >> bit).trailing_ones() as usize).min(rest.len());
            let (now, later) = rest.split_at_mut(len);

            free &= !mask(bit, len);
            fill(now, self.first.ptr_further(bit));
            rest = later;
        }
        self.free = free;
        true
    }

    /// Takes back one page, and returns whether it is one of this word and was handed out.
    #[inline]
    pub(crate) fn put_one(&mut self, page: PassedPage) -> bool {
        let bit = self.first.distance_to(page);

        if bit >= WORD_PAGES || self.free & (1 << bit) != 0 {
            return false;
        }
        self.free |= 1 << bit;
        true
    }

    /// Takes back pages that follow each other as in `pages`, or none at all.
    ///
    /// Returns whether all of them are of this word and were handed out.
    #[inline(always)]
    pub(crate) fn put(&mut self, pages: &[Option<PassedPage>]) -> bool {
        let Some(first) = pages.first().copied().flatten() else {
            return false;
        };
        let bit = self.first.distance_to(first);

        if bit >= WORD_PAGES || pages.len() > WORD_PAGES - bit {
            return false;
        }
        let mask = mask(bit, pages.len());
        if self.free & mask != 0 || !is_run(pages) {
            return false;
        }

        self.free |= mask;
        true
    }
}

#[kunit_tests(xen_unpopulated_open_word)]
mod tests {
    use super::*;

    /// A word of pages number 100 and following.
    fn word(free: Word) -> OpenWord {
        OpenWord::new(PassedPage::nth(100).as_pool_page(), 1, 64, free)
    }

    /// The pages from number `first` on.
    fn pages(first: usize, nr: usize) -> Result<KVec<Option<PassedPage>>> {
        let mut pages = KVec::new();

        for nr in first..first + nr {
            pages.push(Some(PassedPage::nth(nr)), GFP_KERNEL)?;
        }
        Ok(pages)
    }

    #[test]
    fn single_pages_are_the_lowest() {
        let mut word = word(0b1011_0000);

        for nr in [104, 105, 107] {
            assert_eq!(word.take_one(), Some(PassedPage::nth(nr).as_ptr()));
        }
        assert_eq!(word.take_one(), None);
    }

    #[test]
    fn a_request_is_met_as_a_whole_or_not_at_all() {
        let mut entries = [const { MaybeUninit::uninit() }; WORD_PAGES];
        let mut word = word(0b1011_0110);

        assert!(!word.take(&mut entries[..6]));
        assert_eq!(word.free, 0b1011_0110);
        assert!(word.take(&mut entries[..3]));
        assert_eq!(word.free, 0b1010_0000);
        assert!(word.take(&mut entries[..2]));
        assert_eq!(word.free, 0);
        assert!(word.take(&mut entries[..0]));
        assert!(!word.take(&mut entries[..1]));
    }

    #[test]
    fn all_pages_can_be_taken_at_once() {
        let mut entries = [const { MaybeUninit::uninit() }; WORD_PAGES];
        let mut word = word(Word::MAX);

        assert!(word.take(&mut entries));
        assert_eq!(word.free, 0);
    }

    #[test]
    fn only_pages_of_the_word_that_are_out_are_taken_back() -> Result {
        let mut word = word(0b10000);

        assert!(!word.put(&pages(99, 1)?));
        assert!(!word.put(&pages(164, 1)?));
        assert!(!word.put(&pages(160, 5)?));
        assert!(!word.put(&pages(104, 1)?));
        assert!(!word.put(&pages(102, 3)?));
        assert!(!word.put(&[]));
        assert!(!word.put(&[None]));
        assert!(!word.put(&[Some(PassedPage::nth(100)), None]));
        assert!(!word.put(&[Some(PassedPage::nth(101)), Some(PassedPage::nth(100))]));
        assert_eq!(word.free, 0b10000);

        assert!(!word.put_one(PassedPage::nth(99)));
        assert!(!word.put_one(PassedPage::nth(164)));
        assert!(!word.put_one(PassedPage::nth(104)));

        assert!(word.put(&pages(100, 3)?));
        assert!(word.put_one(PassedPage::nth(103)));
        assert!(word.put(&pages(163, 1)?));
        assert_eq!(word.free, 0b11111 | 1 << 63);
        assert!(!word.put(&pages(163, 1)?));
        Ok(())
    }

    #[test]
    fn a_word_is_full_when_all_pages_are_back() -> Result {
        let mut word = word(0);

        assert!(word.put(&pages(100, 60)?));
        assert!(!word.is_full());
        assert!(word.put(&pages(160, 4)?));
        assert!(word.is_full());
        Ok(())
    }

    #[test]
    fn what_is_closed_is_what_is_free() {
        let closed = word(0b110).close();

        assert_eq!((closed.slot, closed.start), (1, 64));
        assert_eq!(closed.free, 0b110);
    }
}
