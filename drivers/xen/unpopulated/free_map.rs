// SPDX-License-Identifier: GPL-2.0

//! The free pages of one chunk: a bitmap, one bit per page.
//!
//! A bit per page needs no memory at free time, makes a page that is freed twice visible, and
//! lets a run of pages change hands 64 at a time.
//!
//! Scattered pages are taken from the low end and runs from the high end, so that the two disturb
//! each other as late as possible.

use core::ops::Range;
use kernel::{
    alloc::AllocError,
    prelude::*, //
};

/// One word of the bitmap.
pub(crate) type Word = u64;

/// Pages that one word of the bitmap stands for.
pub(crate) const WORD_PAGES: usize = Word::BITS as usize;

/// The bits `first..first + len` of a word; `len` is 1 to 64, and the bits are in the word.
#[inline(always)]
pub(crate) fn mask(first: usize, len: usize) -> Word {
    (Word::MAX >> (WORD_PAGES - len)) << first
}

/// The free pages of one chunk, numbered from 0.
///
/// # Invariants
///
/// - `words` has one bit for each of `nr_pages` pages, set while the page is free; the bits behind
///   the last page are clear.
/// - `nr_used` is the number of pages whose bit is clear.
/// - No word below `words[hint]` has a bit set.
pub(crate) struct FreeMap {
    words: KVec<Word>,
    nr_pages: usize,
    nr_used: usize,
    hint: usize,
}

impl FreeMap {
    /// Makes a map of `nr_pages` pages, all of them free.
    pub(crate) fn new(nr_pages: usize) -> Result<Self, AllocError> {
        let mut words = KVec::from_elem(Word::MAX, nr_pages.div_ceil(WORD_PAGES), GFP_KERNEL)?;

        let rest = nr_pages % WORD_PAGES;
        if rest != 0 {
            if let Some(last) = words.last_mut() {
                *last = mask(0, rest);
            }
        }

        // INVARIANT: All bits of pages are set, those behind the last page were just cleared, and
        // there is no word below the first.
        Ok(Self {
            words,
            nr_pages,
            nr_used: 0,
            hint: 0,
        })
    }

    /// The number of pages in the chunk.
    #[inline]
    pub(crate) fn nr_pages(&self) -> usize {
        self.nr_pages
    }

    /// The number of pages that are free.
    #[inline]
    pub(crate) fn nr_free(&self) -> usize {
        self.nr_pages - self.nr_used
    }

    /// Returns whether every page is free.
    #[inline]
    pub(crate) fn is_wholly_free(&self) -> bool {
        self.nr_used == 0
    }

    /// Takes the lowest run of free pages, at most `max` of them.
    ///
    /// It is empty if `max` is 0 or no page is free.
    #[inline]
    pub(crate) fn take_lowest(&mut self, max: usize) -> Range<usize> {
        let words = self.words.as_mut_slice();
        let mut at = self.hint;

        let (bit, ones) = loop {
            let Some(word) = words.get(at) else {
                return 0..0;
            };
            if *word != 0 {
                let bit = word.trailing_zeros() as usize;
                break (bit, (*word >> bit).trailing_ones() as usize);
            }
            at += 1;
        };

        let mut len = ones.min(max);
        if len == 0 {
            return 0..0;
        }
        let start = at * WORD_PAGES + bit;
        words[at] &= !mask(bit, len);

        // INVARIANT: All words below `at` were found empty.
        self.hint = at;

        if bit + len == WORD_PAGES {
            let rest = &mut words[at + 1..];
            let most = rest.len().min((max - len) / WORD_PAGES);
            let whole = rest[..most]
                .iter_mut()
                .take_while(|word| **word == Word::MAX)
                .map(|word| *word = 0)
                .count();

            len += whole * WORD_PAGES;

            // Of a word that is not taken as a whole, what the run ends with.
            if let Some(word) = rest.get_mut(whole) {
                let part = (word.trailing_ones() as usize).min(max - len);

                if part > 0 {
                    *word &= !mask(0, part);
                    len += part;
                }
            }
        }

        // INVARIANT: `len` bits were cleared.
        self.nr_used += len;
        start..start + len
    }

    /// Takes the lowest `max` free pages, or all if there are fewer, and returns how many.
    ///
    /// Calls `f` with each of them.
    #[inline]
    pub(crate) fn take_each(&mut self, max: usize, mut f: impl FnMut(usize)) -> usize {
        let mut left = max;

        for (at, word) in self.words.iter_mut().enumerate().skip(self.hint) {
            let mut free = *word;

            while free != 0 && left > 0 {
                f(at * WORD_PAGES + free.trailing_zeros() as usize);
                free &= free - 1;
                left -= 1;
            }
            *word = free;
            if left == 0 {
                // INVARIANT: All words below are empty now.
                self.hint = at;
                break;
            }
        }

        // INVARIANT: This many bits were cleared.
        self.nr_used += max - left;
        max - left
    }

