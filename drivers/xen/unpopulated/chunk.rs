// SPDX-License-Identifier: GPL-2.0

//! What stands behind the pages of a chunk: address space, and struct pages for it.

use core::ptr::NonNull;
use kernel::{
    alloc::NumaNode,
    bindings,
    error::to_result,
    io::{
        resource::{
            Flags,
            Reservation,
            Resource, //
        },
        PhysAddr, //
    },
    mm::pagemap::{
        self,
        Owner,
        Pagemap, //
    },
    page::PAGE_SIZE,
    prelude::*,
    ptr::Alignment, //
};

/// What a step of the pool is a multiple of, in pages.
///
/// See [`pagemap::GRANULE`]: with less, the struct pages of two chunks could share a page.
pub(crate) const GRANULE: usize = pagemap::GRANULE / PAGE_SIZE;

/// What the address space of a chunk is called in `/proc/iomem`.
const NAME: &CStr = c"Xen scratch";

/// The identity of the pool's pages among all those in `ZONE_DEVICE`.
static OWNER: Owner<Space> = Owner::new();

/// A page that a caller has passed, be it one of the pool or not.
///
/// # Invariants
///
/// The `struct page` stays in existence for as long as the caller waits. If it is in a chunk of
/// the pool, then so does the chunk.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct PassedPage(NonNull<bindings::page>);

impl PassedPage {
    /// Makes a passed page of a pointer.
    ///
    /// # Safety
    ///
    /// The pointer meets the type's invariants.
    #[inline]
    pub(crate) unsafe fn new(page: *mut bindings::page) -> Option<Self> {
        // INVARIANT: As required from the caller.
        NonNull::new(page).map(Self)
    }

    /// Makes a passed page of a pointer in memory.
    ///
    /// # Safety
    ///
    /// - `page` points to a pointer that nobody writes to during `'a`.
    /// - That is null or meets the type's invariants.
    #[inline]
    pub(crate) unsafe fn entry<'a>(page: *mut *mut bindings::page) -> &'a Option<Self> {
        // SAFETY: There is a pointer, as required from the caller. An `Option` of a transparent
        // wrapper of `NonNull` is a pointer that may be null.
        //
        // INVARIANT: As required from the caller.
        unsafe { &*page.cast() }
    }

    /// Makes passed pages of an array of pointers.
    ///
    /// # Safety
    ///
    /// - `pages` points to `nr_pages` pointers that nobody writes to during `'a`.
    /// - Each is null or meets the type's invariants.
    #[inline]
    pub(crate) unsafe fn slice<'a>(
        pages: *mut *mut bindings::page,
        nr_pages: usize,
    ) -> &'a [Option<Self>] {
        // SAFETY: There are that many pointers, as required from the caller. An `Option` of a
        // transparent wrapper of `NonNull` is a pointer that may be null.
        //
        // INVARIANT: As required from the caller.
        unsafe { core::slice::from_raw_parts(pages.cast(), nr_pages) }
    }

    /// The address of the `struct page`.
    #[inline]
    pub(crate) fn addr(self) -> usize {
        self.0.addr().get()
    }

    /// The address of the `struct page` of the page that is `nr` pages further.
    #[inline]
    pub(crate) fn addr_further(self, nr: usize) -> usize {
        self.as_ptr().wrapping_add(nr).addr()
    }

    /// The pointer to the `struct page`.
    #[inline]
    pub(crate) fn as_ptr(self) -> *mut bindings::page {
        self.0.as_ptr()
    }

    /// The same address as a page of the pool.
    #[cfg(CONFIG_KUNIT = "y")]
    pub(crate) fn as_pool_page(self) -> PoolPage {
        PoolPage(self.0)
    }

    /// A page to compare with others, and for nothing else.
    #[cfg(CONFIG_KUNIT = "y")]
    pub(crate) fn nth(nr: usize) -> Self {
        let base = NonNull::<bindings::page>::dangling().as_ptr();

        // INVARIANT: Not met, and not relied on by tests, which look at the address only.
        NonNull::new(base.wrapping_add(nr)).map_or(Self(NonNull::dangling()), Self)
    }
}

