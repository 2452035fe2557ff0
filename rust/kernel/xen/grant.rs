// SPDX-License-Identifier: GPL-2.0

//! Grants: access for another domain to frames of this one.
//!
//! Each grant is an entry of a table that is shared with Xen, and known to the other domain by its
//! place there, the reference. Whether the other domain makes use of a grant is up to it: for as
//! long as it has the frame mapped, access cannot be ended.
//!
//! C header: [`include/xen/grant_table.h`](srctree/include/xen/grant_table.h)

use core::{
    marker::PhantomData,
    mem::ManuallyDrop,
    ptr::null_mut, //
};

use crate::{
    bindings,
    error::to_result,
    prelude::*,
    xen::Gfn, //
};

/// The number of a domain that can be granted something.
///
/// # Invariants
///
/// It is not one of those that have a special meaning for Xen.
///
/// # Examples
///
/// ```
/// use kernel::xen::grant::DomId;
///
/// assert_eq!(DomId::new(0)?.as_raw(), 0);
/// assert_eq!(DomId::new(0x7fef)?.as_raw(), 0x7fef);
///
/// // `DOMID_SELF`, and what would be the domain 0 in 16 bits.
/// assert!(DomId::new(0x7ff0).is_err());
/// assert!(DomId::new(0x10000).is_err());
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DomId(bindings::domid_t);

impl DomId {
    /// Checks a number that comes from elsewhere.
    ///
    /// Returns [`ERANGE`] if it is [`DOMID_FIRST_RESERVED`] or higher.
    ///
    /// [`DOMID_FIRST_RESERVED`]: srctree/include/xen/interface/xen.h
    #[inline]
    pub const fn new(domid: u32) -> Result<Self> {
        if domid >= bindings::DOMID_FIRST_RESERVED {
            return Err(ERANGE);
        }

        // INVARIANT: It has just been checked.
        //
        // CAST: A number below `DOMID_FIRST_RESERVED` has no more than 15 bits.
        Ok(Self(domid as bindings::domid_t))
    }

    /// Returns the number as the C type.
    #[inline]
    pub const fn as_raw(self) -> bindings::domid_t {
        self.0
    }
}

/// The number of a grant, by which another domain asks for it.
///
/// # Examples
///
/// ```
/// use kernel::xen::grant::GrantRef;
///
/// let first = GrantRef::new(8);
///
/// assert_eq!(first.following(3).as_raw(), 11);
/// assert!(first < first.following(1));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(transparent)]
pub struct GrantRef(bindings::grant_ref_t);

impl GrantRef {
    /// Makes a reference from the C type.
    #[inline]
    pub const fn new(reference: bindings::grant_ref_t) -> Self {
        Self(reference)
    }

    /// Returns the number as the C type.
    #[inline]
    pub const fn as_raw(self) -> bindings::grant_ref_t {
        self.0
    }

    /// Returns the reference that is `nr` further on, which wraps around at the end of the type.
    #[inline]
    pub const fn following(self, nr: u32) -> Self {
        Self(self.0.wrapping_add(nr))
    }
}

/// What another domain may do with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read it.
    ReadOnly,
    /// Read it, and write to it.
    ReadWrite,
}

/// Returns how many references there can be at most, which is zero outside of a Xen guest.
///
/// This may take long.
#[inline]
pub fn capacity() -> u32 {
    // SAFETY: There are no requirements.
    unsafe { bindings::gnttab_capacity() }
}

mod private {
    use super::GrantRef;

    /// What is the same of all references of a [`Run`](super::Run).
    pub trait State {
        /// Gives a run back.
        ///
        /// # Safety
        ///
        /// The caller must own the `count` references from `first` on, and all of them must be in
        /// this state.
        unsafe fn release(first: GrantRef, count: u32);
    }
}

use private::State;

/// The state of references by which nobody has access to anything.
#[derive(Debug)]
pub enum Idle {}

