// SPDX-License-Identifier: GPL-2.0

//! The memory that backends get access to.

use super::address::{
    Part,
    Span,
    FRAME, //
};
use core::{
    mem::ManuallyDrop,
    num::NonZeroUsize,
    ptr::NonNull, //
};
use kernel::{
    bindings,
    io::PhysAddr,
    page::{
        self,
        PAGE_SHIFT,
        PAGE_SIZE, //
    },
    prelude::*,
    xen::{
        grant::{
            Access,
            DomId,
            Granted,
            References, //
        },
        Gfn,
        XEN_PAGE_SHIFT,
        XEN_PFN_PER_PAGE, //
    }, //
};

/// Returns the number of the frame at an address.
///
/// On Arm Xen translates addresses for all domains, so that it is just that.
#[inline]
fn frame_at(phys: PhysAddr) -> Gfn {
    Gfn::new(phys >> XEN_PAGE_SHIFT)
}

/// Returns the address of a frame in the linear map.
///
/// # Safety
///
/// There must be pages of the memory map from `phys` to the end of the frame.
#[inline]
unsafe fn frame_address(phys: PhysAddr, frame: u32) -> *mut u8 {
    // CAST: Addresses have 64 bits here.
    let start = (phys as usize) - (phys as usize) % FRAME + frame as usize * FRAME;

    // SAFETY: The frame is in such a page, as required from the caller.
    let first = unsafe { page::pfn_to_page(start >> PAGE_SHIFT) };
    // SAFETY: As above.
    let address: *mut u8 = unsafe { page::page_address(first) }.cast();

    address.wrapping_add(start % PAGE_SIZE)
}

/// Returns the address of a page, if it and those that follow are memory of this domain.
///
/// # Safety
///
/// There must be that many pages, at least one, from `first` on.
#[cold]
unsafe fn own_phys(first: *mut bindings::page, nr_pages: usize) -> Option<PhysAddr> {
    let first = NonNull::new(first)?;
    // SAFETY: It exists, as required from the caller.
    let phys = unsafe { page::page_to_phys(first) };

    // SAFETY: There are that many, as required from the caller.
    unsafe { bindings::xen_grant_dma_is_own(phys, nr_pages) }.then_some(phys)
}

/// Memory that a driver has mapped for a device.
///
/// # Invariants
///
/// `span` is that of the buffer at `phys`. The buffer is memory with struct pages, in the linear
/// map, which the driver has given to the device until it unmaps the buffer.
#[derive(Clone, Copy)]
pub(crate) struct Buffer {
    phys: PhysAddr,
    span: Span,
}

impl Buffer {
    /// Makes one of what a driver has passed: a page, and which bytes from there on.
    ///
    /// Returns [`EINVAL`] if it is empty, [`ENOMEM`] if it touches more than `longest` frames, and
    /// [`EREMOTEIO`] if it is not memory of this domain.
    ///
    /// # Safety
    ///
    /// These must be bytes of memory with struct pages, in the linear map, which the driver gives
    /// to the device for as long as references that are granted for it are.
    #[inline]
    pub(crate) unsafe fn new(
        page: NonNull<bindings::page>,
        offset: usize,
        size: usize,
        longest: u32,
    ) -> Result<Self> {
        // CAST: Both have 64 bits here.
        let span = Span::within(offset as u64, size, longest)?;
        // The bytes may begin on a later page. Struct pages form one array on this architecture.
        let first = page.as_ptr().wrapping_add(offset / PAGE_SIZE);
        let offset = offset % PAGE_SIZE;
        // Both are small now, as there are not many frames.
        let pages = (offset + size).div_ceil(PAGE_SIZE);

        // SAFETY: These are pages that exist, as required from the caller.
        let mut start = unsafe { bindings::xen_grant_dma_plain_phys(first, pages) };

        if start == PhysAddr::MAX {
            // SAFETY: As above.
            start = unsafe { own_phys(first, pages) }.ok_or(EREMOTEIO)?;
        }

        // It is where a page begins, so that there is nothing to carry.
        //
        // INVARIANT: By the safety requirements.
        Ok(Self {
            phys: start | offset as PhysAddr,
            span,
        })
    }

    /// Makes one as [`Self::new`] does, of the physical address of the bytes.
    ///
    /// # Safety
    ///
    /// As for [`Self::new`].
    #[inline]
    pub(crate) unsafe fn at(phys: PhysAddr, size: usize, longest: u32) -> Result<Self> {
        let span = Span::within(phys, size, longest)?;
        // CAST: Addresses have 64 bits here.
        //
        // Both are small, as there are not many frames.
        let pages = ((phys as usize) % PAGE_SIZE + size).div_ceil(PAGE_SIZE);

        // SAFETY: These are pages that exist, as required from the caller.
        if !unsafe { bindings::xen_grant_dma_is_plain(phys, pages) }
            // SAFETY: As above.
            && !unsafe { bindings::xen_grant_dma_is_own(phys, pages) }
        {
            return Err(EREMOTEIO);
        }

        // INVARIANT: By the safety requirements.
        Ok(Self { phys, span })
    }