    /// Takes the run of `nr` free pages that lies highest below page `end`.
    ///
    /// The run begins at a page whose number plus `offset` is a multiple of `align`, a power of
    /// two.
    pub(crate) fn take_run(
        &mut self,
        nr: usize,
        align: usize,
        offset: usize,
        end: usize,
    ) -> Option<usize> {
        if nr == 0 || nr > self.nr_free() {
            return None;
        }

        // A run of free pages as long as this holds an aligned run of `nr` pages.
        let enough = nr.checked_add(align - 1)?;
        let mut end = end.min(self.nr_pages);

        loop {
            end = self.last_free_below(end)? + 1;
            let floor = end.saturating_sub(enough);
            let begin = self
                .last_used_between(floor, end)
                .map_or(floor, |used| used + 1);

            // How far the highest start that leaves room for the run is above an aligned one.
            if let Some(highest) = end.checked_sub(nr) {
                let over = (highest + offset) & (align - 1);
                if highest >= begin + over {
                    let start = highest - over;
                    self.clear(start, nr);
                    return Some(start);
                }
            }
            end = begin;
        }
    }

    /// Makes the pages `start..start + len` free, and returns how many of them were not before.
    ///
    /// The pages must be in the chunk.
    #[inline]
    pub(crate) fn put(&mut self, start: usize, len: usize) -> usize {
        let mut again = 0;

        // INVARIANT: No word below this one gets a bit set here.
        self.hint = self.hint.min(start / WORD_PAGES);

        for_each_word(&mut self.words, start, len, |word, mask| {
            let free = *word & mask;

            *word |= mask;
            if free != 0 {
                again += free.count_ones() as usize;
            }
        });

        // INVARIANT: That many bits were set already, the others are now.
        self.nr_used -= len - again;
        len - again
    }

    /// Makes a page free, and returns whether it was not before, and is in the chunk at all.
    #[inline]
    pub(crate) fn put_one(&mut self, place: usize) -> bool {
        let at = place / WORD_PAGES;
        let bit = 1 << (place % WORD_PAGES);

        if place >= self.nr_pages {
            return false;
        }
        let Some(word) = self.words.get_mut(at).filter(|word| **word & bit == 0) else {
            return false;
        };

        // INVARIANT: The bit was clear, and no word below this one gets one set here.
        *word |= bit;
        self.hint = self.hint.min(at);
        self.nr_used -= 1;
        true
    }

    /// Makes pages with these places free, and returns how many of them were not before.
    ///
    /// The pages must be in the chunk.
    #[inline]
    pub(crate) fn put_each(&mut self, places: impl Iterator<Item = usize>) -> usize {
        let words = self.words.as_mut_slice();
        let mut lowest = self.hint;
        let mut added = 0;

        for place in places {
            let at = place / WORD_PAGES;
            let bit = 1 << (place % WORD_PAGES);

            if let Some(word) = words.get_mut(at).filter(|word| **word & bit == 0) {
                *word |= bit;
                lowest = lowest.min(at);
                added += 1;
            }
        }

        // INVARIANT: `added` bits were clear and are set now, none of them in a word below.
        self.hint = lowest;
        self.nr_used -= added;
        added
    }

    /// Takes the pages `start..start + len`, all of them free.
    fn clear(&mut self, start: usize, len: usize) {
        for_each_word(&mut self.words, start, len, |word, mask| *word &= !mask);

        // INVARIANT: The caller found all `len` bits set.
        self.nr_used += len;
    }

    /// The highest free page below `end`.
    fn last_free_below(&self, end: usize) -> Option<usize> {
        last_set(&self.words, 0, end, 0)
    }

    /// The highest used page of `begin..end`.
    fn last_used_between(&self, begin: usize, end: usize) -> Option<usize> {
        last_set(&self.words, begin, end, Word::MAX)
    }
}

