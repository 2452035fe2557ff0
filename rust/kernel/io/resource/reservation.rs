// SPDX-License-Identifier: GPL-2.0

//! Ranges reserved in a tree of system resources.
//!
//! C header: [`include/linux/ioport.h`](srctree/include/linux/ioport.h)

use core::ops::RangeInclusive;

use crate::{
    bindings,
    error::to_result,
    prelude::*,
    ptr::Alignment,
    types::Opaque, //
};

use super::{
    Flags,
    PhysAddr,
    Resource,
    ResourceSize, //
};

/// A range that is reserved in a tree of [`Resource`]s for as long as this object lives.
///
/// This is a `struct resource` that its user owns, as opposed to the ones that firmware or a bus
/// described. The range is either picked by the kernel ([`Reservation::allocate`]) or by the caller
/// ([`Reservation::request`]); dropping the object gives it back.
///
/// Unlike [`Resource::request_region`], which creates and finds regions by their addresses, this
/// can allocate unused address space, can be placed in a tree other than the global ones, and does
/// not copy the name.
///
/// Both constructors and `drop` take a lock that spins, and both constructors allocate memory and
/// may sleep.
///
/// # Invariants
///
/// - `resource` is linked into a tree of resources, of which the parent that was given is the root
///   or an inner node, until `drop`.
/// - Its `start`, `end`, `name` and `flags` do not change, `start <= end`, and
///   `end - start < ResourceSize::MAX`.
///
/// # Examples
///
/// Reserve some unused address space, and see that no one else can have it:
///
/// ```
/// use kernel::{
///     io::resource::{
///         Flags,
///         Reservation,
///         Resource, //
///     },
///     io::PhysAddr,
///     ptr::Alignment,
///     sizes::*, //
/// };
///
/// let flags = Flags::IORESOURCE_MEM | Flags::IORESOURCE_BUSY;
///
/// let scratch = Reservation::allocate(
///     Resource::iomem(),
///     SZ_64K as PhysAddr,
///     0..=PhysAddr::MAX,
///     Alignment::new::<SZ_4K>(),
///     c"scratch",
///     flags,
/// )?;
/// assert_eq!(scratch.size(), SZ_64K as PhysAddr);
/// assert_eq!(scratch.start() % SZ_4K as PhysAddr, 0);
/// assert_eq!(scratch.end(), scratch.start() + (SZ_64K - 1) as PhysAddr);
///
/// // The range is taken.
/// let start = scratch.start();
/// let page = SZ_4K as PhysAddr;
/// assert!(Reservation::request(Resource::iomem(), start, page, c"thief", flags).is_err());
///
/// // And free again once `scratch` is gone.
/// drop(scratch);
/// let page = Reservation::request(Resource::iomem(), start, page, c"heir", flags)?;
/// assert_eq!(page.start(), start);
///
/// // Requests that cannot be met are refused.
/// let align = Alignment::new::<1>();
/// assert!(Reservation::allocate(Resource::iomem(), 0, 0..=1, align, c"none", flags).is_err());
/// assert!(Reservation::request(Resource::iomem(), 1, PhysAddr::MAX, c"wrap", flags).is_err());
/// # Ok::<(), Error>(())
/// ```
pub struct Reservation {
    resource: Pin<KBox<Opaque<bindings::resource>>>,
}