    /// Where it lies in its frames.
    #[inline]
    pub(crate) fn span(&self) -> &Span {
        &self.span
    }

    /// Grants access to all of the frames that the buffer touches.
    #[inline]
    pub(crate) fn grant(&self, references: References, to: DomId, access: Access) -> Granted {
        // SAFETY: By the type invariants the memory is the device's to use. That others may be in
        // the same frames is known to whoever has not asked for isolation.
        unsafe { references.grant(to, frame_at(self.phys), access) }
    }

    /// Grants access to some of the frames that the buffer touches.
    pub(crate) fn grant_from(
        &self,
        frame: u32,
        references: References,
        to: DomId,
        access: Access,
    ) -> Granted {
        let first = frame_at(self.phys).as_raw() + u64::from(frame);

        // SAFETY: As above.
        unsafe { references.grant(to, Gfn::new(first), access) }
    }

    /// Returns the address of a part of the buffer.
    #[inline]
    fn address(&self, part: Part) -> *mut u8 {
        // SAFETY: By the type invariants the buffer lies in pages that exist, and the part in it.
        let frame = unsafe { frame_address(self.phys, part.frame) };

        frame.wrapping_add(part.offset)
    }
}

/// A page, to which a backend gets access in place of one that belongs to others too.
///
/// # Invariants
///
/// `page` is a page that this object owns. `part` is a part of `buffer`, and lies in the first
/// frame of the page too.
pub(crate) struct Bounce {
    page: NonNull<bindings::page>,
    buffer: Buffer,
    part: Part,
}

// SAFETY: A page belongs to no thread.
unsafe impl Send for Bounce {}

impl Bounce {
    /// Gets a page for a part of a buffer. This works in any context.
    pub(crate) fn new(buffer: Buffer, part: Part) -> Result<Self> {
        // SAFETY: There are no requirements.
        let page = unsafe { bindings::alloc_pages(bindings::GFP_ATOMIC | bindings::__GFP_ZERO, 0) };

        // INVARIANT: The page has been allocated for this object. A part of a buffer is within a
        // frame.
        Ok(Self {
            page: NonNull::new(page).ok_or(ENOMEM)?,
            buffer,
            part,
        })
    }

    /// Grants access to it.
    pub(crate) fn grant(&self, reference: References, to: DomId, access: Access) -> Granted {
        // SAFETY: By the type invariants it is a page.
        let frame = unsafe { Gfn::from_page(self.page) };

        // SAFETY: The page is used for nothing else, and has been cleared. It is freed after access
        // has ended.
        unsafe { reference.grant(to, frame, access) }
    }

    /// Returns the address of a byte in the page.
    fn address(&self, offset: usize) -> *mut u8 {
        // SAFETY: By the type invariants it is a page.
        let page: *mut u8 = unsafe { page::page_address(self.page) }.cast();

        page.wrapping_add(offset)
    }

    /// The bytes of the buffer that are here and in the given range of offsets in the frame.
    fn common(&self, from: usize, to: usize) -> Option<(usize, NonZeroUsize)> {
        let from = from.max(self.part.offset);
        let to = to.min(self.part.offset + self.part.len);

        Some((from, NonZeroUsize::new(to.checked_sub(from)?)?))
    }

    /// Copies from the buffer what lies in a range of offsets in the frame.
    pub(crate) fn copy_in(&self, from: usize, to: usize) {
        let Some((from, len)) = self.common(from, to) else {
            return;
        };
        let buffer = self
            .buffer
            .address(self.part)
            .wrapping_add(from - self.part.offset);

        // SAFETY: By the type invariants both are memory in the linear map, and both ranges lie
        // within the part. They do not overlap, as the page belongs to this object alone. The
        // backend may be writing there, which harms no one but itself.
        unsafe { core::ptr::copy_nonoverlapping(buffer, self.address(from), len.get()) };
    }

    /// Copies to the buffer what lies in a range of offsets in the frame.
    pub(crate) fn copy_out(&self, from: usize, to: usize) {
        let Some((from, len)) = self.common(from, to) else {
            return;
        };
        let buffer = self
            .buffer
            .address(self.part)
            .wrapping_add(from - self.part.offset);

        // SAFETY: As above. The driver expects the device to write to the buffer.
        unsafe { core::ptr::copy_nonoverlapping(self.address(from), buffer, len.get()) };
    }
}

