// SPDX-License-Identifier: GPL-2.0

//! The memory that backends get access to.

use super::address::{
    Part,
    Span,
    FRAME, //
};
use core::{
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
        XEN_PAGE_SHIFT, //
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
#[inline]
fn frame_address(phys: PhysAddr, frame: u32) -> *mut u8 {
    // CAST: Addresses have 64 bits here.
    let start = (phys as usize) - (phys as usize) % FRAME + frame as usize * FRAME;

    // SAFETY: This is arithmetic on the address only.
    let first = unsafe { page::pfn_to_page(start >> PAGE_SHIFT) };
    // SAFETY: As above.
    let address: *mut u8 = unsafe { page::page_address(first) }.cast();

    address.wrapping_add(start % PAGE_SIZE)
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
    /// Makes one of what a driver has passed.
    ///
    /// Returns [`EINVAL`] if it is empty or too large.
    ///
    /// # Safety
    ///
    /// This must be memory with struct pages, in the linear map, which the driver gives to the
    /// device for as long as references that are granted for it are.
    #[inline]
    pub(crate) unsafe fn new(phys: PhysAddr, size: usize) -> Result<Self> {
        // INVARIANT: By the safety requirements.
        Ok(Self {
            phys,
            span: Span::new(phys, size)?,
        })
    }

    /// Where it lies in its frames.
    #[inline]
    pub(crate) fn span(&self) -> &Span {
        &self.span
    }

    /// Returns whether the memory is this domain's own.
    #[inline]
    pub(crate) fn is_own(&self) -> bool {
        // CAST: Addresses have 64 bits here.
        let first = self.phys as usize >> PAGE_SHIFT;
        let frames = (self.phys as usize % PAGE_SIZE) / FRAME + self.span.frames() as usize;

        // SAFETY: By the type invariants these are pages that exist.
        unsafe { bindings::xen_grant_dma_may_grant(first, frames.div_ceil(PAGE_SIZE / FRAME)) }
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
        frame_address(self.phys, part.frame).wrapping_add(part.offset)
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

/// Memory that is shared with a backend for long.
///
/// # Invariants
///
/// `address` is where `alloc_pages_exact()` has allocated `size` bytes, which this object owns.
pub(crate) struct Pages {
    address: NonNull<c_void>,
    size: usize,
}

// SAFETY: Memory belongs to no thread.
unsafe impl Send for Pages {}

impl Pages {
    /// Allocates memory for `span`, which is all zero.
    pub(crate) fn alloc(span: &Span, gfp: bindings::gfp_t) -> Result<Self> {
        // CAST: It is the number of frames of something the size of which is a `usize`.
        let size = (span.frames() as usize).checked_mul(FRAME).ok_or(EINVAL)?;

        // All of the pages are cleared, not only what was asked for: the backend sees all of it.
        //
        // SAFETY: There are no requirements.
        let address =
            unsafe { bindings::alloc_pages_exact_noprof(size, gfp | bindings::__GFP_ZERO) };

        // INVARIANT: It has been allocated for this object.
        Ok(Self {
            address: NonNull::new(address).ok_or(ENOMEM)?,
            size,
        })
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
        core::mem::ManuallyDrop::new(self).address
    }

    /// Takes memory over from C code.
    ///
    /// # Safety
    ///
    /// It must be what [`Self::into_raw`] has returned, for memory for `span`, and this must be
    /// the only call for it.
    pub(crate) unsafe fn from_raw(address: NonNull<c_void>, span: &Span) -> Self {
        // INVARIANT: By the safety requirements. The size was computed likewise.
        Self {
            address,
            size: span.frames() as usize * FRAME,
        }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: By the type invariants it has been allocated with this size, and is ours.
        unsafe { bindings::free_pages_exact(self.address.as_ptr(), self.size) };
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

        // INVARIANT: If the call is successful.
        //
        // SAFETY: Only frames with a struct page are granted.
        unsafe { bindings::xen_grant_dma_pin(pfn) }.then_some(Self(pfn))
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // SAFETY: By the type invariants there is a reference.
        unsafe { bindings::xen_grant_dma_unpin(self.0) };
    }
}
