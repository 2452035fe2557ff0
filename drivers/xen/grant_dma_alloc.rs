// SPDX-License-Identifier: GPL-2.0

//! Buffers to map grants of other domains to, and to be given to devices.
//!
//! This is `gnttab_dma_alloc_pages()` and `gnttab_dma_free_pages()`, with which gntdev backs a
//! dma-buf that must be contiguous. A buffer is a run of unpopulated pages if there is one: then
//! no memory is used, no hypercall is made, and Xen's superpages stay whole. Otherwise it is memory
//! from the DMA allocator, the frames of which are given to Xen, as it has always been.
//!
//! # What "contiguous" is worth
//!
//! The pages of a buffer are contiguous in the address space of this domain. The memory that is
//! mapped to them belongs to someone else and is wherever it is in the machine.
//!
//! - A device behind an IOMMU that Xen has set up with the domain's address space sees one range.
//!   That is so in any domain that is not mapped one to one: a driver domain or another guest, or a
//!   dom0 with cache colouring.
//! - In a dom0 that is mapped one to one, and has no IOMMU, `swiotlb-xen` finds the machine frame
//!   of each page, and copies through a bounce buffer where frames are not in a row. For a real
//!   device nothing is gained by the run, whereas the memory and the hypercalls are saved all the
//!   same.
//!
//! # Write-combined and coherent
//!
//! `args.coherent` chooses how the kernel's own mapping of a buffer in RAM is made. A run of
//! unpopulated pages is mapped in the linear map, which is cacheable, for both. Nobody touches a
//! buffer by way of that mapping: gntdev only wants to know whether `vaddr` is null, user space
//! gets mappings of its own, which are cacheable with either kind of buffer, and devices get theirs
//! from the DMA API, which cleans and invalidates caches for a device that is not coherent.
//!
//! C header: [`include/xen/grant_table.h`](srctree/include/xen/grant_table.h)

use core::{
    mem::MaybeUninit,
    ptr::NonNull,
    slice, //
};

use kernel::{
    bindings,
    prelude::*,
    ptr::Alignment,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
    xen::unpopulated::UnpopulatedPages, //
};

#[path = "grant_dma_alloc/logic.rs"]
mod logic;
#[path = "grant_dma_alloc/ram.rs"]
mod ram;

use logic::{
    PageCount,
    Reason,
    Source, //
};

/// Prefix to appear before log messages.
const __LOG_PREFIX: &[u8] = b"xen_grant_dma_alloc\0";

// Pages on 32-bit machines need a `struct xen_page_foreign` each, see `take_run`. There are none
// here, since `ZONE_DEVICE` needs memory hotplug, which 32-bit machines don't have.
const _: () = assert!(
    usize::BITS == 64,
    "unpopulated pages exist on 64-bit machines only"
);

/// Adds to a statistic.
fn count(stat: bindings::xen_grant_dma_stat, n: i64) {
    // CAST: An index fits into a `usize`.
    let index = stat as usize;

    // SAFETY: `stat` is one of the enumeration that the array is indexed by.
    let counter = unsafe { &raw mut bindings::xen_grant_dma_stats[index].counter };

    // SAFETY: `counter` is valid for ever, and is accessed by atomic operations only.
    let counter = unsafe { Atomic::<i64>::from_ptr(counter) };

    // The numbers are for people to look at, nothing is ordered by them.
    counter.add(n, Relaxed);
}

/// Returns where buffers are to be taken from at this moment.
#[inline]
fn source() -> Source {
    // The variable may be written to at any time, but only ever as a whole: a marked access.
    //
    // SAFETY: It is a static variable.
    Source::from_raw(unsafe { (&raw const bindings::xen_grant_dma_source).read_volatile() })
}

/// A request for a buffer.
///
/// # Invariants
///
/// - `dev` points to a device that stays in existence until the buffer has been freed.
/// - `pages` and `frames` have `nr` elements.
struct Request<'a> {
    dev: NonNull<bindings::device>,
    nr: PageCount,
    coherent: bool,
    pages: &'a mut [MaybeUninit<*mut bindings::page>],
    frames: &'a mut [MaybeUninit<bindings::xen_pfn_t>],
}

/// The addresses of a buffer for the kernel and for devices.
type Addresses = (NonNull<c_void>, bindings::dma_addr_t);

