// SPDX-License-Identifier: GPL-2.0

//! The chunks of the pool, and the choice of the one that serves a request.
//!
//! Scattered pages come from the first chunk that has any, runs from the last that has room: pages
//! gather in few chunks, and the others stay whole or become wholly free and can be given back.

use super::free_map::FreeMap;
use core::ops::Range;
use kernel::{
    alloc::AllocError,
    prelude::*,
    time::Jiffies, //
};

/// A range of pages with consecutive frame numbers, in which a contiguous run can lie.
///
/// `B` is what stands behind the pages.
pub(crate) struct Chunk<B> {
    free: FreeMap,
    first_pfn: usize,
    free_since: Jiffies,
    removable: bool,
    backing: B,
}

impl<B> Chunk<B> {
    /// Makes a chunk of `nr_pages` pages that begins at frame `first_pfn`, all of them free.
    ///
    /// A chunk that is not `removable` is never given back.
    pub(crate) fn new(
        first_pfn: usize,
        nr_pages: usize,
        removable: bool,
        backing: B,
    ) -> Result<Self, AllocError> {
        Ok(Self {
            free: FreeMap::new(nr_pages)?,
            first_pfn,
            free_since: 0,
            removable,
            backing,
        })
    }

    /// What stands behind the pages.
    pub(crate) fn backing(&self) -> &B {
        &self.backing
    }

    /// The frame number of the first page.
    pub(crate) fn first_pfn(&self) -> usize {
        self.first_pfn
    }

    /// The number of pages.
    pub(crate) fn nr_pages(&self) -> usize {
        self.free.nr_pages()
    }

    /// The number of pages that are free.
    pub(crate) fn nr_free(&self) -> usize {
        self.free.nr_free()
    }

    /// Returns whether no page is handed out.
    #[inline]
    fn is_idle(&self) -> bool {
        self.free.is_wholly_free()
    }

    /// Returns whether no page is handed out any more, at the time `now`, where `added` pages have
    /// become free just then.
    #[inline]
    fn is_idle_now(&mut self, added: usize, now: Jiffies) -> bool {
        if added == 0 || !self.is_idle() {
            return false;
        }
        self.free_since = now;
        true
    }

    /// Takes the run of `nr` pages that lies highest at or below frame `max_pfn`.
    fn take_run(&mut self, nr: usize, align: usize, max_pfn: usize) -> Option<usize> {
        let end = max_pfn.checked_sub(self.first_pfn)?.saturating_add(1);

        self.free
            .take_run(nr, align, self.first_pfn & (align - 1), end)
    }
}

/// A slot without a chunk, and whether the index has memory for it.
pub(crate) struct Vacancy {
    slot: usize,
    full: bool,
}

impl Vacancy {
    /// Gets the memory that the index needs for one more chunk; the index need not be locked.
    pub(crate) fn make_room<B>(self) -> Result<Room<B>, AllocError> {
        let spare = if self.full {
            Some(KVec::with_capacity((2 * self.slot).max(4), GFP_KERNEL)?)
        } else {
            None
        };

        Ok(Room {
            slot: self.slot,
            spare,
        })
    }
}

/// Room for one more chunk.
pub(crate) struct Room<B> {
    slot: usize,
    spare: Option<KVec<Option<Chunk<B>>>>,
}

impl<B> Room<B> {
    /// The slot that the chunk will have.
    pub(crate) fn slot(&self) -> usize {
        self.slot
    }
}

/// A chunk that was taken out of its slot.
pub(crate) struct Removed<B> {
    room: Room<B>,
    chunk: Chunk<B>,
}

impl<B> Removed<B> {
    /// Splits the chunk from what stands behind its pages.
    pub(crate) fn split(self) -> (Removed<()>, B) {
        let Chunk {
            free,
            first_pfn,
            free_since,
            removable,
            backing,
        } = self.chunk;

        (
            Removed {
                room: Room {
                    slot: self.room.slot,
                    spare: None,
                },
                chunk: Chunk {
                    free,
                    first_pfn,
                    free_since,
                    removable,
                    backing: (),
                },
            },
            backing,
        )
    }
}

impl Removed<()> {
    /// The frame number of the first page.
    pub(crate) fn first_pfn(&self) -> usize {
        self.chunk.first_pfn
    }

