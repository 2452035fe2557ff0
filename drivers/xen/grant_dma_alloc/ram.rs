// SPDX-License-Identifier: GPL-2.0

//! Buffers out of RAM, the memory behind which is given to Xen.
//!
//! Each stage of setting one up is an object, made from the one before it, that undoes what the
//! stage has done when it is dropped:
//!
//! - [`Memory`]: there is memory from the DMA allocator.
//! - [`Unmapped`]: its pages and frames are listed, and a PV domain has them unmapped.
//! - [`Ballooned`]: Xen has taken back some or all of the frames.
//! - [`Buffer`]: the pages are marked for grants to be mapped to.

use core::{
    mem,
    mem::MaybeUninit,
    ptr::NonNull,
    slice, //
};

use kernel::{
    bindings,
    page,
    page::PAGE_SHIFT,
    prelude::*,
    xen::Gfn, //
};

use crate::{
    count,
    logic::{
        extents_done,
        PageCount, //
    }, //
};

/// Memory from the DMA allocator.
///
/// # Invariants
///
/// `vaddr` and `bus` are what `dma_alloc_attrs()` has returned for `dev`, `nr` pages and the
/// attributes that go with `coherent`. The memory has not been freed.
pub(crate) struct Memory {
    dev: NonNull<bindings::device>,
    nr: PageCount,
    coherent: bool,
    vaddr: NonNull<c_void>,
    bus: bindings::dma_addr_t,
}

impl Memory {
    /// Returns what sets memory that is coherent apart from memory that is write-combined.
    fn attrs(coherent: bool) -> c_ulong {
        // CAST: Attributes are passed as `unsigned long`.
        if coherent {
            0
        } else {
            bindings::DMA_ATTR_WRITE_COMBINE as c_ulong
        }
    }

    /// Allocates memory.
    ///
    /// # Safety
    ///
    /// `dev` must point to a device that is set up for DMA and stays so until the object has been
    /// dropped.
    unsafe fn new(dev: NonNull<bindings::device>, nr: PageCount, coherent: bool) -> Result<Self> {
        // CAST: Attributes are passed as `unsigned long`.
        let attrs = Self::attrs(coherent) | bindings::DMA_ATTR_NO_WARN as c_ulong;
        let gfp = bindings::GFP_KERNEL | bindings::__GFP_NOWARN;
        let mut bus = 0;

        // SAFETY: `dev` is valid by the safety requirements, and `bus` is a place for the result.
        let vaddr =
            unsafe { bindings::dma_alloc_attrs(dev.as_ptr(), nr.bytes(), &mut bus, gfp, attrs) };

        // INVARIANT: It has just been allocated, if it is not null.
        Ok(Self {
            dev,
            nr,
            coherent,
            vaddr: NonNull::new(vaddr).ok_or(ENOMEM)?,
            bus,
        })
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: By the type invariants these are the arguments and results of
        // `dma_alloc_attrs()`, and the memory has not been freed.
        unsafe {
            bindings::dma_free_attrs(
                self.dev.as_ptr(),
                self.nr.bytes(),
                self.vaddr.as_ptr(),
                self.bus,
                Self::attrs(self.coherent),
            )
        };
    }
}

/// Memory that is not mapped by the kernel of a PV domain, and the list of its pages.
///
/// # Invariants
///
/// - `pages` and `frames` have an element for each page of `memory`: its `struct page`, and where
///   there is memory behind it the number of the frame, as `xen_page_to_gfn()` had it.
/// - In a PV domain, none of the pages is mapped.
struct Unmapped<'a> {
    pages: &'a mut [*mut bindings::page],
    frames: &'a mut [bindings::xen_pfn_t],
    // Comes last, so that it is freed last.
    memory: Memory,
}

impl<'a> Unmapped<'a> {
    /// Lists the pages, clears them and unmaps them.
    ///
    /// # Safety
    ///
    /// `pages` and `frames` must have an element for each page of `memory`, which nothing else may
    /// use.
    unsafe fn new(
        memory: Memory,
        pages: &'a mut [MaybeUninit<*mut bindings::page>],
        frames: &'a mut [MaybeUninit<bindings::xen_pfn_t>],
    ) -> Self {
        // That bus addresses are physical ones holds for the device that this is used for (the one
        // of gntdev, which is no real one), not in general.
        //
        // CAST: Page frame numbers fit into a `usize`.
        let first = (memory.bus >> PAGE_SHIFT) as usize;

        for (i, (slot, frame)) in pages.iter_mut().zip(frames.iter_mut()).enumerate() {
            // SAFETY: The memory that has been allocated consists of pages in a row, as many as are
            // listed, as required from the caller.
            let page = unsafe { page::pfn_to_page(first.wrapping_add(i)) };

            slot.write(page.as_ptr());

            // SAFETY: `page` is one of the pages of `memory`, as above.
            frame.write(unsafe { Gfn::from_page(page) }.as_raw());

            // Xen may give the memory to other domains.
            //
            // SAFETY: As above, and nothing else uses the memory.
            unsafe { bindings::xenmem_reservation_scrub_page(page.as_ptr()) };
        }

        // SAFETY: All elements have just been initialized, as there are as many of `frames`, as
        // required from the caller.
        let pages = unsafe { assume_init(pages) };

        // SAFETY: As above.
        let frames = unsafe { assume_init(frames) };

        // SAFETY: `pages` has that many elements, which are pages that nothing uses.
        unsafe { bindings::xenmem_reservation_va_mapping_reset(pages.len(), pages.as_mut_ptr()) };

        // INVARIANT: The pages have been listed and unmapped above.
        Self {
            pages,
            frames,
            memory,
        }
    }
}