/// Calls `f` for each word that holds bits of `start..start + len`, with the mask of those bits.
#[inline(always)]
fn for_each_word(words: &mut [Word], start: usize, len: usize, mut f: impl FnMut(&mut Word, Word)) {
    let bit = start % WORD_PAGES;
    let Some((first, rest)) = words
        .get_mut(start / WORD_PAGES..)
        .and_then(<[_]>::split_first_mut)
    else {
        return;
    };
    let in_first = len.min(WORD_PAGES - bit);
    let (whole, left) = ((len - in_first) / WORD_PAGES, (len - in_first) % WORD_PAGES);

    if in_first > 0 {
        f(first, mask(bit, in_first));
    }
    let (whole, rest) = rest.split_at_mut(whole.min(rest.len()));
    for word in whole {
        f(word, Word::MAX);
    }
    if let Some(last) = rest.first_mut().filter(|_| left > 0) {
        f(last, mask(0, left));
    }
}

/// The highest bit of `begin..end` that is set in `words`, each word taken exclusive or `flip`.
fn last_set(words: &[Word], begin: usize, end: usize, flip: Word) -> Option<usize> {
    if begin >= end {
        return None;
    }

    let first = begin / WORD_PAGES;
    let (last, before) = words.get(first..=(end - 1) / WORD_PAGES)?.split_last()?;
    // Of the last word only those bits count that are below `end`.
    let found = (*last ^ flip) & mask(0, (end - 1) % WORD_PAGES + 1);

    let (at, found) = if found != 0 {
        (before.len(), found)
    } else {
        let at = before.iter().rposition(|word| *word != flip)?;

        (at, before[at] ^ flip)
    };
    let bit = (first + at) * WORD_PAGES + found.ilog2() as usize;

    (bit >= begin).then_some(bit)
}

#[kunit_tests(xen_unpopulated_free_map)]
mod tests {
    use super::*;

    /// A map of `nr_pages` pages in which just those from a start to an end in `free` are free.
    fn map(nr_pages: usize, free: &[(usize, usize)]) -> Result<FreeMap> {
        let mut map = FreeMap::new(nr_pages)?;

        while !map.take_lowest(nr_pages).is_empty() {}
        assert_eq!(map.nr_free(), 0);
        for (start, end) in free {
            assert_eq!(map.put(*start, end - start), end - start);
        }
        Ok(map)
    }

    #[test]
    fn a_new_map_is_wholly_free() -> Result {
        for nr_pages in [1, 63, 64, 65, 512, 1000] {
            let mut map = FreeMap::new(nr_pages)?;

            assert!(map.is_wholly_free());
            assert_eq!(map.take_run(nr_pages + 1, 1, 0, usize::MAX), None);
            assert_eq!(map.take_run(nr_pages, 1, 0, usize::MAX), Some(0));
            assert_eq!(map.take_lowest(1), 0..0);
        }
        Ok(())
    }

    #[test]
    fn scattered_pages_fill_the_lowest_hole_first() -> Result {
        let mut map = map(512, &[(3, 5), (70, 71), (100, 300)])?;

        assert_eq!(map.take_lowest(8), 3..5);
        assert_eq!(map.take_lowest(8), 70..71);
        assert_eq!(map.take_lowest(8), 100..108);
        assert_eq!(map.put(4, 1), 1);
        assert_eq!(map.take_lowest(8), 4..5);
        assert_eq!(map.nr_free(), 192);
        Ok(())
    }

    #[test]
    fn single_pages_are_made_free_in_any_order() -> Result {
        let mut map = map(512, &[(67, 70)])?;

        assert_eq!(map.put_each([511, 66, 300, 68, 300].into_iter()), 3);
        assert_eq!(map.nr_free(), 6);
        assert_eq!(map.put_each([66].into_iter()), 0);
        assert_eq!(map.put_each([].into_iter()), 0);
        assert_eq!(map.take_lowest(8), 66..70);
        assert_eq!(map.take_lowest(8), 300..301);
        assert_eq!(map.put_each([0].into_iter()), 1);
        assert_eq!(map.take_lowest(8), 0..1);
        assert_eq!(map.take_lowest(8), 511..512);
        Ok(())
    }

    #[test]
    fn one_page_is_made_free() -> Result {
        let mut map = map(100, &[(67, 70)])?;

        assert!(map.put_one(66));
        assert!(map.put_one(99));
        assert!(map.put_one(0));
        assert_eq!(map.nr_free(), 6);
        assert_eq!(map.take_lowest(8), 0..1);
        assert_eq!(map.take_lowest(8), 66..70);

        // This one is free already, and these are of no page.
        assert!(!map.put_one(99));
        assert!(!map.put_one(100));
        assert!(!map.put_one(128));
        assert!(!map.put_one(usize::MAX));
        assert_eq!(map.nr_free(), 1);
        Ok(())
    }