    /// The number of pages.
    pub(crate) fn nr_pages(&self) -> usize {
        self.chunk.free.nr_pages()
    }

    /// Joins a chunk with what stands behind its pages again.
    pub(crate) fn join<B>(self, backing: B) -> (Chunk<B>, Room<B>) {
        (
            Chunk {
                free: self.chunk.free,
                first_pfn: self.chunk.first_pfn,
                free_since: self.chunk.free_since,
                removable: self.chunk.removable,
                backing,
            },
            Room {
                slot: self.room.slot,
                spare: None,
            },
        )
    }
}

/// What the index holds, in pages and chunks.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Totals {
    /// Pages, free or not.
    pub(crate) pages: usize,
    /// Pages that are free.
    pub(crate) free: usize,
    /// Chunks.
    pub(crate) chunks: usize,
    /// Chunks that are wholly free.
    pub(crate) idle: usize,
}

/// The chunks of the pool.
///
/// # Invariants
///
/// - No chunk in a slot below `cursor` has a free page.
/// - `totals` counts what is in `slots`.
pub(crate) struct Index<B> {
    slots: KVec<Option<Chunk<B>>>,
    cursor: usize,
    totals: Totals,
}

impl<B> Index<B> {
    /// Makes an index without a chunk.
    pub(crate) const fn new() -> Self {
        // INVARIANT: There is nothing to count.
        Self {
            slots: KVec::new(),
            cursor: 0,
            totals: Totals {
                pages: 0,
                free: 0,
                chunks: 0,
                idle: 0,
            },
        }
    }

    /// What the index holds.
    pub(crate) fn totals(&self) -> Totals {
        self.totals
    }

    /// The slot for the next chunk.
    pub(crate) fn vacancy(&self) -> Vacancy {
        let slot = self.slots.iter().position(Option::is_none);

        Vacancy {
            slot: slot.unwrap_or(self.slots.len()),
            full: slot.is_none() && self.slots.len() == self.slots.capacity(),
        }
    }

    /// The chunks, with their slots.
    pub(crate) fn chunks(&self) -> impl Iterator<Item = (usize, &Chunk<B>)> {
        self.slots
            .iter()
            .enumerate()
            .filter_map(|(slot, chunk)| Some((slot, chunk.as_ref()?)))
    }

    /// The chunk in `slot`.
    pub(crate) fn chunk(&self, slot: usize) -> Option<&Chunk<B>> {
        self.slots.get(slot)?.as_ref()
    }

    /// Adds a chunk, wholly free since `now`, in the slot of `room`.
    ///
    /// If another chunk was added since the room was made, the chunk comes back.
    pub(crate) fn insert(
        &mut self,
        mut chunk: Chunk<B>,
        room: Room<B>,
        now: Jiffies,
    ) -> Result<(), Chunk<B>> {
        let slot = room.slot;

        if let Some(mut slots) = room.spare {
            if slots.capacity() > self.slots.len() {
                for old in self.slots.drain_all() {
                    // There is capacity for all of them and one more.
                    let _ = slots.push_within_capacity(old);
                }
                self.slots = slots;
            }
        }
        if slot == self.slots.len() && self.slots.push_within_capacity(None).is_err() {
            return Err(chunk);
        }

        chunk.free_since = now;
        let nr_pages = chunk.free.nr_pages();
        let nr_free = chunk.free.nr_free();
        let idle = chunk.is_idle();

        match self.slots.get_mut(slot) {
            Some(vacant) if vacant.is_none() => *vacant = Some(chunk),
            _ => return Err(chunk),
        }

        // INVARIANT: The chunk is counted, and no slot below the lower of the two has a free page.
        self.cursor = self.cursor.min(slot);
        self.totals.pages += nr_pages;
        self.totals.free += nr_free;
        self.totals.chunks += 1;
        self.totals.idle += usize::from(idle);
        Ok(())
    }

    /// The slot of the first chunk that has a free page, and how many it has.
    pub(crate) fn front(&mut self) -> Option<(usize, usize)> {
        loop {
            let chunk = self.slots.get(self.cursor)?.as_ref();
            let nr_free = chunk.map_or(0, Chunk::nr_free);

            if nr_free > 0 {
                return Some((self.cursor, nr_free));
            }
            // INVARIANT: This slot has no free page either.
            self.cursor += 1;
        }
    }