impl Drop for Unmapped<'_> {
    fn drop(&mut self) {
        // SAFETY: Both arrays have that many elements. By the type invariants the pages are not
        // mapped and the frames are what is behind them, as there is memory behind all of them:
        // `Ballooned` does not get here otherwise.
        unsafe {
            bindings::xenmem_reservation_va_mapping_update(
                self.pages.len(),
                self.pages.as_mut_ptr(),
                self.frames.as_mut_ptr(),
            )
        };
    }
}

/// Memory, of which Xen has taken back some or all.
///
/// # Invariants
///
/// - There is nothing behind the first `removed` pages of `unmapped`. There is memory behind the
///   others.
/// - `unmapped` is [`None`] only once memory has been put back, or the attempt has failed.
struct Ballooned<'a> {
    unmapped: Option<Unmapped<'a>>,
    removed: usize,
}

impl<'a> Ballooned<'a> {
    /// Gives the memory to Xen.
    ///
    /// If Xen takes a part of it only, then that part is put back.
    fn new(unmapped: Unmapped<'a>) -> Result<Self> {
        let wanted = unmapped.memory.nr;

        // SAFETY: There are that many elements in `frames`. By the type invariants of `Unmapped`
        // they are the frames behind pages that nothing uses.
        let ret = unsafe {
            bindings::xenmem_reservation_decrease(wanted.as_int(), unmapped.frames.as_mut_ptr())
        };

        // INVARIANT: Xen takes extents in the order of the array, and says how many it has taken.
        let this = Self {
            unmapped: Some(unmapped),
            removed: extents_done(ret, wanted.len()),
        };

        if this.removed != wanted.len() {
            pr_debug!("Xen took {} of {} pages\n", this.removed, wanted.len());
            return Err(EFAULT);
        }

        Ok(this)
    }

    /// Puts memory behind the pages that have none, and gives all of it back to the DMA allocator.
    fn restore(mut self) -> Result {
        self.refill()
    }

    /// Does the work of [`Self::restore`] and of `drop`.
    fn refill(&mut self) -> Result {
        let Some(unmapped) = self.unmapped.take() else {
            return Ok(());
        };

        if self.removed == 0 {
            return Ok(());
        }

        for (frame, page) in unmapped
            .frames
            .iter_mut()
            .zip(&*unmapped.pages)
            .take(self.removed)
        {
            // SAFETY: By the type invariants of `Unmapped` these are pages, of which there is none
            // at address zero.
            let page = unsafe { NonNull::new_unchecked(*page) };

            // What Xen wants here is where memory is to be put. That it is a frame number in the
            // domain's own numbering makes a difference in a PV domain only.
            //
            // SAFETY: As above.
            let pfn = unsafe { page::page_to_pfn(page) };

            *frame = Gfn::new(0).wrapping_add_pages(pfn).as_raw();
        }

        // CAST: `removed` is not more than a `PageCount`, by the type invariants.
        let wanted = self.removed as c_int;

        // SAFETY: There are at least that many elements in `frames`. By the type invariants there
        // is nothing behind the pages that they stand for.
        let ret =
            unsafe { bindings::xenmem_reservation_increase(wanted, unmapped.frames.as_mut_ptr()) };

        if extents_done(ret, self.removed) == self.removed {
            // Xen has put the numbers of the new frames into `frames` where they are of interest.
            // Dropping `unmapped` maps and frees the memory.
            return Ok(());
        }

        // Whoever got these pages next would find nothing behind some of them.
        pr_err!(
            "Xen put memory behind {} of {} pages only, the buffer is lost\n",
            extents_done(ret, self.removed),
            self.removed
        );
        count(
            bindings::xen_grant_dma_stat_XEN_GRANT_DMA_LEAKED,
            i64::from(unmapped.memory.nr.as_uint()),
        );
        mem::forget(unmapped);

        Err(EFAULT)
    }
}

impl Drop for Ballooned<'_> {
    fn drop(&mut self) {
        // There is no one to return the error to. It has been printed and counted.
        let _ = self.refill();
    }
}

/// A buffer out of RAM, which grants can be mapped to.
///
/// # Invariants
///
/// - There is nothing behind any of the pages.
/// - `ballooned` is [`None`] only once the buffer is being taken apart.
pub(crate) struct Buffer<'a> {
    ballooned: Option<Ballooned<'a>>,
}

