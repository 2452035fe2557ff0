// SPDX-License-Identifier: GPL-2.0

//! Which references of a block are idle.

use kernel::prelude::*;

/// The most references that a block can have.
pub(crate) const BLOCK: u32 = u64::BITS;

/// What became of a run that was put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Put {
    /// It is idle again.
    Done,
    /// It is not, or not all of it, of this block.
    Stranger,
    /// Some of it is idle already: it is put back for the second time.
    Twice,
}

/// A bitmap of up to [`BLOCK`] references with consecutive numbers.
///
/// # Invariants
///
/// What is idle is owned.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RunMap {
    /// Those that are part of the block, whether idle or handed out.
    owned: u64,
    /// Those that can be handed out.
    idle: u64,
}

/// Returns a mask of the lowest `nr` bits.
#[inline]
const fn lowest(nr: u32) -> u64 {
    match u64::MAX.checked_shr(BLOCK.saturating_sub(nr)) {
        Some(mask) => mask,
        None => 0,
    }
}

/// Returns the places at which `nr` bits in a row are set, where `nr` is not zero.
#[inline]
fn starts(bits: u64, nr: u32) -> u64 {
    let mut starts = bits;
    let mut step = 1;
    let mut left = nr - 1;

    // Each bit comes to stand for twice as many as before.
    while left > 0 {
        let by = left.min(step);

        starts &= starts >> by;
        left -= by;
        step *= 2;
    }
    starts
}

impl RunMap {
    /// A block without references.
    #[inline]
    pub(crate) const fn empty() -> Self {
        // INVARIANT: Nothing is idle.
        Self { owned: 0, idle: 0 }
    }

    /// A block of `nr` references, all of which are idle.
    #[inline]
    pub(crate) fn full(nr: u32) -> Self {
        let all = lowest(nr);

        // INVARIANT: These are the same.
        Self {
            owned: all,
            idle: all,
        }
    }

    /// Returns whether no reference is part of the block.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.owned == 0
    }

    /// How many are idle.
    #[inline]
    pub(crate) fn nr_idle(&self) -> u32 {
        self.idle.count_ones()
    }

    /// Hands out `nr` references in a row, and returns the place of the first.
    #[inline]
    pub(crate) fn take(&mut self, nr: u32) -> Option<u32> {
        if nr.wrapping_sub(1) >= BLOCK {
            return None;
        }

        let starts = starts(self.idle, nr);
        if starts == 0 {
            return None;
        }

        let at = starts.trailing_zeros();

        self.idle &= !(lowest(nr) << at);
        Some(at)
    }

    /// Puts `nr` references back, from a place on.
    #[inline]
    pub(crate) fn put(&mut self, at: u32, nr: u32) -> Put {
        if nr > BLOCK || at > BLOCK - nr || nr == 0 {
            return Put::Stranger;
        }

        let run = lowest(nr) << at;

        if self.owned & run != run {
            return Put::Stranger;
        }
        if self.idle & run != 0 {
            return Put::Twice;
        }
        // INVARIANT: All of the run is owned.
        self.idle |= run;
        Put::Done
    }

    /// Hands out up to `nr` references, wherever they are, as a block of their own.
    pub(crate) fn lend(&mut self, nr: u32) -> Self {
        let mut rest = 0;

        if self.idle.count_ones() > nr {
            rest = self.idle;
            for _ in 0..nr {
                rest &= rest - 1;
            }
        }

        let lent = self.idle & !rest;

        // INVARIANT: What is lent is owned by both, and idle in one of them.
        self.idle = rest;
        Self {
            owned: lent,
            idle: lent,
        }
    }

    /// A block of those that have been handed out, to collect them in.
    #[inline]
    pub(crate) fn collector(&self) -> Self {
        // INVARIANT: Nothing is idle.
        Self {
            owned: self.owned & !self.idle,
            idle: 0,
        }
    }

    /// Puts back what is idle in a block that [`Self::lend`] or [`Self::collector`] returned.
    #[inline]
    pub(crate) fn put_all(&mut self, other: Self) {
        // INVARIANT: Only what is owned becomes idle.
        self.idle |= other.idle & self.owned;
    }

    /// Removes all that are idle from the block, and returns them as a block of their own.
    pub(crate) fn drain(&mut self) -> Self {
        let idle = self.idle;

        // INVARIANT: Nothing is idle here any more, and in the other all are.
        self.owned &= !idle;
        self.idle = 0;
        Self { owned: idle, idle }
    }

    /// Hands out the first run of idle references, as its place and how many there are.
    pub(crate) fn take_run(&mut self) -> Option<(u32, u32)> {
        if self.idle == 0 {
            return None;
        }

        let at = self.idle.trailing_zeros();
        let nr = (self.idle >> at).trailing_ones();

        self.idle &= !(lowest(nr) << at);
        Some((at, nr))
    }
}