impl<'a> Request<'a> {
    /// Checks what a caller has passed.
    ///
    /// # Safety
    ///
    /// - `args` must point to a `struct gnttab_dma_alloc_args`. Its `vaddr` and `dev_bus_addr` need
    ///   not be initialized.
    /// - If `pages` and `frames` are not null, then they must be arrays of at least `nr_pages`
    ///   elements, that for the duration of `'a` nobody else accesses. They need not be
    ///   initialized.
    /// - If `dev` is not null, then it must point to a device that stays in existence until the
    ///   buffer has been freed.
    #[inline]
    unsafe fn new(args: *const bindings::gnttab_dma_alloc_args) -> Result<Self> {
        // SAFETY: `args` is valid, and the field initialized, by the safety requirements.
        let nr = PageCount::new(unsafe { (*args).nr_pages })?;
        // SAFETY: As above.
        let dev = NonNull::new(unsafe { (*args).dev }).ok_or(EINVAL)?;
        // SAFETY: As above.
        let pages = NonNull::new(unsafe { (*args).pages }).ok_or(EINVAL)?;
        // SAFETY: As above.
        let frames = NonNull::new(unsafe { (*args).frames }).ok_or(EINVAL)?;
        // SAFETY: As above.
        let coherent = unsafe { (*args).coherent };

        // SAFETY: By the safety requirements the array has that many elements, which no one else
        // accesses. They need not be initialized for this type.
        let pages = unsafe { slice::from_raw_parts_mut(pages.as_ptr().cast(), nr.len()) };
        // SAFETY: As above.
        let frames = unsafe { slice::from_raw_parts_mut(frames.as_ptr().cast(), nr.len()) };

        // INVARIANT: Of the device by the safety requirements, of the arrays as made above.
        Ok(Self {
            dev,
            nr,
            coherent,
            pages,
            frames,
        })
    }

    /// Gets a buffer from where the parameter `source` says.
    #[inline]
    fn allocate(mut self) -> Result<Addresses> {
        let source = source();

        let reason = if source == Source::Ram {
            Reason::Asked
        } else {
            match self.take_run() {
                Ok(addresses) => return Ok(addresses),
                Err(e) => Reason::from_error(source, e)?,
            }
        };

        self.take_ram(reason)
    }

    /// Gets a run of unpopulated pages.
    ///
    /// The pages are not marked by `gnttab_pages_set_private()`. That sets `PG_private`, which on
    /// 64-bit machines nothing reads on such a page but `gnttab_pages_clear_private()`: what a page
    /// maps is kept in `page->private` itself, and whether it does in `PG_foreign`, that
    /// `gnttab_map_refs()` sets and `gnttab_unmap_refs()` clears. The code of the memory management
    /// that knows `PG_private` is about pages with a mapping or on an LRU list, and takes the flag
    /// to mean a reference more, which these pages don't have. On 32-bit machines there would be
    /// memory to allocate for each page.
    #[inline]
    fn take_run(&mut self) -> Result<Addresses> {
        let dev = self.dev.as_ptr();
        // SAFETY: `dev` is valid by the type invariants.
        let mask = unsafe { (*dev).coherent_dma_mask };
        // SAFETY: As above.
        let limit = unsafe { (*dev).bus_dma_limit };

        let limit = logic::highest_address(mask, limit).ok_or(EOPNOTSUPP)?;
        let run = UnpopulatedPages::alloc(self.nr.as_uint(), Alignment::new::<1>(), limit)?;

        // It is an address that faults until something has been mapped there. What callers want to
        // know is that it is not null.
        let vaddr = NonNull::new(run.address()).ok_or(ENOMEM)?;

        // A physical address is not a DMA address, and `dev` is not the device that is going to do
        // DMA: it is the one of gntdev, which is no real one, is mapped one to one and can reach
        // all there is, so that for it the two are the same number. That is all that may be made
        // of it. Whoever imports the buffer maps it for their own device, when grants are mapped
        // to it, and it is for the DMA API to find the address then: `swiotlb-xen` does in a dom0
        // that is mapped one to one, by looking up the machine frame, and in other domains a
        // device can get at the memory by way of an IOMMU only.
        let bus = run.start();

        let (gfn, (first, _)) = (run.first_gfn(), run.into_raw());

        logic::fill_pages(self.pages, first.as_ptr());
        // In the pool's domains frames in a row have numbers in a row, for it refuses PV.
        logic::fill_frames(self.frames, gfn);

        Ok((vaddr, bus))
    }

