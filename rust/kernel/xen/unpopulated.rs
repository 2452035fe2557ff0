// SPDX-License-Identifier: GPL-2.0

//! Pages without memory behind them, to map memory of other domains into.
//!
//! C header: [`include/xen/xen.h`](srctree/include/xen/xen.h)

use core::{
    mem::ManuallyDrop,
    ops::RangeInclusive,
    ptr::{
        null_mut,
        NonNull, //
    }, //
};

use crate::{
    bindings,
    error::to_result,
    io::PhysAddr,
    page::{
        self,
        PAGE_SHIFT, //
    },
    prelude::*,
    ptr::Alignment,
    xen::Gfn, //
};

/// A run of pages with consecutive numbers and no memory behind them.
///
/// The kernel has a `struct page` and an address in the linear map for each of them, but nothing is
/// there: an access faults, until a grant or foreign memory has been mapped to the page. So never
/// clear, copy from or checksum a page that is fresh, or that has been unmapped.
///
/// Dropping the object gives the pages back. Nothing may be mapped to them then, and nobody may
/// hold a reference to them. [`Self::into_raw`] hands the ownership over to C code.
///
/// # Invariants
///
/// `nr_pages` is not zero. The `nr_pages` pages from `first` on have been handed out as one run by
/// `xen_alloc_unpopulated_contiguous_pages()`, and are owned by this object.
///
/// # Examples
///
/// ```
/// use kernel::{
///     io::PhysAddr,
///     page::PAGE_SIZE,
///     ptr::Alignment,
///     xen::unpopulated::UnpopulatedPages, //
/// };
///
/// let four = Alignment::new::<4>();
///
/// match UnpopulatedPages::alloc(6, four, PhysAddr::MAX) {
///     Ok(pages) => {
///         assert_eq!(pages.nr_pages(), 6);
///         assert_eq!(pages.first_pfn() % 4, 0);
///
///         let phys = pages.phys();
///         assert_eq!(phys.end() - phys.start() + 1, 6 * PAGE_SIZE as PhysAddr);
///     }
///     // There are none but in a Xen guest.
///     Err(e) => assert!(e == EOPNOTSUPP || e == ENOMEM),
/// }
///
/// // No run is empty.
/// assert!(UnpopulatedPages::alloc(0, four, PhysAddr::MAX).is_err());
/// ```
pub struct UnpopulatedPages {
    first: NonNull<bindings::page>,
    nr_pages: c_uint,
}

impl UnpopulatedPages {
    /// Allocates a run of `nr_pages` pages.
    ///
    /// The number of the first page is a multiple of `align` (that is in pages, and 1 for any), and
    /// the last byte of the run lies at or below `max_addr`.
    ///
    /// This may sleep. It returns [`EINVAL`] if `nr_pages` is zero, [`ENOMEM`] if there is no such
    /// run, and [`EOPNOTSUPP`] if this system cannot have any: no address space to use has been
    /// found, or it is a PV domain, where pages in a row don't have their frames in a row.
    #[inline]
    pub fn alloc(nr_pages: c_uint, align: Alignment, max_addr: PhysAddr) -> Result<Self> {
        let align = c_uint::try_from(align.as_usize())?;
        let mut first = null_mut();

        // SAFETY: `first` is a place for the C side to put a pointer in. It checks the rest.
        to_result(unsafe {
            bindings::xen_alloc_unpopulated_contiguous_pages(nr_pages, align, max_addr, &mut first)
        })?;

        // INVARIANT: The call was successful, so `nr_pages` is not zero and the pages are ours.
        Ok(Self {
            first: NonNull::new(first).ok_or(ENOMEM)?,
            nr_pages,
        })
    }

    /// Returns the `struct page` of the first page.
    ///
    /// Those of the other pages of the run follow it.
    #[inline]
    pub fn first_page(&self) -> NonNull<bindings::page> {
        self.first
    }

    /// Returns the number of pages, which is not zero.
    #[inline]
    pub fn nr_pages(&self) -> c_uint {
        self.nr_pages
    }

    /// Returns the page frame number of the first page.
    #[inline]
    pub fn first_pfn(&self) -> usize {
        // SAFETY: By the type invariants `first` points to a page.
        unsafe { page::page_to_pfn(self.first) }
    }

    /// Returns the frame number of the first page.
    ///
    /// The other pages of the run follow it, see [`Gfn::wrapping_add_pages`].
    #[inline]
    pub fn first_gfn(&self) -> Gfn {
        // SAFETY: By the type invariants `first` points to a page.
        unsafe { Gfn::from_page(self.first) }
    }

    /// Returns the address of the first page in the linear map.
    #[inline]
    pub fn address(&self) -> *mut c_void {
        // SAFETY: By the type invariants `first` points to a page.
        unsafe { page::page_address(self.first) }
    }

    /// Returns the physical address of the first page.
    #[inline]
    pub fn start(&self) -> PhysAddr {
        // SAFETY: By the type invariants `first` points to a page.
        unsafe { page::page_to_phys(self.first) }
    }

    /// Returns the physical addresses of the run.
    #[inline]
    pub fn phys(&self) -> RangeInclusive<PhysAddr> {
        let start = self.start();
        // The run lies in physical address space, so nothing wraps around.
        let size = PhysAddr::from(self.nr_pages) << PAGE_SHIFT;

        start..=start + (size - 1)
    }

    /// Hands the pages over to C code, as the first page and their number.
    ///
    /// They are given back by `xen_free_unpopulated_contiguous_pages()`, or by dropping what
    /// [`Self::from_raw`] makes of them.
    #[inline]
    pub fn into_raw(self) -> (NonNull<bindings::page>, c_uint) {
        let this = ManuallyDrop::new(self);

        (this.first, this.nr_pages)
    }

    /// Takes over pages from C code.
    ///
    /// # Safety
    ///
    /// The `nr_pages` pages from `first` on must have been handed out as one run by
    /// `xen_alloc_unpopulated_contiguous_pages()`, and the caller must own them.
    #[inline]
    pub unsafe fn from_raw(first: NonNull<bindings::page>, nr_pages: c_uint) -> Self {
        // INVARIANT: By the safety requirements.
        Self { first, nr_pages }
    }

    /// Checks whether a page is one that the kernel has made to be handed out by [`Self::alloc`].
    ///
    /// The answer does not depend on whether the page is handed out.
    ///
    /// # Safety
    ///
    /// `page` must point to a `struct page` that the caller owns.
    #[inline]
    pub unsafe fn contains(page: NonNull<bindings::page>) -> bool {
        // SAFETY: `page` is valid by the safety requirements, and handed out if it is unpopulated,
        // as the caller owns it.
        unsafe { bindings::is_xen_unpopulated_page(page.as_ptr()) }
    }
}

impl Drop for UnpopulatedPages {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariants the pages have been handed out as one run, and are owned
        // by this object.
        unsafe {
            bindings::xen_free_unpopulated_contiguous_pages(self.nr_pages, self.first.as_ptr())
        };
    }
}

// SAFETY: Pages belong to no thread, and may be given back by any.
unsafe impl Send for UnpopulatedPages {}

// SAFETY: Through a shared reference nothing is changed.
unsafe impl Sync for UnpopulatedPages {}
