// SPDX-License-Identifier: GPL-2.0

//! Struct pages for physical address ranges that are not RAM.
//!
//! A [`Pagemap`] makes the kernel create a `struct page` for each page of a physical address range,
//! in `ZONE_DEVICE`, and map the range into the linear map. It wraps `memremap_pages()` and
//! `struct dev_pagemap` for memory of type `MEMORY_DEVICE_GENERIC`.
//!
//! C header: [`include/linux/memremap.h`](srctree/include/linux/memremap.h)

use core::{
    cell::UnsafeCell,
    marker::PhantomData,
    mem::{
        size_of,
        ManuallyDrop, //
    },
    ops::RangeInclusive,
    ptr::NonNull, //
};

use crate::{
    alloc::NumaNode,
    bindings,
    container_of,
    error::from_err_ptr,
    io::{
        PhysAddr,
        ResourceSize, //
    },
    page::{
        self,
        PAGE_SHIFT,
        PAGE_SIZE, //
    },
    prelude::*,
    types::Opaque, //
};

/// Returns the physical addresses for which the kernel can create struct pages and a linear
/// mapping.
///
/// A [`Pagemap`] must lie in this range.
///
/// # Examples
///
/// ```
/// let range = kernel::mm::pagemap::pluggable_range();
///
/// assert!(range.start() < range.end());
/// ```
pub fn pluggable_range() -> RangeInclusive<u64> {
    // SAFETY: The function has no preconditions.
    let range = unsafe { bindings::mhp_get_pluggable_range(true) };

    range.start..=range.end
}

/// The identity of those who create [`Pagemap`]s with data of type `T`.
///
/// Its address tells their pages from those of others, see [`Owner::find`].
///
/// # Examples
///
/// ```
/// use kernel::mm::pagemap::Owner;
///
/// static OWNER: Owner<usize> = Owner::new();
/// ```
// A type with interior mutability and a size: so that two objects never have the same address, be
// it by promotion of constants or by merging of identical ones.
pub struct Owner<T> {
    _unique: UnsafeCell<u8>,
    _data: PhantomData<fn(T) -> T>,
}

// SAFETY: Nothing ever accesses the contents, just the address is used.
unsafe impl<T> Sync for Owner<T> {}

impl<T> Owner<T> {
    /// Makes a new identity.
    #[expect(clippy::new_without_default)]
    pub const fn new() -> Self {
        Self {
            _unique: UnsafeCell::new(0),
            _data: PhantomData,
        }
    }

    /// Returns the address that stands for this owner.
    fn as_ptr(&'static self) -> *mut c_void {
        self._unique.get().cast()
    }
}