impl Reservation {
    /// Reserves `size` bytes of unused space inside of `parent`.
    ///
    /// The lowest range is used that lies within `bounds`, starts at a multiple of `align` and
    /// collides with no child of `parent`.
    ///
    /// `name` is what the range is called in `/proc/iomem`. The range is busy whatever `flags` say,
    /// so that nobody else gets a region inside of it.
    ///
    /// Returns [`EINVAL`] for an empty range, [`ENOMEM`] if there is no memory for the object and
    /// [`EBUSY`] if there is no such range.
    pub fn allocate(
        parent: &'static Resource,
        size: ResourceSize,
        bounds: RangeInclusive<PhysAddr>,
        align: Alignment,
        name: &'static CStr,
        flags: Flags,
    ) -> Result<Self> {
        if size == 0 || bounds.is_empty() {
            return Err(EINVAL);
        }

        let align = ResourceSize::try_from(align.as_usize())?;
        let resource = Self::unlinked(0, 0, name, flags)?;

        // SAFETY:
        // - `parent` refers to a `struct resource` that is linked into a tree and lives forever.
        // - `resource` is initialized, not linked into any tree (its `parent` is null), and stays
        //   at its address until it has been removed from the tree.
        // - There is no alignment function.
        to_result(unsafe {
            bindings::allocate_resource(
                parent.as_raw(),
                resource.get(),
                size,
                *bounds.start(),
                *bounds.end(),
                align,
                None,
                core::ptr::null_mut(),
            )
        })?;

        // INVARIANT: `allocate_resource` has linked the resource in below `parent`, and has made
        // its range one of `size` bytes that does not wrap around. `size` being at most
        // `ResourceSize::MAX`, `end - start` is less than that. Nothing else knows the resource but
        // through the tree, where only the links are changed.
        Ok(Self { resource })
    }

    /// Reserves the `size` bytes at `start` inside of `parent`.
    ///
    /// `name` is what the range is called in `/proc/iomem`. The range is busy whatever `flags` say,
    /// so that nobody else gets a region inside of it.
    ///
    /// Returns [`EINVAL`] for an empty range or one that wraps around, [`ENOMEM`] if there is no
    /// memory for the object and [`EBUSY`] if a part of the range is taken or not inside of
    /// `parent`.
    pub fn request(
        parent: &'static Resource,
        start: PhysAddr,
        size: ResourceSize,
        name: &'static CStr,
        flags: Flags,
    ) -> Result<Self> {
        let last = size.checked_sub(1).ok_or(EINVAL)?;
        let end = start.checked_add(last).ok_or(EINVAL)?;
        let resource = Self::unlinked(start, end, name, flags)?;

        // SAFETY:
        // - `parent` refers to a `struct resource` that is linked into a tree and lives forever.
        // - `resource` is initialized, not linked into any tree (its `parent` is null), and stays
        //   at its address until it has been removed from the tree.
        to_result(unsafe { bindings::request_resource(parent.as_raw(), resource.get()) })?;

        // INVARIANT: `request_resource` has linked the resource in below `parent`. `end - start` is
        // `size - 1`, so less than `ResourceSize::MAX`. Nothing else knows the resource but through
        // the tree, where only the links are changed.
        Ok(Self { resource })
    }

    /// Makes a resource that is in no tree yet.
    fn unlinked(
        start: PhysAddr,
        end: PhysAddr,
        name: &'static CStr,
        flags: Flags,
    ) -> Result<Pin<KBox<Opaque<bindings::resource>>>> {
        let resource = bindings::resource {
            start,
            end,
            name: name.as_char_ptr(),
            flags: flags.0 | Flags::IORESOURCE_BUSY.0,
            ..pin_init::zeroed()
        };

        Ok(KBox::pin(Opaque::new(resource), GFP_KERNEL)?)
    }

    /// Returns the first address of the range.
    #[inline]
    pub fn start(&self) -> PhysAddr {
        // SAFETY: By the type invariants `resource` is valid and its `start` does not change.
        unsafe { (*self.resource.get()).start }
    }

    /// Returns the last address of the range.
    #[inline]
    pub fn end(&self) -> PhysAddr {
        // SAFETY: By the type invariants `resource` is valid and its `end` does not change.
        unsafe { (*self.resource.get()).end }
    }

    /// Returns the number of bytes in the range.
    #[inline]
    pub fn size(&self) -> ResourceSize {
        // By the type invariants neither of the two can overflow.
        (self.end() - self.start()) + 1
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        // It fails only for a resource that is in no tree, which the type invariants rule out.
        //
        // SAFETY: By the type invariants `resource` is valid and linked into a tree.
        let ret = unsafe { bindings::release_resource(self.resource.get()) };

        crate::warn_on!(ret != 0);
    }
}

// SAFETY: A resource belongs to no thread: `release_resource` may be called by any, and takes the
// lock that guards the tree.
unsafe impl Send for Reservation {}

// SAFETY: Through a shared reference only fields are read that do not change, by the type
// invariants.
unsafe impl Sync for Reservation {}