impl State for Idle {
    #[inline]
    unsafe fn release(first: GrantRef, count: u32) {
        // SAFETY: By the safety requirements these are allocated, and nobody has access by them.
        unsafe { bindings::gnttab_free_grant_reference_run(first.as_raw(), count) };
    }
}

/// The state of references by which another domain has access to memory.
#[derive(Debug)]
pub enum Open {}

impl State for Open {
    unsafe fn release(first: GrantRef, count: u32) {
        for nr in 0..count {
            // SAFETY: By the safety requirements it is ours, and access has been granted with it.
            // No page is passed, so that none is freed.
            unsafe {
                bindings::gnttab_end_foreign_access(first.following(nr).as_raw(), null_mut())
            };
        }
    }
}

/// References with consecutive numbers.
///
/// Dropping the object gives them back.
///
/// # Invariants
///
/// `count` is not zero. The `count` references from `first` on are owned by this object, and all of
/// them are in the state `S`.
#[derive(Debug)]
pub struct Run<S: State> {
    first: GrantRef,
    count: u32,
    state: PhantomData<S>,
}

impl<S: State> Run<S> {
    /// Returns the number of the first reference.
    #[inline]
    pub fn first(&self) -> GrantRef {
        self.first
    }

    /// Returns how many there are, which is not zero.
    #[inline]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Splits the run after `count` references, or returns it if one part would be empty.
    #[inline]
    pub fn split_at(self, count: u32) -> Result<(Self, Self), Self> {
        if count == 0 || count >= self.count {
            return Err(self);
        }

        let (first, all) = self.into_raw();

        // INVARIANT: Neither part is empty, and they share what the run has owned.
        Ok((
            Self {
                first,
                count,
                state: PhantomData,
            },
            Self {
                first: first.following(count),
                count: all - count,
                state: PhantomData,
            },
        ))
    }

    /// Joins two runs, or returns them if `next` does not follow this one.
    #[inline]
    pub fn join(self, next: Self) -> Result<Self, (Self, Self)> {
        if self.first.following(self.count) != next.first {
            return Err((self, next));
        }

        let (first, count) = self.into_raw();
        let (_, more) = next.into_raw();

        // INVARIANT: These are neighbours, so together they are a run.
        Ok(Self {
            first,
            count: count + more,
            state: PhantomData,
        })
    }

    /// Hands the references over, as the number of the first one and how many they are.
    ///
    /// They are given back by dropping what [`Self::from_raw`] makes of them.
    #[inline]
    pub fn into_raw(self) -> (GrantRef, u32) {
        let this = ManuallyDrop::new(self);

        (this.first, this.count)
    }

    /// Takes references over.
    ///
    /// # Safety
    ///
    /// `count` must not be zero. The caller must own the `count` references from `first` on, and
    /// all of them must be in the state `S`.
    #[inline]
    pub unsafe fn from_raw(first: GrantRef, count: u32) -> Self {
        // INVARIANT: By the safety requirements.
        Self {
            first,
            count,
            state: PhantomData,
        }
    }
}

impl<S: State> Drop for Run<S> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariants.
        unsafe { S::release(self.first, self.count) };
    }
}

/// References with consecutive numbers, which give access to nothing.
///
/// # Examples
///
/// ```
/// use kernel::xen::grant::{
///     capacity,
///     References, //
/// };
///
/// match References::alloc(4, 0) {
///     Ok(references) => {
///         let first = references.first();
///         let (left, right) = references.split_at(1).map_err(|_| EINVAL)?;
///
///         assert_eq!((left.first(), left.count()), (first, 1));
///         assert_eq!((right.first(), right.count()), (first.following(1), 3));
///
///         // Neighbours can be joined, in this order only.
///         let (right, left) = right.join(left).err().ok_or(EINVAL)?;
///         assert_eq!(left.join(right).map_err(|_| EINVAL)?.count(), 4);
///     }
///     // There are none but in a Xen guest.
///     Err(e) => assert!(capacity() == 0 && e == ENODEV),
/// }
///
/// // No run is empty, and none leaves less than nothing.
/// assert!(References::alloc(0, 0).is_err());
/// assert!(References::alloc(1, u32::MAX).is_err());
/// # Ok::<(), Error>(())
/// ```
pub type References = Run<Idle>;