impl<T: Send + Sync> Owner<T> {
    /// Returns the [`Mapping`] that `page` belongs to, if it is one of this owner's.
    ///
    /// This takes constant time and no lock: four loads, and no function is called.
    ///
    /// # Safety
    ///
    /// - `page` must point to a `struct page` that stays in existence for the duration of the call.
    /// - If the page is in a [`Pagemap`] that was made for this owner, then that [`Pagemap`] must
    ///   not be dropped or unmapped for the duration of `'a`.
    #[inline]
    pub unsafe fn find<'a>(&'static self, page: NonNull<bindings::page>) -> Option<&'a Mapping<T>> {
        let page = page.as_ptr();

        // SAFETY: `page` is valid by the safety requirements.
        let flags = unsafe { &raw const (*page).flags.f };

        // Other bits of the word may be changed at any time, but those of the zone do not change,
        // which makes this a marked access as in C's `page_zonenum()`.
        //
        // SAFETY: `flags` points to a field of a valid page.
        let flags = unsafe { flags.read_volatile() };

        // CAST: An enumeration fits into an `unsigned long`.
        if (flags >> bindings::ZONES_PGSHIFT) & bindings::ZONES_MASK
            != bindings::zone_type_ZONE_DEVICE as c_ulong
        {
            return None;
        }

        // SAFETY: `page` is valid by the safety requirements, and the fields of the union are all
        // plain data.
        let word = unsafe {
            (*page)
                .__bindgen_anon_1
                .__bindgen_anon_4
                ._unused_pgmap_compound_info
        };

        // For the tail pages of compound ones the word is no pointer to a `struct dev_pagemap`, and
        // bit 0 is set. In a mapping of ours all pages have order 0.
        if word.addr() & 1 != 0 {
            return None;
        }

        let pgmap = word.cast::<bindings::dev_pagemap>();

        // SAFETY: All pages in `ZONE_DEVICE` but the tails of compound ones point to the
        // `struct dev_pagemap` that they were created by, which exists at least as long as they do.
        // The field is only written to before the pages exist.
        let owner = unsafe { (*pgmap).owner };

        if owner != self.as_ptr() {
            return None;
        }

        let pgmap = pgmap.cast::<Opaque<bindings::dev_pagemap>>();

        // SAFETY: Only `Pagemap::new` uses the address of an `Owner<T>`, and does so just for a
        // `struct dev_pagemap` in a `Mapping<T>`.
        let mapping = unsafe { container_of!(pgmap, Mapping<T>, pgmap) };

        // SAFETY: The mapping lives as long as the `Pagemap`, which by the safety requirements is
        // longer than `'a`. No mutable references to it are made once anyone knows of the pages.
        Some(unsafe { &*mapping })
    }
}

/// A range of physical addresses that has struct pages, and the data that goes with it.
///
/// This is what a [`Pagemap`] owns.
///
/// # Invariants
///
/// - `pgmap` was set up by a successful `memremap_pages()` for one range, which starts at `start`
///   and has `nr_pages` pages, none of which is part of a compound page.
/// - `first` points to the `struct page` of `start`. Those of the other pages of the range follow
///   it.
/// - All of them exist for as long as the object can be reached other than by the [`Pagemap`] that
///   is being dropped.
#[pin_data]
pub struct Mapping<T> {
    #[pin]
    pgmap: Opaque<bindings::dev_pagemap>,
    first: NonNull<bindings::page>,
    nr_pages: usize,
    start: PhysAddr,
    data: T,
}

// SAFETY: Neither a `struct dev_pagemap` nor its pages belong to a thread.
unsafe impl<T: Send> Send for Mapping<T> {}

// SAFETY: Through a shared reference only fields that do not change, the reference counts of the
// pages, which are atomic, and `data` are accessed.
unsafe impl<T: Sync> Sync for Mapping<T> {}

impl<T> Mapping<T> {
    /// Returns the data that was passed when the mapping was created.
    #[inline]
    pub fn data(&self) -> &T {
        &self.data
    }

    /// Returns the physical address of the first byte.
    #[inline]
    pub fn start(&self) -> PhysAddr {
        self.start
    }

    /// Returns the number of pages.
    #[inline]
    pub fn nr_pages(&self) -> usize {
        self.nr_pages
    }

    /// Returns the page frame number of the first page.
    #[inline]
    pub fn first_pfn(&self) -> usize {
        // CAST: The page frame number of every `struct page` fits into an `unsigned long`.
        (self.start >> PAGE_SHIFT) as usize
    }

    /// Returns the `struct page` of the first page.
    ///
    /// Those of the other pages follow it, up to [`Self::nr_pages`].
    ///
    /// Whoever makes something of the pointer that is used later (hands it to other code, maps the
    /// page, ...) has to see to it that this is over before the [`Pagemap`] is dropped, see there.
    #[inline]
    pub fn first_page(&self) -> NonNull<bindings::page> {
        self.first
    }

    /// Returns the `struct page` of the page with the given index, if it is in range.
    #[inline]
    pub fn page(&self, index: usize) -> Option<NonNull<bindings::page>> {
        if index >= self.nr_pages {
            return None;
        }

        // SAFETY: By the type invariants there are `nr_pages` struct pages from `first` on.
        Some(unsafe { self.first.add(index) })
    }