    /// Takes the first `nr` free pages of the chunk in `slot`, which has as many; `nr` is not 0.
    ///
    /// Calls `f` with what stands behind the chunk and the place of each page in there.
    #[inline]
    pub(crate) fn take_each(&mut self, slot: usize, nr: usize, mut f: impl FnMut(&B, usize)) {
        let Some(chunk) = self.slots.get_mut(slot).and_then(Option::as_mut) else {
            return;
        };

        // INVARIANT: The chunk is not wholly free any more, and has this many free pages less.
        self.totals.idle -= usize::from(chunk.is_idle());
        self.totals.free -= chunk.free.take_each(nr, |place| f(&chunk.backing, place));
    }

    /// Takes `nr` pages, wherever they are, or none if there are fewer.
    ///
    /// Calls `f` with what stands behind each run of pages taken, and the run's place in there.
    #[inline]
    pub(crate) fn take(&mut self, nr: usize, mut f: impl FnMut(&B, Range<usize>)) -> bool {
        if self.totals.free < nr {
            return false;
        }

        let mut left = nr;
        while left > 0 {
            let Some(slot) = self.slots.get_mut(self.cursor) else {
                // Cannot be, by the invariants: `free` pages are in the slots from `cursor` on.
                break;
            };
            let Some(chunk) = slot.as_mut().filter(|chunk| chunk.free.nr_free() > 0) else {
                // INVARIANT: This slot has no free page either.
                self.cursor += 1;
                continue;
            };

            self.totals.idle -= usize::from(chunk.is_idle());
            let run = chunk.free.take_lowest(left);
            left -= run.len();
            f(&chunk.backing, run);
        }

        // INVARIANT: This many were taken.
        self.totals.free -= nr - left;
        true
    }

    /// Takes `nr` pages with consecutive frame numbers, all in one chunk that is removable: others
    /// are not made for it.
    ///
    /// The first frame number is a multiple of `align`, a power of two, and the last is at most
    /// `max_pfn`. Returns what stands behind the pages and the run's place in there.
    pub(crate) fn take_run(
        &mut self,
        nr: usize,
        align: usize,
        max_pfn: usize,
    ) -> Option<(&B, usize)> {
        for chunk in self.slots.iter_mut().rev().filter_map(Option::as_mut) {
            if !chunk.removable || chunk.free.nr_free() < nr {
                continue;
            }
            let idle = chunk.is_idle();
            if let Some(start) = chunk.take_run(nr, align, max_pfn) {
                // INVARIANT: The chunk is not wholly free any more, and has `nr` free pages less.
                self.totals.idle -= usize::from(idle);
                self.totals.free -= nr;
                return Some((&chunk.backing, start));
            }
        }
        None
    }

    /// Makes pages `start..start + len` of the chunk in `slot` free, at the time `now`.
    ///
    /// Returns how many of them were not free before.
    #[inline]
    pub(crate) fn put(&mut self, slot: usize, start: usize, len: usize, now: Jiffies) -> usize {
        let Some(chunk) = self.slots.get_mut(slot).and_then(Option::as_mut) else {
            return 0;
        };
        let added = chunk.free.put(start, len);

        // INVARIANT: The pages are counted, and `cursor` is not above their slot.
        self.totals.idle += usize::from(chunk.is_idle_now(added, now));
        self.totals.free += added;
        self.cursor = self.cursor.min(slot);
        added
    }

    /// Makes one page of the chunk in `slot` free, where `place` tells its place in there, given
    /// what stands behind that, and `now` the time.
    ///
    /// Returns whether it is in there, and was not free before.
    #[inline]
    pub(crate) fn put_one(
        &mut self,
        slot: usize,
        place: impl Fn(&B) -> usize,
        now: impl Fn() -> Jiffies,
    ) -> bool {
        let Some(chunk) = self.slots.get_mut(slot).and_then(Option::as_mut) else {
            return false;
        };

        if !chunk.free.put_one(place(&chunk.backing)) {
            return false;
        }

        // INVARIANT: The page is counted, and `cursor` is not above its slot.
        if chunk.is_idle() {
            chunk.free_since = now();
            self.totals.idle += 1;
        }
        self.totals.free += 1;
        self.cursor = self.cursor.min(slot);
        true
    }