    #[test]
    fn the_lowest_pages_are_taken_one_by_one() -> Result {
        let mut map = map(512, &[(3, 5), (70, 71), (100, 300)])?;
        let mut places = [0; 6];
        let mut nr = 0;

        assert_eq!(map.take_each(0, |_| nr += 1), 0);
        assert_eq!(nr, 0);
        let taken = map.take_each(6, |place| {
            places[nr] = place;
            nr += 1;
        });
        assert_eq!(taken, 6);
        assert_eq!(places, [3, 4, 70, 100, 101, 102]);
        assert_eq!(map.nr_free(), 197);
        assert_eq!(map.take_lowest(1), 103..104);
        assert_eq!(map.take_each(1000, |_| ()), 196);
        assert_eq!(map.take_each(1, |_| ()), 0);
        assert_eq!(map.put(10, 1), 1);
        assert_eq!(map.take_each(1, |place| assert_eq!(place, 10)), 1);
        Ok(())
    }

    #[test]
    fn a_scattered_run_goes_on_over_whole_words() -> Result {
        let mut map = map(512, &[(60, 330)])?;

        assert_eq!(map.take_lowest(1000), 60..330);
        assert_eq!(map.take_lowest(1000), 0..0);
        Ok(())
    }

    #[test]
    fn a_scattered_run_is_no_longer_than_asked_for() -> Result {
        let mut map = FreeMap::new(512)?;

        assert_eq!(map.take_lowest(0), 0..0);
        assert_eq!(map.take_lowest(63), 0..63);
        assert_eq!(map.take_lowest(130), 63..193);
        assert_eq!(map.nr_free(), 319);
        Ok(())
    }

    #[test]
    fn a_run_is_the_highest_that_fits() -> Result {
        let mut map = map(512, &[(0, 100), (200, 260), (300, 310)])?;

        assert_eq!(map.take_run(10, 1, 0, usize::MAX), Some(300));
        assert_eq!(map.take_run(60, 1, 0, usize::MAX), Some(200));
        assert_eq!(map.take_run(60, 1, 0, usize::MAX), Some(40));
        assert_eq!(map.take_run(41, 1, 0, usize::MAX), None);
        assert_eq!(map.take_run(40, 1, 0, usize::MAX), Some(0));
        Ok(())
    }

    #[test]
    fn a_run_is_aligned_in_the_address_space_not_in_the_chunk() -> Result {
        let mut map = map(512, &[(1, 200)])?;

        assert_eq!(map.take_run(8, 64, 0, usize::MAX), Some(192));
        assert_eq!(map.take_run(8, 64, 3, usize::MAX), Some(125));
        assert_eq!(map.take_run(64, 64, 0, usize::MAX), None);
        assert_eq!(map.take_run(61, 64, 0, usize::MAX), Some(64));
        Ok(())
    }

    #[test]
    fn a_run_ends_below_the_limit() -> Result {
        let mut map = FreeMap::new(512)?;

        assert_eq!(map.take_run(10, 1, 0, 9), None);
        assert_eq!(map.take_run(10, 1, 0, 10), Some(0));
        assert_eq!(map.take_run(10, 1, 0, 74), Some(64));
        Ok(())
    }

    #[test]
    fn a_page_that_is_free_is_not_freed_again() -> Result {
        let mut map = map(512, &[(10, 20), (64, 128)])?;

        assert_eq!(map.put(10, 10), 0);
        assert_eq!(map.put(5, 70), 70 - 10 - 11);
        assert_eq!(map.nr_free(), 5 + 10 + 44 + 64);
        Ok(())
    }

    #[test]
    fn no_run_is_found_where_none_is() -> Result {
        let mut map = FreeMap::new(256)?;

        assert_eq!(map.take_run(256, 1, 0, usize::MAX), Some(0));
        for page in (0..256).step_by(2) {
            map.put(page, 1);
        }
        assert_eq!(map.nr_free(), 128);
        assert_eq!(map.take_run(2, 1, 0, usize::MAX), None);
        assert_eq!(map.take_run(1, 1, 0, usize::MAX), Some(254));
        assert_eq!(map.take_run(0, 1, 0, usize::MAX), None);
        Ok(())
    }

    #[test]
    fn an_alignment_that_no_address_has_finds_nothing() -> Result {
        let mut map = FreeMap::new(256)?;

        assert_eq!(map.take_run(2, 1 << 63, 1, usize::MAX), None);
        assert_eq!(map.take_run(usize::MAX, 1, 0, usize::MAX), None);
        Ok(())
    }
}