    /// Returns the index of a page, if it is one of this mapping.
    #[inline]
    pub fn index_of(&self, page: NonNull<bindings::page>) -> Option<usize> {
        let offset = page.addr().get().wrapping_sub(self.first.addr().get());
        let index = offset / size_of::<bindings::page>();

        if index < self.nr_pages {
            Some(index)
        } else {
            None
        }
    }

    /// Checks whether nobody holds a reference to any of the pages.
    ///
    /// A page of a mapping that nobody uses has a reference count of 1. The answer is only good for
    /// as long as nobody can take a new reference; that is the case if the pages are known to, and
    /// mapped by, nobody.
    pub fn all_idle(&self) -> bool {
        (0..self.nr_pages).all(|index| {
            // SAFETY: By the type invariants there are `nr_pages` struct pages from `first` on.
            let page = unsafe { self.first.add(index) };
            // SAFETY: As above, so the page is valid.
            let count = unsafe { &raw const (*page.as_ptr())._refcount.counter };

            // The count may be changed at any time: a marked access, as is C's `atomic_read()`.
            //
            // SAFETY: `count` points to a field of a valid page.
            let count = unsafe { count.read_volatile() };

            count == 1
        })
    }
}

/// A physical address range for which struct pages exist for as long as this object lives.
///
/// # References to pages
///
/// `memunmap_pages()` does not wait until the last reference to a page of type
/// `MEMORY_DEVICE_GENERIC` is gone: their `struct page` would be freed under those who still hold
/// one. Hence [`Pagemap::try_unmap`] and `drop` look at the reference count of every page first. If
/// there is one in use, the former gives the object back and the latter leaves everything as it is
/// for ever, `data` included, and warns.
///
/// That check is only as good as the promise that no new reference is taken meanwhile. There is no
/// way to a page from here but by a raw pointer, which takes `unsafe` to use: whoever does must
/// make sure that, once the [`Pagemap`] is dropped or unmapped, no one still knows a page by
/// anything other than a reference count, so that nobody can get at it any more.
///
/// # Invariants
///
/// `mapping` has been set up and not been taken down. `drop` is the only one to take it.
///
/// # Examples
///
/// Get struct pages for 2 MiB of unused address space (or for more, where the base pages are
/// larger than 4 KiB), and go from pages to the mapping and its data:
///
/// ```
/// use kernel::{
///     alloc::NumaNode,
///     io::{
///         resource::{
///             Flags,
///             Reservation,
///             Resource, //
///         },
///         PhysAddr, //
///     },
///     mm::pagemap::{
///         self,
///         Owner,
///         Pagemap, //
///     },
///     page::{
///         Page,
///         PAGE_SIZE, //
///     },
///     ptr::Alignment, //
/// };
/// use core::ptr::NonNull;
///
/// static OWNER: Owner<Reservation> = Owner::new();
/// static STRANGER: Owner<u8> = Owner::new();
///
/// let size = pagemap::GRANULE;
/// let space = Reservation::allocate(
///     Resource::iomem(),
///     size as PhysAddr,
///     pagemap::pluggable_range(),
///     Alignment::new::<{ pagemap::GRANULE }>(),
///     c"pagemap example",
///     Flags::IORESOURCE_MEM | Flags::IORESOURCE_BUSY,
/// )?;
/// let start = space.start();
///
/// // SAFETY: The address space is unused, and reserved for as long as the mapping exists.
/// let map = unsafe {
///     Pagemap::new(start, size, NumaNode::NO_NODE, &OWNER, space)
/// }?;
/// assert_eq!(map.nr_pages(), size / PAGE_SIZE);
/// assert_eq!(map.data().start(), start);
///
/// let last = map.nr_pages() - 1;
/// let page = map.page(last).ok_or(EINVAL)?;
/// assert_eq!(map.index_of(page), Some(last));
/// assert!(map.page(last + 1).is_none());
///
/// // SAFETY: The page exists, and so does `map`.
/// let found = unsafe { OWNER.find(page) }.ok_or(EINVAL)?;
/// assert_eq!(found.start(), map.start());
/// // SAFETY: The page exists.
/// assert!(unsafe { STRANGER.find(page) }.is_none());
///
/// // SAFETY: The page exists.
/// let phys = unsafe { kernel::page::page_to_phys(page) };
/// assert_eq!(phys, start + (last * PAGE_SIZE) as PhysAddr);
///
/// // A page of RAM is in nobody's mapping.
/// let ram = Page::alloc_page(GFP_KERNEL)?;
/// let raw = NonNull::new(ram.as_ptr()).ok_or(EINVAL)?;
/// // SAFETY: The page exists.
/// assert!(unsafe { OWNER.find(raw) }.is_none());
/// assert!(map.index_of(raw).is_none());
///
/// // The mapping stays where somebody holds a reference to a page.
/// //
/// // SAFETY: The page exists, and nobody else knows it.
/// unsafe { (*page.as_ptr())._refcount.counter += 1 };
/// assert!(!map.all_idle());
/// let map = map.try_unmap().err().ok_or(EINVAL)?;
/// assert_eq!(map.index_of(page), Some(last));
///
/// // And the address space can be had back where nobody does.
/// //
/// // SAFETY: As above.
/// unsafe { (*page.as_ptr())._refcount.counter -= 1 };
/// assert!(map.all_idle());
/// let space = map.try_unmap().map_err(|_| EBUSY)?;
/// assert_eq!(space.start(), start);
/// # Ok::<(), Error>(())
/// ```
pub struct Pagemap<T: Send + Sync> {
    mapping: ManuallyDrop<Pin<KBox<Mapping<T>>>>,
}