impl Drop for Bounce {
    fn drop(&mut self) {
        // SAFETY: By the type invariants it is ours.
        unsafe { bindings::__free_pages(self.page.as_ptr(), 0) };
    }
}

/// How many pages memory for a span has.
fn nr_pages(span: &Span) -> usize {
    // CAST: `usize` is at least as wide.
    (span.frames() as usize).div_ceil(XEN_PFN_PER_PAGE)
}

/// Memory that is shared with a backend for long.
///
/// # Invariants
///
/// `address` is where `pages` pages have been allocated, which this object owns: as a whole if that
/// is a power of two, and by `alloc_pages_exact()` otherwise.
pub(crate) struct Pages {
    address: NonNull<c_void>,
    pages: usize,
}

// SAFETY: Memory belongs to no thread.
unsafe impl Send for Pages {}

impl Pages {
    /// Allocates memory for `span`, which is all zero.
    pub(crate) fn alloc(span: &Span, gfp: bindings::gfp_t) -> Result<Self> {
        let pages = nr_pages(span);
        let gfp = gfp & !bindings::__GFP_ZERO;

        let address = if pages.is_power_of_two() {
            // SAFETY: There are no requirements.
            let first = unsafe { bindings::alloc_pages(gfp, pages.ilog2()) };
            let first = NonNull::new(first).ok_or(ENOMEM)?;

            // SAFETY: It is a page.
            unsafe { page::page_address(first) }
        } else {
            // This does not wrap around, as there is a span.
            //
            // SAFETY: There are no requirements.
            unsafe { bindings::alloc_pages_exact_noprof(pages << PAGE_SHIFT, gfp) }
        };
        let address = NonNull::new(address).ok_or(ENOMEM)?;

        // All of the pages are cleared, not only what was asked for: the backend sees all of it.
        //
        // SAFETY: That many bytes have been allocated.
        unsafe { address.cast::<u8>().write_bytes(0, pages << PAGE_SHIFT) };

        // INVARIANT: It has been allocated for this object, in either way.
        Ok(Self { address, pages })
    }

    /// Grants access to it.
    pub(crate) fn grant(&self, references: References, to: DomId) -> Granted {
        // SAFETY: By the type invariants this is memory in the linear map.
        let page = unsafe { page::virt_to_page(self.address.as_ptr()) };
        // SAFETY: The page exists.
        let frame = unsafe { Gfn::from_page(page) };

        // SAFETY: This memory is there to be shared with the backend, and has been cleared. It is
        // freed after access has ended.
        unsafe { references.grant(to, frame, Access::ReadWrite) }
    }

    /// Hands the memory over to C code.
    pub(crate) fn into_raw(self) -> NonNull<c_void> {
        ManuallyDrop::new(self).address
    }

    /// Takes memory over from C code.
    ///
    /// # Safety
    ///
    /// It must be what [`Self::into_raw`] has returned, for memory for `span`, and this must be
    /// the only call for it.
    pub(crate) unsafe fn from_raw(address: NonNull<c_void>, span: &Span) -> Self {
        // INVARIANT: By the safety requirements. The number of pages was computed likewise.
        Self {
            address,
            pages: nr_pages(span),
        }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        if self.pages.is_power_of_two() {
            // SAFETY: By the type invariants this is memory in the linear map.
            let first = unsafe { page::virt_to_page(self.address.as_ptr()) };

            // SAFETY: By the type invariants it has been allocated as a whole, and is ours.
            unsafe { bindings::__free_pages(first.as_ptr(), self.pages.ilog2()) };
        } else {
            // SAFETY: By the type invariants it has been allocated so, and is ours.
            unsafe { bindings::free_pages_exact(self.address.as_ptr(), self.pages << PAGE_SHIFT) };
        }
    }
}

/// A page of someone else that is kept from being freed.
///
/// # Invariants
///
/// A reference to the folio of this page is owned by this object.
pub(crate) struct Pinned(usize);

impl Pinned {
    /// Pins the page with a frame, if there is a way to.
    pub(crate) fn new(frame: Gfn) -> Option<Self> {
        // CAST: A frame number fits into a `usize` here.
        let pfn = (frame.as_raw() as usize) >> (PAGE_SHIFT - XEN_PAGE_SHIFT);

        // SAFETY: Only frames with a struct page are granted.
        let is_pinned = unsafe { bindings::xen_grant_dma_pin(pfn) };

        // What is not pinned must not become an object, which would be dropped.
        //
        // INVARIANT: The call was successful.
        is_pinned.then(|| Self(pfn))
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // SAFETY: By the type invariants there is a reference.
        unsafe { bindings::xen_grant_dma_unpin(self.0) };
    }
}
