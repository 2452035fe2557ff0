// SPDX-License-Identifier: GPL-2.0

//! What [`crate`] decides and computes, apart from doing it.
//!
//! There is no `unsafe` in here, and nothing that needs a hypervisor.

use core::mem::MaybeUninit;

use kernel::{
    bindings,
    io::PhysAddr,
    page::PAGE_SHIFT,
    prelude::*,
    xen::Gfn, //
};

/// The most pages that one buffer can have: so many that their size fits into an `int`.
const MAX_PAGES: c_int = c_int::MAX >> PAGE_SHIFT;

/// The number of pages of a buffer.
///
/// # Invariants
///
/// It is between 1 and [`MAX_PAGES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PageCount(u32);

impl PageCount {
    /// Checks a number that a caller has passed.
    ///
    /// What is too much, or negative, gives the error that it gives in C.
    #[inline]
    pub(crate) fn new(nr_pages: c_int) -> Result<Self> {
        match u32::try_from(nr_pages) {
            Ok(0) => Err(EINVAL),
            // INVARIANT: It is neither zero nor more than `MAX_PAGES`.
            Ok(nr) if nr_pages <= MAX_PAGES => Ok(Self(nr)),
            _ => Err(ENOMEM),
        }
    }

    /// Returns the number for C functions that take an `unsigned int`.
    #[inline]
    pub(crate) fn as_uint(self) -> c_uint {
        self.0
    }

    /// Returns the number for C functions that take an `int`.
    #[inline]
    pub(crate) fn as_int(self) -> c_int {
        // CAST: By the type invariants it is not more than `c_int::MAX`.
        self.0 as c_int
    }

    /// Returns the number of elements in an array that has one for each page.
    #[inline]
    pub(crate) fn len(self) -> usize {
        // CAST: `usize` is at least as wide.
        self.0 as usize
    }

    /// Returns the size in bytes.
    #[inline]
    pub(crate) fn bytes(self) -> usize {
        // By the type invariants this does not wrap around.
        self.len() << PAGE_SHIFT
    }
}

/// Where buffers are taken from, as the `source` parameter has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// From the pool of unpopulated pages where that is possible, else from RAM.
    Auto,
    /// From RAM, always.
    Ram,
    /// From the pool of unpopulated pages, or not at all.
    Unpopulated,
}

impl Source {
    /// Makes sense of the value of the parameter.
    #[inline]
    pub(crate) fn from_raw(value: c_uint) -> Self {
        match value {
            bindings::xen_grant_dma_source_XEN_GRANT_DMA_RAM => Self::Ram,
            bindings::xen_grant_dma_source_XEN_GRANT_DMA_UNPOPULATED => Self::Unpopulated,
            _ => Self::Auto,
        }
    }
}

/// Why a buffer is taken from RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// There is no pool, or it does not give runs: no address space for it, or a PV domain.
    Unsupported,
    /// The pool has no run that is long and low enough, and cannot get one.
    NoSpace,
    /// The administrator wants it.
    Asked,
}

impl Reason {
    /// Decides what follows from an error of the pool: a reason to go on, or an error to return.
    pub(crate) fn from_error(source: Source, error: Error) -> Result<Self> {
        if source != Source::Auto {
            return Err(error);
        }

        match error {
            e if e == EOPNOTSUPP => Ok(Self::Unsupported),
            _ => Ok(Self::NoSpace),
        }
    }

    /// Returns the statistic that counts it.
    pub(crate) fn stat(self) -> u32 {
        match self {
            Self::Unsupported => bindings::xen_grant_dma_stat_XEN_GRANT_DMA_FALLBACK_UNSUPPORTED,
            Self::NoSpace => bindings::xen_grant_dma_stat_XEN_GRANT_DMA_FALLBACK_NO_SPACE,
            Self::Asked => bindings::xen_grant_dma_stat_XEN_GRANT_DMA_FALLBACK_ASKED,
        }
    }

    /// Says it in the log.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Unsupported => "this domain has no contiguous unpopulated pages",
            Self::NoSpace => "no run of unpopulated pages that is long and low enough",
            Self::Asked => "the parameter source says so",
        }
    }
}

/// Returns the highest address that a device can reach, inclusive.
///
/// These are the two limits that dma_direct heeds. Each of them is zero where there is none.
/// [`None`] means that the device has not been set up for DMA at all.
#[inline]
pub(crate) fn highest_address(coherent_dma_mask: u64, bus_dma_limit: u64) -> Option<PhysAddr> {
    // Physical addresses have 64 bits wherever the pool can be built.
    match (coherent_dma_mask, bus_dma_limit) {
        (0, _) => None,
        (mask, 0) => Some(mask),
        (mask, limit) => Some(mask.min(limit)),
    }
}

/// How many elements [`fill`] writes without a jump.
const UNROLL: usize = 16;