/// What the start and the size of a [`Pagemap`] must be a multiple of, in bytes.
///
/// The kernel creates and removes struct pages for subsections of 2 MiB. But if the struct pages of
/// that do not fill whole pages (which depends on the size of the pages), then two neighbours would
/// have struct pages in the same page, and taking down one would pull it from under the other.
///
/// This is so on arm64 and x86_64. An architecture that maps struct pages with larger pages, and
/// unmaps such a page as a whole, needs more.
///
/// Pageblocks can be larger. If there is RAM in one, the page allocator, isolation and compaction
/// go through all struct pages of it, so whoever picks a range should leave such blocks out.
pub const GRANULE: usize = {
    let subsection = bindings::SUBSECTION_SIZE as usize;
    // The struct pages of so many pages fill whole pages, and those of fewer do not: of the factors
    // of two that `PAGE_SIZE` has, a struct page of 64 bytes has six, one of 80 bytes has four, and
    // how many there are has to have the others.
    let whole_pages = (PAGE_SIZE >> size_of::<bindings::page>().trailing_zeros()) * PAGE_SIZE;

    // Of two powers of two the larger is a multiple of the other.
    if subsection > whole_pages {
        subsection
    } else {
        whole_pages
    }
};

const _: () = assert!(GRANULE.is_power_of_two());

