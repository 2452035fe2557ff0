// SPDX-License-Identifier: GPL-2.0

//! Support for running as a guest of the Xen hypervisor.
//!
//! C headers: [`include/xen/`](srctree/include/xen/)

use core::ptr::NonNull;

use crate::{
    bindings,
    page::PAGE_SHIFT, //
};

#[cfg(CONFIG_XEN_GRANT_DMA_OPS_RUST)]
pub mod grant;
#[cfg(CONFIG_XEN_UNPOPULATED_ALLOC_RUST)]
pub mod unpopulated;

/// A bitwise shift for the size of a frame, the unit in which Xen counts memory.
///
/// It is 4 KiB whatever the size of the kernel's pages is.
pub const XEN_PAGE_SHIFT: usize = bindings::XEN_PAGE_SHIFT as usize;

/// The number of frames in a page of the kernel.
pub const XEN_PFN_PER_PAGE: usize = 1 << (PAGE_SHIFT - XEN_PAGE_SHIFT);

/// The number of a frame in the address space that Xen's interfaces use for this domain.
///
/// In a domain that Xen translates addresses for (all of them on Arm; PVH and HVM on x86), this is
/// the number that the domain knows the frame by. In a PV domain it is that of a machine frame, so
/// that neighbouring pages don't have neighbouring numbers.
///
/// # Examples
///
/// ```
/// use kernel::xen::{
///     Gfn,
///     XEN_PFN_PER_PAGE, //
/// };
///
/// let first = Gfn::new(0x100);
/// let frames = first.wrapping_add_pages(2).as_raw() - first.as_raw();
///
/// assert_eq!(frames as usize, 2 * XEN_PFN_PER_PAGE);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(transparent)]
pub struct Gfn(bindings::xen_pfn_t);

impl Gfn {
    /// Makes a frame number from the C type.
    #[inline]
    pub const fn new(frame: bindings::xen_pfn_t) -> Self {
        Self(frame)
    }

    /// Returns the number of the first frame of a page.
    ///
    /// # Safety
    ///
    /// `page` must point to a `struct page` of the kernel's memory map.
    #[inline]
    pub unsafe fn from_page(page: NonNull<bindings::page>) -> Self {
        // SAFETY: `page` is valid by the safety requirements.
        let frame = unsafe { bindings::xen_page_to_gfn(page.as_ptr()) };

        // CAST: `xen_pfn_t` is at least as wide as an `unsigned long`.
        Self(frame as bindings::xen_pfn_t)
    }

    /// Returns the number as the C type.
    #[inline]
    pub const fn as_raw(self) -> bindings::xen_pfn_t {
        self.0
    }

    /// Returns the number of the first frame of the page which is `pages` pages further on.
    ///
    /// This is so for frames with consecutive numbers only. The result wraps around at the end of
    /// the type.
    #[inline(always)]
    pub const fn wrapping_add_pages(self, pages: usize) -> Self {
        // CAST: `xen_pfn_t` is at least as wide as an `unsigned long`.
        let frames = pages.wrapping_mul(XEN_PFN_PER_PAGE) as bindings::xen_pfn_t;

        Self(self.0.wrapping_add(frames))
    }
}