impl<'a> Buffer<'a> {
    /// Sets up a buffer, and lists its pages in `pages`.
    ///
    /// # Safety
    ///
    /// - `dev` must point to a device that is set up for DMA and stays so until the buffer has been
    ///   freed.
    /// - `pages` and `frames` must have `nr` elements.
    pub(crate) unsafe fn new(
        dev: NonNull<bindings::device>,
        nr: PageCount,
        coherent: bool,
        pages: &'a mut [MaybeUninit<*mut bindings::page>],
        frames: &'a mut [MaybeUninit<bindings::xen_pfn_t>],
    ) -> Result<Self> {
        // SAFETY: By the safety requirements.
        let memory = unsafe { Memory::new(dev, nr, coherent) }?;
        // SAFETY: `pages` and `frames` have `nr` elements, by the safety requirements, and nothing
        // uses what has just been allocated.
        let unmapped = unsafe { Unmapped::new(memory, pages, frames) };
        let ballooned = Ballooned::new(unmapped)?;

        // INVARIANT: `Ballooned::new` has been successful, so there is nothing behind any page.
        let mut this = Self {
            ballooned: Some(ballooned),
        };

        this.mark()?;

        Ok(this)
    }

    /// Takes back what [`Self::into_raw`] has handed over.
    ///
    /// # Safety
    ///
    /// - These must be the device, the number of pages, the kind of memory, its two addresses and
    ///   the pages of a buffer for which [`Self::into_raw`] was called, and this just once.
    /// - `pages` and `frames` must have `nr` elements.
    pub(crate) unsafe fn from_raw(
        dev: NonNull<bindings::device>,
        nr: PageCount,
        coherent: bool,
        (vaddr, bus): (NonNull<c_void>, bindings::dma_addr_t),
        pages: &'a mut [*mut bindings::page],
        frames: &'a mut [bindings::xen_pfn_t],
    ) -> Self {
        // INVARIANT: By the safety requirements this is the memory of a buffer, which has not been
        // freed.
        let memory = Memory {
            dev,
            nr,
            coherent,
            vaddr,
            bus,
        };

        // INVARIANT: By the safety requirements these are the pages of a buffer, which in a PV
        // domain are not mapped. There is no memory behind any of them, so `frames` does not
        // matter.
        let unmapped = Unmapped {
            pages,
            frames,
            memory,
        };

        // INVARIANT: By the type invariants of the buffer that it was, there is nothing behind any
        // page.
        Self {
            ballooned: Some(Ballooned {
                unmapped: Some(unmapped),
                removed: nr.len(),
            }),
        }
    }

    /// Hands the buffer over to C code, and returns its addresses for the kernel and for devices.
    pub(crate) fn into_raw(self) -> Option<(NonNull<c_void>, bindings::dma_addr_t)> {
        let memory = &self.ballooned.as_ref()?.unmapped.as_ref()?.memory;
        let addresses = (memory.vaddr, memory.bus);

        mem::forget(self);

        Some(addresses)
    }

    /// Puts memory behind the pages and gives it back to the DMA allocator.
    ///
    /// Returns [`EFAULT`] if Xen does not give the memory. The buffer is lost then.
    pub(crate) fn free(mut self) -> Result {
        self.unmark();

        match self.ballooned.take() {
            Some(ballooned) => ballooned.restore(),
            None => Ok(()),
        }
    }

    /// Returns the pages.
    fn pages(&mut self) -> Option<(c_int, *mut *mut bindings::page)> {
        let unmapped = self.ballooned.as_mut()?.unmapped.as_mut()?;

        Some((unmapped.memory.nr.as_int(), unmapped.pages.as_mut_ptr()))
    }

    /// Marks the pages as ones that grants are mapped to.
    fn mark(&mut self) -> Result {
        let Some((nr, pages)) = self.pages() else {
            return Ok(());
        };

        // SAFETY: These are `nr` pages that belong to this buffer.
        kernel::error::to_result(unsafe { bindings::gnttab_pages_set_private(nr, pages) })
    }

    /// Undoes [`Self::mark`], even if it was done to a part of the pages.
    fn unmark(&mut self) {
        let Some((nr, pages)) = self.pages() else {
            return;
        };

        // SAFETY: These are `nr` pages that belong to this buffer.
        unsafe { bindings::gnttab_pages_clear_private(nr, pages) };
    }
}

impl Drop for Buffer<'_> {
    fn drop(&mut self) {
        self.unmark();
    }
}

/// Says that all elements of an array are initialized.
///
/// # Safety
///
/// They must be.
pub(crate) unsafe fn assume_init<T>(array: &mut [MaybeUninit<T>]) -> &mut [T] {
    // SAFETY: `MaybeUninit<T>` has the layout of `T`, and by the safety requirements all elements
    // are initialized. The mutable reference is passed on.
    unsafe { slice::from_raw_parts_mut(array.as_mut_ptr().cast(), array.len()) }
}