    /// Makes single pages free, at the time `now`, in any order and of any chunks, of which that of
    /// the first page is in the slot `first`.
    ///
    /// `slot` returns the slot of the chunk that a page is of, and `place` the page's place in a
    /// chunk, given what stands behind that; if it is of another, one behind the last. Pages that
    /// `skip` says so of are passed over.
    ///
    /// Ends at a page that is of no chunk. Returns how many it has come past, and how many of them
    /// were not free before.
    #[inline]
    pub(crate) fn put_each<P>(
        &mut self,
        first: usize,
        pages: &[P],
        now: Jiffies,
        slot: impl Fn(&P) -> Option<usize>,
        place: impl Fn(&B, &P) -> usize,
        mut skip: impl FnMut(&P) -> bool,
    ) -> (usize, usize) {
        let mut rest = pages;
        let mut added = 0;

        let mut next = Some(first);

        while let Some(chunk_slot) = next {
            let Some(chunk) = self.slots.get_mut(chunk_slot).and_then(Option::as_mut) else {
                break;
            };
            let nr_pages = chunk.free.nr_pages();
            let places = core::iter::from_fn(|| loop {
                let (page, later) = rest.split_first()?;
                let place = place(&chunk.backing, page);

                if place >= nr_pages {
                    return None;
                }
                rest = later;
                if !skip(page) {
                    return Some(place);
                }
            });
            let added_here = chunk.free.put_each(places);

            // INVARIANT: The chunk is counted, and `cursor` is not above its slot.
            self.totals.idle += usize::from(chunk.is_idle_now(added_here, now));
            self.cursor = self.cursor.min(chunk_slot);
            added += added_here;
            next = rest.first().and_then(&slot);
            if next == Some(chunk_slot) {
                // Cannot be: then the chunk would have a place for the page.
                break;
            }
        }

        // INVARIANT: So are the pages.
        self.totals.free += added;
        (pages.len() - rest.len(), added)
    }

    /// The slot of the chunk in which a page has a place, and that place, as `place` tells given
    /// what stands behind a chunk.
    pub(crate) fn locate(&self, place: impl Fn(&B) -> usize) -> Option<(usize, usize)> {
        self.chunks().find_map(|(slot, chunk)| {
            let place = place(&chunk.backing);

            (place < chunk.nr_pages()).then_some((slot, place))
        })
    }

    /// Takes out a chunk that has been wholly free for `age` or longer at the time `now`.
    ///
    /// The smallest of the wholly free chunks always stays.
    pub(crate) fn remove_idle(&mut self, now: Jiffies, age: Jiffies) -> Option<Removed<B>> {
        let slot = self
            .spare()
            .find(|(_, chunk)| now.wrapping_sub(chunk.free_since) >= age)
            .map(|(slot, _)| slot)?;
        let chunk = self.slots.get_mut(slot)?.take()?;

        // INVARIANT: The chunk, which was wholly free, is counted no more.
        self.totals.pages -= chunk.free.nr_pages();
        self.totals.free -= chunk.free.nr_free();
        self.totals.chunks -= 1;
        self.totals.idle -= 1;
        Some(Removed {
            room: Room { slot, spare: None },
            chunk,
        })
    }

    /// For how long the chunk that could be given back next has been wholly free.
    pub(crate) fn longest_idle(&self, now: Jiffies) -> Option<Jiffies> {
        self.spare()
            .map(|(_, chunk)| now.wrapping_sub(chunk.free_since))
            .max()
    }

    /// The wholly free chunks that are removable, with their slots, but for the smallest.
    fn spare(&self) -> impl Iterator<Item = (usize, &Chunk<B>)> {
        let idle = || {
            self.chunks()
                .filter(|(_, chunk)| chunk.removable && chunk.is_idle())
        };
        let reserve = idle().min_by_key(|(_, chunk)| chunk.free.nr_pages());

        idle().filter(move |(slot, _)| reserve.is_some_and(|(kept, _)| kept != *slot))
    }
}

#[kunit_tests(xen_unpopulated_index)]
mod tests {
    use super::*;

    /// An index with a chunk of each of these sizes, 1,000 frames apart; chunk n is backed by n.
    fn index(sizes: &[usize]) -> Result<Index<usize>> {
        let mut index = Index::new();

        for (nr, size) in sizes.iter().enumerate() {
            let room = index.vacancy().make_room()?;
            let chunk = Chunk::new(1000 * nr, *size, true, nr)?;

            assert_eq!(room.slot(), nr);
            assert!(index.insert(chunk, room, 0).is_ok());
        }
        Ok(index)
    }