/// The address space of a chunk, reserved.
pub(crate) struct Space {
    slot: usize,
    _iomem: Option<Reservation>,
    _target: Reservation,
}

/// The request for the address space of a chunk.
#[derive(Clone, Copy)]
pub(crate) struct Wanted {
    /// Pages to be had, a multiple of [`GRANULE`].
    pub(crate) nr_pages: usize,
    /// What the first page's number must be a multiple of.
    pub(crate) align: usize,
    /// The highest address at which the last byte may lie.
    pub(crate) max_addr: PhysAddr,
}

/// A page of the pool.
///
/// This is its address only, which is compared and handed out. Nothing is said of whether the page
/// is free.
#[derive(Clone, Copy, PartialEq)]
#[repr(transparent)]
pub(crate) struct PoolPage(NonNull<bindings::page>);

// SAFETY: A page belongs to no thread.
unsafe impl Send for PoolPage {}

impl PoolPage {
    /// The page that is `nr` pages further in the chunk.
    ///
    /// There is always one, but the compiler does not know.
    #[inline]
    pub(crate) fn further(self, nr: usize) -> Option<Self> {
        NonNull::new(self.as_ptr().wrapping_add(nr)).map(Self)
    }

    /// The pointer to the `struct page`.
    #[inline]
    pub(crate) fn as_ptr(self) -> *mut bindings::page {
        self.0.as_ptr()
    }

    /// The pointer to the `struct page`, or null.
    #[inline]
    pub(crate) fn ptr_or_null(page: Option<Self>) -> *mut bindings::page {
        page.map_or(core::ptr::null_mut(), Self::as_ptr)
    }

    /// The address of the `struct page`.
    #[inline]
    pub(crate) fn addr(self) -> usize {
        self.0.addr().get()
    }

    /// How many pages the one with the address `addr` is behind this one.
    #[inline]
    pub(crate) fn distance_to(self, addr: usize) -> usize {
        addr.wrapping_sub(self.addr()) / size_of::<bindings::page>()
    }
}

/// What stands behind the pages of a chunk.
///
/// # Invariants
///
/// `first` is the first page of `map`, if there is one.
pub(crate) struct Backing {
    first: PoolPage,
    /// The struct pages that the pool made for address space at which nothing is populated. Without
    /// them these are pages that architecture code had no use for.
    map: Option<Pagemap<Space>>,
}

impl Backing {
    /// Makes the backing of a chunk that the pool has mapped.
    pub(crate) fn mapped(map: Pagemap<Space>) -> Self {
        // INVARIANT: As it says.
        Self {
            first: PoolPage(map.first_page()),
            map: Some(map),
        }
    }

    /// Makes the backing of pages that were donated, from `first` on.
    pub(crate) fn donated(first: NonNull<bindings::page>) -> Self {
        Self {
            first: PoolPage(first),
            map: None,
        }
    }

    /// The page with this place in the chunk, which there must be.
    #[inline]
    pub(crate) fn page(&self, place: usize) -> Option<PoolPage> {
        self.first.further(place)
    }

    /// The place that the page with the address `addr` has in the chunk, if it is in there at all.
    #[inline]
    pub(crate) fn place(&self, addr: usize) -> usize {
        self.first.distance_to(addr)
    }

    /// Takes down the struct pages and releases the address space, unless a page is in use.
    ///
    /// Sleeps for as long as an RCU grace period takes.
    pub(crate) fn try_unmap(self) -> Result<(), Self> {
        match self.map {
            Some(map) => map.try_unmap().map(drop).map_err(Self::mapped),
            None => Err(self),
        }
    }
}

/// The number of pages that `target` spans, and more than which it cannot have.
pub(crate) fn pages_in(target: &Resource) -> usize {
    let pluggable = pagemap::pluggable_range();
    let bytes = target.size().min(pluggable.end() - pluggable.start());

    usize::try_from(bytes / PAGE_SIZE as PhysAddr).unwrap_or(usize::MAX)
}

