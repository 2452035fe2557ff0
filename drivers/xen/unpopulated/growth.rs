// SPDX-License-Identifier: GPL-2.0

//! How much the pool grows by.
//!
//! Each step waits some milliseconds for the memory hotplug lock, and costs memory for struct
//! pages whether they are used or not. So the first step is the smallest, and later ones are as
//! large as what is there already: as steps get fewer, at most half of the memory is in excess.

/// The limits of a step, in pages.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    /// What every step is a multiple of.
    pub(crate) granule: usize,
    /// What no step exceeds, unless the request does.
    pub(crate) largest: usize,
    /// What the pool must not grow beyond, if anything.
    pub(crate) ceiling: Option<usize>,
}

impl Limits {
    /// The sizes to try for a request that lacks `missing` pages, wherever they are, in a pool of
    /// `total` pages.
    ///
    /// The first are the best. The later ones may need to be followed by another step. There are
    /// none for what the ceiling does not permit as a whole, so that nothing is added in vain.
    pub(crate) fn steps(self, total: usize, missing: usize) -> impl Iterator<Item = usize> {
        let double = total.min(self.largest) / self.granule * self.granule;
        let best = self
            .whole(total, missing)
            .map_or(0, |needed| needed.max(double).min(self.room(total)));

        core::iter::successors(Some(best), move |step| {
            Some(step / 2 / self.granule * self.granule)
        })
        .take_while(|step| *step > 0)
    }

    /// The size for a request of `nr` pages in one piece, in a pool of `total` pages.
    pub(crate) fn whole(self, total: usize, nr: usize) -> Option<usize> {
        self.round_up(nr).filter(|step| *step <= self.room(total))
    }

    /// The number of pages that the ceiling permits to add.
    fn room(self, total: usize) -> usize {
        self.ceiling.map_or(usize::MAX, |ceiling| {
            ceiling.saturating_sub(total) / self.granule * self.granule
        })
    }

    fn round_up(self, nr: usize) -> Option<usize> {
        nr.checked_next_multiple_of(self.granule)
    }
}

#[kernel::macros::kunit_tests(xen_unpopulated_growth)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        granule: 512,
        largest: 4096,
        ceiling: None,
    };

    #[test]
    fn steps_double_up_to_the_largest() {
        for (total, step) in [
            (0, 512),
            (512, 512),
            (1024, 1024),
            (1536, 1536),
            (8192, 4096),
        ] {
            assert_eq!(LIMITS.steps(total, 1).next(), Some(step));
        }
    }

    #[test]
    fn a_large_request_is_met_at_once() {
        assert_eq!(LIMITS.steps(0, 2025).next(), Some(2048));
        assert_eq!(LIMITS.steps(0, 100_000).next(), Some(100_352));
    }

    #[test]
    fn smaller_steps_follow_down_to_the_granule() {
        assert!(LIMITS.steps(0, 2048).eq([2048, 1024, 512]));
        assert!(LIMITS.steps(0, 1500).eq([1536, 512]));
    }

    #[test]
    fn nothing_goes_beyond_the_ceiling() {
        let limits = Limits {
            ceiling: Some(2047),
            ..LIMITS
        };

        assert!(limits.steps(0, 1500).eq([1536, 512]));
        assert!(limits.steps(1024, 1).eq([512]));
        assert!(limits.steps(1536, 1).eq([]));
        assert!(limits.steps(5000, 1).eq([]));
        assert_eq!(limits.whole(0, 1500), Some(1536));
        assert_eq!(limits.whole(512, 1500), None);
    }

    #[test]
    fn what_the_ceiling_does_not_permit_gets_no_step() {
        let limits = Limits {
            ceiling: Some(2047),
            ..LIMITS
        };

        assert!(limits.steps(0, 1537).eq([]));
        assert!(limits.steps(512, 1025).eq([]));
        assert!(limits.steps(512, 1024).eq([1024, 512]));
    }

    #[test]
    fn a_request_too_large_to_round_up_gets_no_step() {
        assert_eq!(LIMITS.whole(0, usize::MAX), None);
        assert!(LIMITS.steps(0, usize::MAX).eq([]));
    }
}