    /// Takes `nr` pages and returns the frame numbers of the first and the last of them.
    fn take(index: &mut Index<usize>, nr: usize) -> Option<(usize, usize)> {
        let mut first = None;
        let mut last = 0;
        let mut taken = 0;

        if !index.take(nr, |chunk, run| {
            first.get_or_insert(1000 * chunk + run.start);
            last = 1000 * chunk + run.end - 1;
            taken += run.len();
        }) {
            return None;
        }
        assert_eq!(taken, nr);
        first.map(|first| (first, last))
    }

    /// Takes a run and returns its first frame number.
    fn take_run(
        index: &mut Index<usize>,
        nr: usize,
        align: usize,
        max_pfn: usize,
    ) -> Option<usize> {
        index
            .take_run(nr, align, max_pfn)
            .map(|(chunk, start)| 1000 * chunk + start)
    }

    /// Removes a chunk that is idle for 100 jiffies, and returns its number.
    fn remove(index: &mut Index<usize>, now: Jiffies) -> Option<usize> {
        index.remove_idle(now, 100).map(|removed| removed.split().1)
    }

    #[test]
    fn scattered_pages_may_come_from_several_chunks() -> Result {
        let mut index = index(&[64, 64, 128])?;

        assert_eq!(take(&mut index, 257), None);
        assert_eq!(index.totals().free, 256);
        assert_eq!(take(&mut index, 10), Some((0, 9)));
        assert_eq!(take(&mut index, 100), Some((10, 1045)));
        assert_eq!(take(&mut index, 146), Some((1046, 2127)));
        assert_eq!(take(&mut index, 1), None);
        assert_eq!(take(&mut index, 0), None);
        Ok(())
    }

    #[test]
    fn a_run_lies_in_one_chunk() -> Result {
        let mut index = index(&[64, 64, 128])?;

        assert_eq!(take_run(&mut index, 129, 1, usize::MAX), None);
        assert_eq!(take_run(&mut index, 100, 1, usize::MAX), Some(2028));
        assert_eq!(take_run(&mut index, 60, 1, usize::MAX), Some(1004));
        assert_eq!(take_run(&mut index, 60, 1, usize::MAX), Some(4));
        assert_eq!(take_run(&mut index, 60, 1, usize::MAX), None);
        Ok(())
    }

    #[test]
    fn a_run_respects_alignment_and_limit() -> Result {
        let mut index = index(&[64, 64, 128])?;

        assert_eq!(take_run(&mut index, 8, 32, usize::MAX), Some(2112));
        assert_eq!(take_run(&mut index, 8, 1, 1063), Some(1056));
        assert_eq!(take_run(&mut index, 8, 1, 1055), Some(1048));
        assert_eq!(take_run(&mut index, 8, 1, 1006), Some(56));
        assert_eq!(take_run(&mut index, 8, 1, 6), None);
        Ok(())
    }

    #[test]
    fn freed_pages_are_found_again_wherever_they_are() -> Result {
        let mut index = index(&[64, 64, 64])?;

        assert!(take(&mut index, 192).is_some());
        assert_eq!(index.put(2, 5, 1, 0), 1);
        assert_eq!(index.put(2, 5, 1, 0), 0);
        assert_eq!(index.put(9, 5, 1, 0), 0);
        assert_eq!(take(&mut index, 1), Some((2005, 2005)));
        assert_eq!(index.put(0, 7, 1, 0), 1);
        assert_eq!(index.put(1, 7, 1, 0), 1);
        assert_eq!(take(&mut index, 2), Some((7, 1007)));
        assert_eq!(index.totals().free, 0);
        Ok(())
    }

    /// Puts back pages, each given by its chunk and its place there, but those in `skip`.
    fn put_each(
        index: &mut Index<usize>,
        pages: &[(usize, usize)],
        now: Jiffies,
        skip: &[(usize, usize)],
    ) -> (usize, usize) {
        index.put_each(
            pages[0].0,
            pages,
            now,
            |page| (page.0 < 9).then_some(page.0),
            |chunk, page| if page.0 == *chunk { page.1 } else { usize::MAX },
            |page| skip.contains(page),
        )
    }