#[kunit_tests(xen_grant_dma_run_map)]
mod tests {
    use super::*;

    #[test]
    fn masks_have_as_many_bits_as_asked_for() {
        assert_eq!(lowest(0), 0);
        assert_eq!(lowest(1), 1);
        assert_eq!(lowest(63), u64::MAX >> 1);
        assert_eq!(lowest(64), u64::MAX);
        assert_eq!(lowest(65), u64::MAX);
    }

    #[test]
    fn a_start_has_enough_bits_from_there_on() {
        for bits in [0, 1, 0b1011_0111, u64::MAX, 0xff00_ff0f_1234_8001, 1 << 63] {
            for nr in 1..=BLOCK {
                let mut expected = 0;

                for at in 0..=BLOCK - nr {
                    if (bits >> at) & lowest(nr) == lowest(nr) {
                        expected |= 1 << at;
                    }
                }
                assert_eq!(starts(bits, nr), expected);
            }
        }
    }

    #[test]
    fn runs_are_consecutive_and_not_handed_out_twice() {
        let mut map = RunMap::full(10);

        assert_eq!(map.take(4), Some(0));
        assert_eq!(map.take(4), Some(4));
        assert_eq!(map.take(4), None);
        assert_eq!(map.put(0, 4), Put::Done);
        assert_eq!(map.take(5), None);
        assert_eq!(map.put(4, 4), Put::Done);
        assert_eq!(map.take(10), Some(0));
        assert_eq!(map.take(1), None);
    }

    #[test]
    fn all_of_a_block_can_be_one_run() {
        let mut map = RunMap::full(BLOCK);

        assert_eq!(map.take(BLOCK + 1), None);
        assert_eq!(map.take(0), None);
        assert_eq!(map.take(u32::MAX), None);
        assert_eq!(map.take(BLOCK), Some(0));
        assert_eq!(map.nr_idle(), 0);
        assert_eq!(map.put(0, BLOCK), Put::Done);
        assert_eq!(map.nr_idle(), BLOCK);
    }

    #[test]
    fn strangers_and_doubles_are_told() {
        let mut map = RunMap::full(8);

        assert_eq!(map.put(0, 1), Put::Twice);
        assert_eq!(map.take(2), Some(0));
        assert_eq!(map.put(1, 2), Put::Twice);
        assert_eq!(map.put(7, 2), Put::Stranger);
        assert_eq!(map.put(8, 1), Put::Stranger);
        assert_eq!(map.put(u32::MAX, 2), Put::Stranger);
        assert_eq!(map.put(0, u32::MAX), Put::Stranger);
        assert_eq!(map.put(0, 2), Put::Done);
    }

    #[test]
    fn what_is_lent_comes_back() {
        let mut map = RunMap::full(BLOCK);

        assert_eq!(map.take(1), Some(0));

        let mut lent = map.lend(3);
        assert_eq!((lent.nr_idle(), map.nr_idle()), (3, 60));
        assert_eq!(lent.take(2), Some(1));
        map.put_all(lent);
        assert_eq!(map.nr_idle(), 61);

        let all = map.lend(100);
        assert_eq!((all.nr_idle(), map.nr_idle()), (61, 0));
        map.put_all(all);

        // Those that are still out, one and two in a row.
        let mut collector = map.collector();
        assert_eq!(collector.put(3, 1), Put::Stranger);
        assert_eq!(collector.put(1, 2), Put::Done);
        assert_eq!(collector.put(0, 1), Put::Done);
        map.put_all(collector);
        assert_eq!(map.nr_idle(), BLOCK);
    }

    #[test]
    fn what_is_drained_does_not_come_back() {
        let mut map = RunMap::full(6);

        assert_eq!(map.take(1), Some(0));
        assert_eq!(map.take(1), Some(1));
        assert_eq!(map.take(1), Some(2));
        assert_eq!(map.put(1, 1), Put::Done);

        let mut drained = map.drain();
        assert_eq!(map.take(1), None);
        assert!(!map.is_empty());
        assert_eq!(drained.take_run(), Some((1, 1)));
        assert_eq!(drained.take_run(), Some((3, 3)));
        assert_eq!(drained.take_run(), None);

        assert_eq!(map.put(3, 1), Put::Stranger);
        assert_eq!(map.put(0, 1), Put::Done);
        assert_eq!(map.put(2, 1), Put::Done);
        assert_eq!(map.drain().take_run(), Some((0, 1)));
        assert!(map.is_empty());
    }
}