impl Run<Idle> {
    /// Allocates `count` references, unless fewer than `reserve` would be left for others.
    ///
    /// This works in any context. It returns [`EINVAL`] if `count` is zero, [`ENOSPC`] if there is
    /// no such run or too little would be left, and [`ENODEV`] outside of a Xen guest.
    #[inline]
    pub fn alloc(count: u32, reserve: u32) -> Result<Self> {
        let mut first = 0;

        // SAFETY: `first` is a place for the C side to put a number in. It checks the rest.
        to_result(unsafe {
            bindings::gnttab_alloc_grant_reference_run(count, reserve, &mut first)
        })?;

        // INVARIANT: The call was successful, so `count` is not zero, the references are ours, and
        // no access has been granted with them.
        Ok(Self {
            first: GrantRef(first),
            count,
            state: PhantomData,
        })
    }

    /// Grants a domain access to as many frames as there are references, from `frame` on.
    ///
    /// # Safety
    ///
    /// Until access has ended nobody may rely on what the memory at these frames contains, if
    /// `access` is not read-only, and it must not be used for anything that the domain must not
    /// know.
    #[inline]
    pub unsafe fn grant(self, domain: DomId, frame: Gfn, access: Access) -> Granted {
        let (first, count) = self.into_raw();

        // SAFETY: By the type invariants these references are ours, and free to be used. What may
        // happen to the memory is the caller's to see to.
        unsafe {
            bindings::gnttab_grant_foreign_access_run(
                first.as_raw(),
                count,
                domain.as_raw(),
                // CAST: An `unsigned long` has 64 bits wherever frame numbers can have more than
                // 32.
                frame.as_raw() as c_ulong,
                access == Access::ReadOnly,
            )
        };

        // INVARIANT: The references were ours, and access has been granted with them.
        Run {
            first,
            count,
            state: PhantomData,
        }
    }
}

/// References with consecutive numbers, by which another domain has access to memory.
///
/// [`Self::end`] gets them back as [`References`]. A reference that the other domain has mapped
/// cannot be had back: nobody knows when, if ever, it will be unmapped. Neither the reference nor
/// the memory may be used for something else before.
///
/// Dropping the object ends the access, and gives the references back. For those in use that is
/// left to the kernel, which holds on to the page, if it is one that has a reference count, and
/// tries again from time to time.
pub type Granted = Run<Open>;

impl Run<Open> {
    /// Returns the frame that access is granted to with the first reference.
    #[inline]
    pub fn frame(&self) -> Gfn {
        // SAFETY: By the type invariants it is ours.
        let frame = unsafe { bindings::gnttab_granted_frame(self.first.as_raw()) };

        // CAST: `xen_pfn_t` is at least as wide as an `unsigned long`.
        Gfn::new(frame as bindings::xen_pfn_t)
    }

    /// Ends the access to all of the frames, or returns the object if one of them is in use.
    ///
    /// In the latter case access to some of the frames may have ended. This works in any context.
    #[inline]
    pub fn end(self) -> Result<References, Self> {
        // SAFETY: By the type invariants they are ours.
        let ended =
            unsafe { bindings::gnttab_end_foreign_access_run(self.first.as_raw(), self.count) };

        if ended != self.count {
            return Err(self);
        }

        let (first, count) = self.into_raw();

        // INVARIANT: They were owned by this object, and access by them has ended.
        Ok(Run {
            first,
            count,
            state: PhantomData,
        })
    }
}