impl<T: Send + Sync> Pagemap<T> {
    /// Creates struct pages for `size` bytes of physical address space from `start` on.
    ///
    /// The struct pages are taken from `node`, if possible. `data` can be had from each page, by
    /// way of `owner`, see [`Owner::find`]. It is a good place to keep what must live as long as
    /// the pages do, such as a [`Reservation`].
    ///
    /// This sleeps, on some occasions for as long as an RCU grace period takes.
    ///
    /// Returns [`EINVAL`] if the range is empty, not aligned to [`GRANULE`] or outside of
    /// [`pluggable_range`], or another error if the kernel refuses. `data` is dropped then.
    ///
    /// # Safety
    ///
    /// For as long as the mapping exists the range must be the caller's to use (as it is where it
    /// has been reserved, see [`Reservation`]) and must be such that no harm is done if the CPU has
    /// it mapped cacheable, including by speculative accesses.
    ///
    /// [`Reservation`]: crate::io::resource::Reservation
    pub unsafe fn new(
        start: PhysAddr,
        size: usize,
        node: NumaNode,
        owner: &'static Owner<T>,
        data: T,
    ) -> Result<Self> {
        let last = ResourceSize::try_from(size.checked_sub(1).ok_or(EINVAL)?)?;
        let end = start.checked_add(last).ok_or(EINVAL)?;
        let range = pluggable_range();

        if size % GRANULE != 0
            || start % (GRANULE as PhysAddr) != 0
            || start < *range.start()
            || end > *range.end()
        {
            return Err(EINVAL);
        }

        let mut pgmap = bindings::dev_pagemap {
            type_: bindings::memory_type_MEMORY_DEVICE_GENERIC,
            owner: owner.as_ptr(),
            nr_range: 1,
            ..Default::default()
        };

        // SAFETY: `range` is the member of the union that goes with an `nr_range` of 1.
        *unsafe { pgmap.__bindgen_anon_1.range.as_mut() } = bindings::range { start, end };

        let mut mapping = KBox::pin(
            Mapping {
                pgmap: Opaque::new(pgmap),
                first: NonNull::dangling(),
                nr_pages: size / PAGE_SIZE,
                start,
                data,
            },
            GFP_KERNEL,
        )?;

        // SAFETY:
        // - `pgmap` is initialized as `memremap_pages` expects it: type, owner, and one range that
        //   is not empty. There is no altmap and there are no operations.
        // - It stays where it is until `memunmap_pages` has been called, as the box is pinned.
        // - The range is the caller's to use by the safety requirements.
        let vaddr =
            from_err_ptr(unsafe { bindings::memremap_pages(mapping.pgmap.get(), node.as_raw()) })?;

        // SAFETY: `vaddr` is the address of the first page in the linear map.
        let first = unsafe { page::virt_to_page(vaddr) };

        // INVARIANT: `memremap_pages` has created the struct pages of the range. They are in one
        // piece, as `ZONE_DEVICE` implies that all struct pages form one large array, and single
        // pages, as `vmemmap_shift` is 0.
        *mapping.as_mut().project().first = first;

        // INVARIANT: The mapping has been set up just now.
        Ok(Self {
            mapping: ManuallyDrop::new(mapping),
        })
    }

    /// Removes the struct pages and returns the data, or the object itself if a page is in use.
    ///
    /// This sleeps for as long as an RCU grace period takes.
    pub fn try_unmap(self) -> Result<T, Self> {
        if !self.all_idle() {
            return Err(self);
        }

        let mut this = ManuallyDrop::new(self);

        // SAFETY: `this` is not used any more and not dropped, so this is done just once.
        let mapping = unsafe { ManuallyDrop::take(&mut this.mapping) };

        // SAFETY:
        // - By the type invariants the mapping has been set up and not been taken down.
        // - No page of it is in use.
        unsafe { bindings::memunmap_pages(mapping.pgmap.get()) };

        // SAFETY: `pgmap` is not known to anyone any more, so it may be moved.
        let mapping = unsafe { Pin::into_inner_unchecked(mapping) };

        Ok(KBox::into_inner(mapping).data)
    }
}

impl<T: Send + Sync> core::ops::Deref for Pagemap<T> {
    type Target = Mapping<T>;

    #[inline]
    fn deref(&self) -> &Mapping<T> {
        &self.mapping
    }
}

impl<T: Send + Sync> Drop for Pagemap<T> {
    fn drop(&mut self) {
        if crate::warn_on!(!self.all_idle()) {
            // A leak is better than a use after free, see the documentation of the type.
            return;
        }

        // SAFETY:
        // - By the type invariants the mapping has been set up and not been taken down.
        // - No page of it is in use.
        unsafe { bindings::memunmap_pages(self.mapping.pgmap.get()) };

        // SAFETY: `self` is being dropped, and nothing uses the mapping afterwards.
        unsafe { ManuallyDrop::drop(&mut self.mapping) };
    }
}