    #[test]
    fn single_pages_are_put_back_in_any_order() -> Result {
        let mut index = index(&[64, 100, 64])?;

        assert!(take(&mut index, 228).is_some());
        assert_eq!(
            put_each(
                &mut index,
                &[(1, 99), (1, 5), (0, 7), (2, 63), (1, 6)],
                0,
                &[]
            ),
            (5, 5)
        );
        assert_eq!(index.totals().free, 5);
        assert_eq!(
            put_each(&mut index, &[(1, 5), (2, 62), (2, 62)], 0, &[]),
            (3, 1)
        );
        assert_eq!(take(&mut index, 1), Some((7, 7)));
        assert_eq!(take(&mut index, 5), Some((1005, 2063)));
        assert_eq!(index.totals().free, 0);
        Ok(())
    }

    #[test]
    fn putting_back_ends_at_a_page_of_no_chunk() -> Result {
        let mut index = index(&[64, 100])?;

        assert!(take(&mut index, 164).is_some());
        assert_eq!(
            put_each(&mut index, &[(1, 2), (9, 0), (1, 3)], 0, &[]),
            (1, 1)
        );
        assert_eq!(
            put_each(&mut index, &[(1, 4), (1, 100), (1, 5)], 0, &[]),
            (1, 1)
        );
        assert_eq!(put_each(&mut index, &[(0, 2), (5, 0)], 0, &[]), (1, 1));
        assert_eq!(put_each(&mut index, &[(5, 0)], 0, &[]), (0, 0));
        assert_eq!(index.totals().free, 3);
        Ok(())
    }

    #[test]
    fn pages_that_are_skipped_are_not_put_back() -> Result {
        let mut index = index(&[64])?;

        assert!(take(&mut index, 64).is_some());
        assert_eq!(
            put_each(&mut index, &[(0, 1), (0, 2), (0, 3)], 0, &[(0, 1), (0, 3)]),
            (3, 1)
        );
        assert_eq!(index.totals().free, 1);
        assert_eq!(take(&mut index, 1), Some((2, 2)));
        Ok(())
    }

    #[test]
    fn a_chunk_is_idle_when_its_last_page_is_put_back() -> Result {
        let mut index = index(&[2, 2])?;

        assert!(take(&mut index, 4).is_some());
        assert_eq!(
            put_each(&mut index, &[(0, 1), (1, 0), (0, 0)], 7, &[]),
            (3, 3)
        );
        assert_eq!(index.totals().idle, 1);
        assert_eq!(put_each(&mut index, &[(1, 1)], 8, &[]), (1, 1));
        assert_eq!(index.totals().idle, 2);
        assert_eq!(index.longest_idle(10), Some(2));
        Ok(())
    }

    #[test]
    fn one_page_is_put_back() -> Result {
        let mut index = index(&[64, 128])?;

        assert!(index.take(192, |_, _| {}));
        assert_eq!(index.totals().free, 0);

        assert!(index.put_one(1, |_| 127, || 7));
        assert!(!index.put_one(1, |_| 127, || 7));
        assert!(!index.put_one(0, |_| 64, || 7));
        assert!(!index.put_one(2, |_| 0, || 7));
        assert_eq!(index.totals().free, 1);
        assert_eq!(index.totals().idle, 0);

        // The last page of a chunk makes it idle from then on.
        assert_eq!(index.put(0, 0, 63, 8), 63);
        assert!(index.put_one(0, |_| 63, || 9));
        assert_eq!(index.totals().idle, 1);
        assert_eq!(index.front(), Some((0, 64)));
        assert_eq!(index.put(1, 0, 127, 9), 127);
        assert_eq!(index.longest_idle(11), Some(2));
        Ok(())
    }

