// SPDX-License-Identifier: GPL-2.0

//! How many references a device may take.

use super::address::FRAME;
use kernel::prelude::*;

/// The most references in a row, for 4 MiB. The page allocator has no more in one piece.
const LONGEST: u32 = 1024;

/// What a device may take at a time, and has to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// The most references that one buffer may need.
    pub(crate) longest: u32,
    /// How many references must be left for others.
    pub(crate) reserve: u32,
}

impl Limits {
    /// Decides on the limits, where there can be `capacity` references in all.
    pub(crate) fn new(capacity: u32) -> Self {
        Self {
            longest: (capacity / 4).min(LONGEST),
            reserve: capacity / 16,
        }
    }

    /// The size of the largest buffer that can be mapped wherever in a frame it begins.
    pub(crate) fn max_size(&self) -> usize {
        // CAST: It is at most `LONGEST`.
        self.longest.saturating_sub(1) as usize * FRAME
    }
}

#[kunit_tests(xen_grant_dma_limits)]
mod tests {
    use super::{
        super::address::Span,
        *, //
    };

    #[test]
    fn the_largest_buffer_fits_wherever_it_begins() -> Result {
        let limits = Limits::new(32768);

        for offset in [0, 1, FRAME as u64 - 1] {
            assert!(Span::new(offset, limits.max_size())?.frames() <= limits.longest);
        }
        Ok(())
    }

    #[test]
    fn a_small_table_is_shared() {
        let limits = Limits::new(1024);

        assert_eq!(limits.longest, 256);
        assert!(limits.reserve > 0 && limits.longest + limits.reserve < 1024);
        assert_eq!(Limits::new(0).longest, 0);
        assert_eq!(Limits::new(0).max_size(), 0);
        assert_eq!(Limits::new(u32::MAX).longest, LONGEST);
    }
}