    /// Gets a buffer out of RAM.
    #[cold]
    fn take_ram(self, reason: Reason) -> Result<Addresses> {
        if reason != Reason::Asked {
            kernel::pr_info_once!("taking buffers out of RAM: {}\n", reason.as_str());
        }

        // SAFETY: By the type invariants `dev` is valid until the buffer has been freed, and the
        // arrays have `nr` elements.
        let buffer =
            unsafe { ram::Buffer::new(self.dev, self.nr, self.coherent, self.pages, self.frames) }?;

        count(reason.stat(), 1);
        buffer.into_raw().ok_or(EFAULT)
    }
}

/// Allocates a buffer that grants can be mapped to, and that is contiguous for devices.
///
/// On success `pages`, `frames` (the frame number of each page), `vaddr` and `dev_bus_addr` of
/// `args` are filled in. On failure a negative error is returned, and the latter two are not
/// changed.
///
/// # Safety
///
/// - `args` must point to a `struct gnttab_dma_alloc_args`, of which all but `vaddr` and
///   `dev_bus_addr` has been initialized.
/// - If `pages` and `frames` are not null, they must be arrays of at least `nr_pages` elements that
///   nobody else uses during the call.
/// - If `dev` is not null, it must point to a device, which stays in existence until the buffer has
///   been freed.
#[export]
pub unsafe extern "C" fn gnttab_dma_alloc_pages(
    args: *mut bindings::gnttab_dma_alloc_args,
) -> c_int {
    // SAFETY: By the safety requirements.
    let request = match unsafe { Request::new(args) } {
        Ok(request) => request,
        Err(e) => return e.to_errno(),
    };

    match request.allocate() {
        Ok((vaddr, bus)) => {
            // SAFETY: `args` is valid by the safety requirements.
            unsafe { (*args).vaddr = vaddr.as_ptr() };
            // SAFETY: As above.
            unsafe { (*args).dev_bus_addr = bus };
            0
        }
        Err(e) => e.to_errno(),
    }
}

/// Frees a buffer that `gnttab_dma_alloc_pages()` has allocated.
///
/// Returns a negative error if the buffer is lost, as Xen does not put memory back behind it, or if
/// `args` can't be the arguments of a buffer.
///
/// # Safety
///
/// - `args` must point to the arguments of a successful call of [`gnttab_dma_alloc_pages`], with
///   what it has filled in; `frames` may have other contents.
/// - No grants are mapped to the pages, nobody uses them any more, and the buffer has not been
///   freed.
#[export]
pub unsafe extern "C" fn gnttab_dma_free_pages(
    args: *mut bindings::gnttab_dma_alloc_args,
) -> c_int {
    // SAFETY: By the safety requirements.
    match unsafe { free(args) } {
        Ok(()) => 0,
        Err(e) => e.to_errno(),
    }
}

/// Does the work of [`gnttab_dma_free_pages`].
///
/// # Safety
///
/// As there.
#[inline]
unsafe fn free(args: *mut bindings::gnttab_dma_alloc_args) -> Result {
    // SAFETY: By the safety requirements.
    let Request {
        dev,
        nr,
        coherent,
        pages,
        frames,
    } = unsafe { Request::new(args) }?;

    // SAFETY: By the safety requirements the pages have been filled in.
    let pages = unsafe { ram::assume_init(pages) };
    let first = pages
        .first()
        .copied()
        .and_then(NonNull::new)
        .ok_or(EINVAL)?;

    // What a buffer is made of is asked of the pool, not guessed from the kind of its pages.
    //
    // SAFETY: `first` is a page of the buffer, so its owner is the caller.
    if unsafe { UnpopulatedPages::contains(first) } {
        // SAFETY: By the safety requirements this is a buffer, and as its first page is from the
        // pool, a run of the pool's. The caller gives it away.
        drop(unsafe { UnpopulatedPages::from_raw(first, nr.as_uint()) });
        return Ok(());
    }

    // SAFETY: `args` is valid by the safety requirements.
    let vaddr = NonNull::new(unsafe { (*args).vaddr }).ok_or(EINVAL)?;
    // SAFETY: As above.
    let bus = unsafe { (*args).dev_bus_addr };

    // Elements of `frames` may be uninitialized here, in theory, if someone has allocated another
    // array for them. Nothing is read from there before it has been written to.
    for frame in frames.iter_mut() {
        frame.write(0);
    }
    // SAFETY: All elements have just been initialized.
    let frames = unsafe { ram::assume_init(frames) };

    // SAFETY: By the safety requirements these are the arguments and results of a buffer, which is
    // not from the pool and so was handed over by `take_ram`. It has not been freed. The arrays
    // have `nr` elements by the type invariants of `Request`.
    let buffer = unsafe { ram::Buffer::from_raw(dev, nr, coherent, (vaddr, bus), pages, frames) };

    buffer.free()
}