    #[test]
    fn the_front_is_the_first_chunk_with_a_free_page() -> Result {
        let mut index = index(&[64, 100])?;
        let mut places = [0; 4];
        let mut nr = 0;

        assert_eq!(index.front(), Some((0, 64)));
        assert!(take(&mut index, 64).is_some());
        assert_eq!(index.front(), Some((1, 100)));
        assert_eq!(
            put_each(&mut index, &[(0, 9), (0, 60), (0, 30)], 0, &[]),
            (3, 3)
        );
        assert_eq!(index.front(), Some((0, 3)));
        index.take_each(0, 2, |chunk, place| {
            assert_eq!(*chunk, 0);
            places[nr] = place;
            nr += 1;
        });
        assert_eq!(places, [9, 30, 0, 0]);
        assert_eq!(index.front(), Some((0, 1)));
        assert_eq!(index.totals().free, 101);
        assert_eq!(index.totals().idle, 1);
        index.take_each(1, 1, |chunk, place| assert_eq!((*chunk, place), (1, 0)));
        assert_eq!(index.totals().idle, 0);
        Ok(())
    }

    #[test]
    fn a_page_is_located_where_it_has_a_place() -> Result {
        let index = index(&[64, 100])?;
        let locate = |pfn: usize| index.locate(|chunk| pfn.wrapping_sub(1000 * *chunk));

        assert_eq!(locate(63), Some((0, 63)));
        assert_eq!(locate(64), None);
        assert_eq!(locate(1099), Some((1, 99)));
        Ok(())
    }

    #[test]
    fn only_old_idle_chunks_go_and_the_smallest_stays() -> Result {
        let mut index = index(&[128, 64, 128, 256])?;

        assert_eq!(index.totals().idle, 4);
        assert_eq!(take_run(&mut index, 1, 1, 10), Some(10));
        assert_eq!(index.totals().idle, 3);
        assert_eq!(index.longest_idle(50), Some(50));
        assert!(index.remove_idle(50, 100).is_none());
        assert_eq!(remove(&mut index, 100), Some(2));
        assert_eq!(remove(&mut index, 100), Some(3));
        assert!(index.remove_idle(100, 100).is_none());
        assert_eq!(index.longest_idle(100), None);

        assert_eq!(index.put(0, 10, 1, 100), 1);
        assert!(index.remove_idle(199, 100).is_none());
        assert_eq!(remove(&mut index, 200), Some(0));
        assert_eq!(
            index.totals(),
            Totals {
                pages: 64,
                free: 64,
                chunks: 1,
                idle: 1
            }
        );
        Ok(())
    }

    #[test]
    fn a_slot_is_used_again() -> Result {
        let mut index = index(&[128, 64, 128])?;

        assert!(index.remove_idle(1, 0).is_some());
        let room = index.vacancy().make_room()?;
        let chunk = Chunk::new(5000, 32, true, 5)?;
        assert_eq!(room.slot(), 0);
        assert!(index.insert(chunk, room, 0).is_ok());
        assert_eq!(take_run(&mut index, 32, 1, 1000), None);
        assert!(matches!(index.chunk(0), Some(chunk) if *chunk.backing() == 5));
        Ok(())
    }

    #[test]
    fn a_chunk_that_is_not_removable_stays() -> Result {
        let mut index = index(&[64])?;
        let room = index.vacancy().make_room()?;

        assert!(index
            .insert(Chunk::new(9000, 99, false, 9)?, room, 0)
            .is_ok());
        assert_eq!(index.totals().idle, 2);
        assert!(index.remove_idle(100, 0).is_none());
        assert_eq!(take_run(&mut index, 65, 1, usize::MAX), None);
        Ok(())
    }

    #[test]
    fn a_removed_chunk_can_return_to_its_slot() -> Result {
        let mut index = index(&[128, 64, 128])?;
        let before = index.totals();

        let (removed, backing) = index.remove_idle(1, 0).ok_or(EINVAL)?.split();
        let (chunk, room) = removed.join(backing);
        assert_eq!(room.slot(), 0);
        assert!(index.insert(chunk, room, 1).is_ok());
        assert_eq!(index.totals(), before);
        assert!(matches!(index.chunk(0), Some(chunk) if *chunk.backing() == 0));
        Ok(())
    }

    #[test]
    fn without_room_the_chunk_comes_back() -> Result {
        let mut index = Index::new();

        for nr in 0..4 {
            let room = index.vacancy().make_room()?;
            assert!(index.insert(Chunk::new(0, 1, true, nr)?, room, 0).is_ok());
        }
        for slot in [0, 4, 9] {
            let room = Room { slot, spare: None };
            assert!(index.insert(Chunk::new(0, 1, true, 9)?, room, 0).is_err());
        }
        assert_eq!(index.totals().chunks, 4);
        Ok(())
    }
}