/// Makes struct pages for unused address space out of `target`.
///
/// The chunk is meant for `slot` of the index. Ranges that `target` has but the system knows to be
/// used otherwise are passed over. The smallest that there can be are put into `unusable`, so that
/// they do not get in the way again; of larger ones a part may be of use. What shares a pageblock
/// with RAM is passed over, too, see [`past_ram`].
///
/// Returns [`EBUSY`] if `target` has no such range left; no other error means that. Sleeps for as
/// long as an RCU grace period takes.
pub(crate) fn map(
    target: &'static Resource,
    wanted: Wanted,
    slot: usize,
    node: NumaNode,
    unusable: &mut KVec<Reservation>,
) -> Result<Pagemap<Space>> {
    let size = wanted.nr_pages.checked_mul(PAGE_SIZE).ok_or(ENOMEM)?;
    let align = wanted.align.max(GRANULE).checked_mul(PAGE_SIZE);
    let align = align.and_then(Alignment::new_checked).ok_or(ENOMEM)?;
    let pluggable = pagemap::pluggable_range();
    let mut bounds = *pluggable.start()..=wanted.max_addr.min(*pluggable.end());
    let flags = Flags::IORESOURCE_MEM | Flags::IORESOURCE_BUSY;
    let mut large = KVec::new();
    let passed_over = if wanted.nr_pages == GRANULE {
        unusable
    } else {
        &mut large
    };
    loop {
        if bounds.is_empty() {
            return Err(EBUSY);
        }
        passed_over.reserve(1, GFP_KERNEL)?;
        let reserved =
            Reservation::allocate(target, size.try_into()?, bounds.clone(), align, NAME, flags)?;

        // It is the lowest, and all that begin between it and there have that pageblock in them.
        if let Some(start) = past_ram(&reserved) {
            bounds = start..=*bounds.end();
            continue;
        }

        // Where the target is a tree of its own, others must be kept off by the system's.
        let iomem = if core::ptr::eq(target, Resource::iomem()) {
            None
        } else {
            let (start, size) = (reserved.start(), reserved.size());
            match Reservation::request(Resource::iomem(), start, size, NAME, flags) {
                Ok(iomem) => Some(iomem),
                Err(EBUSY) => {
                    passed_over.push(reserved, GFP_KERNEL)?;
                    continue;
                }
                Err(error) => return Err(error),
            }
        };

        let start = reserved.start();
        prepare(start, wanted.nr_pages)?;

        // SAFETY: The range is reserved for as long as the mapping exists, as `Space` is in there.
        // Nothing lies behind it that a cacheable mapping could harm: it is address space that Xen
        // declared unused, or that no resource claims.
        return unsafe {
            Pagemap::new(
                start,
                size,
                node,
                &OWNER,
                Space {
                    slot,
                    _iomem: iomem,
                    _target: reserved,
                },
            )
        };
    }
}

/// Where the last pageblock ends that a range has a part of, and RAM another, if there is one.
///
/// Pageblocks may be larger than [`GRANULE`]. If there is RAM in one, the page allocator goes
/// through all struct pages of it, and ours come and go.
fn past_ram(space: &Reservation) -> Option<PhysAddr> {
    let (start, end) = (space.start(), space.start() + space.size());

    // SAFETY: There are no requirements.
    Some(unsafe { bindings::xen_unpopulated_past_ram(start, end) }).filter(|past| *past != 0)
}

/// Makes the p2m entries of a range invalid in a PV domain, so that it gets non-present PTEs.
fn prepare(start: PhysAddr, nr_pages: usize) -> Result {
    if !cfg!(CONFIG_XEN_HAVE_PVMMU) {
        return Ok(());
    }
    // SAFETY: The range was reserved by the caller, so that its p2m entries are his to write.
    to_result(unsafe { bindings::xen_unpopulated_prepare_range(start, nr_pages) })
}

/// Returns the slot of the chunk that `page` is in, if it is a page that the pool has mapped.
#[inline]
pub(crate) fn slot_of(page: PassedPage) -> Option<usize> {
    // SAFETY: By the type invariants of `PassedPage` both the page and, if it is in one, the chunk
    // exist until the caller returns.
    let map = unsafe { OWNER.find(page.0) }?;

    Some(map.data().slot)
}
