// SPDX-License-Identifier: GPL-2.0

//! Which references of a block are idle, as bits of a word.

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

/// Returns all bits that are set but for the lowest.
#[inline]
pub(crate) fn without_first(bits: u64) -> u64 {
    bits & bits.wrapping_sub(1)
}

/// Finds `nr` bits in a row that are set, and returns the place of the first and a mask of them.
#[inline]
pub(crate) fn find(bits: u64, nr: u32) -> Option<(u32, u64)> {
    let starts = match nr {
        // What most buffers need.
        1 if bits != 0 => return Some((bits.trailing_zeros(), bits & bits.wrapping_neg())),
        2..=BLOCK => starts(bits, nr),
        _ => 0,
    };

    if starts == 0 {
        return None;
    }

    let at = starts.trailing_zeros();

    Some((at, lowest(nr) << at))
}

/// Returns a mask of `nr` bits from a place on, if there are that many and not none.
#[inline]
pub(crate) fn mask(at: u32, nr: u32) -> Option<u64> {
    // What most buffers need.
    if nr == 1 && at < BLOCK {
        return Some(1 << at);
    }
    if nr == 0 || nr > BLOCK || at > BLOCK - nr {
        return None;
    }

    Some(lowest(nr) << at)
}

/// Returns the lowest `nr` of the bits that are set, or all of them if there are not as many.
#[inline]
pub(crate) fn lowest_of(bits: u64, nr: u32) -> u64 {
    if bits.count_ones() <= nr {
        return bits;
    }

    let mut rest = bits;

    // There are more than `nr`, so that one is left each time.
    for _ in 0..nr {
        rest = without_first(rest);
    }
    bits & !rest
}

impl RunMap {
    /// A map of references that are all idle.
    #[inline]
    pub(crate) fn lent(bits: u64) -> Self {
        // INVARIANT: These are the same.
        Self {
            owned: bits,
            idle: bits,
        }
    }

    /// A map of references that are all handed out, to collect them in.
    #[inline]
    pub(crate) fn collector(bits: u64) -> Self {
        // INVARIANT: Nothing is idle.
        Self {
            owned: bits,
            idle: 0,
        }
    }

    /// Those that are idle.
    #[inline]
    pub(crate) fn idle(&self) -> u64 {
        self.idle
    }

    /// Hands out `nr` references in a row, and returns the place of the first.
    #[inline]
    pub(crate) fn take(&mut self, nr: u32) -> Option<u32> {
        let (at, run) = find(self.idle, nr)?;

        self.idle &= !run;
        Some(at)
    }

    /// Puts `nr` references back, from a place on.
    #[inline]
    pub(crate) fn put(&mut self, at: u32, nr: u32) -> Put {
        let Some(run) = mask(at, nr) else {
            return Put::Stranger;
        };

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
    fn a_run_is_found_at_the_lowest_place() {
        assert_eq!(find(0, 1), None);
        assert_eq!(find(u64::MAX, 0), None);
        assert_eq!(find(u64::MAX, BLOCK + 1), None);
        assert_eq!(find(u64::MAX, u32::MAX), None);
        assert_eq!(find(u64::MAX, BLOCK), Some((0, u64::MAX)));
        assert_eq!(find(0b1011_0110, 1), Some((1, 0b10)));
        assert_eq!(find(0b1011_0110, 2), Some((1, 0b110)));
        assert_eq!(find(0b1011_0110, 3), None);
        assert_eq!(find(1 << 63, 1), Some((63, 1 << 63)));
    }

    #[test]
    fn a_mask_lies_within_the_block() {
        assert_eq!(mask(0, BLOCK), Some(u64::MAX));
        assert_eq!(mask(63, 1), Some(1 << 63));
        assert_eq!(mask(63, 2), None);
        assert_eq!(mask(64, 1), None);
        assert_eq!(mask(3, 0), None);
        assert_eq!(mask(0, u32::MAX), None);
        assert_eq!(mask(u32::MAX, 2), None);
    }

    #[test]
    fn the_lowest_of_the_bits_goes_first() {
        assert_eq!(without_first(0b1011_0110), 0b1011_0100);
        assert_eq!(without_first(1 << 63), 0);
        assert_eq!(without_first(u64::MAX), u64::MAX - 1);
        assert_eq!(without_first(0), 0);
    }

    #[test]
    fn as_many_are_lent_as_there_are() {
        assert_eq!(lowest_of(0b1011_0110, 3), 0b1_0110);
        assert_eq!(lowest_of(0b1011_0110, 5), 0b1011_0110);
        assert_eq!(lowest_of(0b1011_0110, 64), 0b1011_0110);
        assert_eq!(lowest_of(u64::MAX, 64), u64::MAX);
        assert_eq!(lowest_of(u64::MAX, 0), 0);
        assert_eq!(lowest_of(0, 1), 0);
    }

    #[test]
    fn runs_are_consecutive_and_not_handed_out_twice() {
        let mut map = RunMap::lent(lowest(10));

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
    fn strangers_and_doubles_are_told() {
        let mut map = RunMap::lent(lowest(8));

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
    fn only_what_is_handed_out_is_collected() {
        let mut map = RunMap::collector(0b0111);

        assert_eq!(map.put(3, 1), Put::Stranger);
        assert_eq!(map.put(1, 2), Put::Done);
        assert_eq!(map.put(2, 1), Put::Twice);
        assert_eq!(map.put(0, 1), Put::Done);
        assert_eq!(map.idle(), 0b0111);
    }

    #[test]
    fn what_is_left_is_taken_run_by_run() {
        let mut map = RunMap::lent(0b11_1010);

        assert_eq!(map.take_run(), Some((1, 1)));
        assert_eq!(map.take_run(), Some((3, 3)));
        assert_eq!(map.take_run(), None);

        let mut map = RunMap::lent(u64::MAX);

        assert_eq!(map.take_run(), Some((0, BLOCK)));
        assert_eq!(map.take_run(), None);
    }
}