/// Writes `first`, the one after it and so on to an array, by means of `put`.
///
/// These loops are nearly all that is left of an allocation, so the compiler is helped: steps of a
/// constant size, no index to check and no sum that could overflow.
#[inline(always)]
fn fill<S, T: Copy>(out: &mut [S], first: T, nth: impl Fn(T, usize) -> T, put: impl Fn(&mut S, T)) {
    let mut next = first;
    let mut chunks = out.chunks_exact_mut(UNROLL);

    for chunk in &mut chunks {
        for (i, slot) in chunk.iter_mut().enumerate() {
            put(slot, nth(next, i));
        }
        next = nth(next, UNROLL);
    }

    for slot in chunks.into_remainder() {
        put(slot, next);
        next = nth(next, 1);
    }
}

/// Returns the frame number of the page which is `n` pages further on in a run.
#[inline(always)]
fn nth_frame(frame: bindings::xen_pfn_t, n: usize) -> bindings::xen_pfn_t {
    Gfn::new(frame).wrapping_add_pages(n).as_raw()
}

/// Writes the `struct page`s of a run to an array.
#[inline]
pub(crate) fn fill_pages(out: &mut [MaybeUninit<*mut bindings::page>], first: *mut bindings::page) {
    fill(
        out,
        first,
        <*mut bindings::page>::wrapping_add,
        |slot, page| {
            slot.write(page);
        },
    );
}

/// Writes the first frame number of each page of a run to an array.
#[inline]
pub(crate) fn fill_frames(out: &mut [MaybeUninit<bindings::xen_pfn_t>], first: Gfn) {
    fill(out, first.as_raw(), nth_frame, |slot, frame| {
        slot.write(frame);
    });
}

/// Returns how many of `wanted` extents a hypercall for the memory reservation has done.
///
/// It returns a negative error, or a number.
pub(crate) fn extents_done(ret: c_int, wanted: usize) -> usize {
    usize::try_from(ret).unwrap_or(0).min(wanted)
}

#[kunit_tests(xen_grant_dma_alloc)]
mod tests {
    use super::*;
    use kernel::{
        page::PAGE_SIZE,
        xen::XEN_PFN_PER_PAGE, //
    };

    #[test]
    fn page_count_refuses_what_c_refuses() {
        assert!(PageCount::new(c_int::MIN) == Err(ENOMEM));
        assert!(PageCount::new(-1) == Err(ENOMEM));
        assert!(PageCount::new(MAX_PAGES + 1) == Err(ENOMEM));
        assert!(PageCount::new(c_int::MAX) == Err(ENOMEM));
        // Here C would ask for a buffer of no bytes.
        assert!(PageCount::new(0) == Err(EINVAL));
    }

    #[test]
    fn page_count_converts() -> Result {
        let one = PageCount::new(1)?;
        assert_eq!(one.bytes(), PAGE_SIZE);

        let most = PageCount::new(MAX_PAGES)?;
        assert_eq!(most.as_int(), MAX_PAGES);
        assert_eq!(most.len(), most.as_uint() as usize);
        assert!(most.bytes() <= c_int::MAX as usize);
        Ok(())
    }

    #[test]
    fn highest_address_is_the_lower_limit() {
        assert!(highest_address(u64::MAX, 0) == Some(PhysAddr::MAX));
        assert!(highest_address(0xffff_ffff, 0) == Some(0xffff_ffff));
        assert!(highest_address(u64::MAX, 0x3fff_ffff) == Some(0x3fff_ffff));
        assert!(highest_address(0xff_ffff, 0x3fff_ffff) == Some(0xff_ffff));
    }

    #[test]
    fn highest_address_needs_a_mask() {
        assert!(highest_address(0, 0).is_none());
        assert!(highest_address(0, 0xffff_ffff).is_none());
    }

    #[test]
    fn only_auto_falls_back() {
        assert!(Reason::from_error(Source::Auto, EOPNOTSUPP) == Ok(Reason::Unsupported));
        assert!(Reason::from_error(Source::Auto, ENOMEM) == Ok(Reason::NoSpace));
        assert!(Reason::from_error(Source::Unpopulated, ENOMEM) == Err(ENOMEM));
        assert!(Reason::from_error(Source::Unpopulated, EOPNOTSUPP) == Err(EOPNOTSUPP));
    }

    #[test]
    fn source_of_unknown_value_is_auto() {
        assert!(Source::from_raw(bindings::xen_grant_dma_source_XEN_GRANT_DMA_RAM) == Source::Ram);
        assert!(Source::from_raw(c_uint::MAX) == Source::Auto);
    }

    #[test]
    fn fill_writes_each_element_and_no_more() {
        const LEN: usize = 3 * UNROLL + 2;
        const UNTOUCHED: u64 = u64::MAX;

        for len in 0..LEN {
            let mut frames = [UNTOUCHED; LEN];

            fill(&mut frames[..len], 0x1234, nth_frame, |slot, frame| {
                *slot = frame;
            });

            for (i, frame) in frames[..len].iter().enumerate() {
                assert_eq!(*frame, 0x1234 + (i * XEN_PFN_PER_PAGE) as u64);
            }
            assert!(frames[len..].iter().all(|frame| *frame == UNTOUCHED));
        }
    }

    #[test]
    fn extents_done_of_error_is_none() {
        assert_eq!(extents_done(-22, 8), 0);
        assert_eq!(extents_done(0, 8), 0);
        assert_eq!(extents_done(5, 8), 5);
        assert_eq!(extents_done(9, 8), 8);
    }
}
