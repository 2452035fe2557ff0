// SPDX-License-Identifier: GPL-2.0

//! Ranges of address space, and who has which.

use super::PhysAddr;
use crate::alloc::allocate;
use crate::error::{code::*, Result};
use crate::ffi::CStr;
use crate::ptr::Alignment;
use crate::sync::Lock;
use core::ops::{BitOr, RangeInclusive};
use std::collections::BTreeMap;

/// What a range is for.
#[derive(Clone, Copy)]
pub struct Flags;

impl Flags {
    pub const IORESOURCE_MEM: Self = Self;
    pub const IORESOURCE_BUSY: Self = Self;
}

impl BitOr for Flags {
    type Output = Self;

    fn bitor(self, _: Self) -> Self {
        self
    }
}

/// A range, of which parts can be reserved.
pub struct Resource {
    start: PhysAddr,
    size: PhysAddr,
    /// The first addresses of what is reserved, and the sizes.
    children: Lock<BTreeMap<PhysAddr, PhysAddr>>,
}

static IOMEM: Resource = Resource::new(0, PhysAddr::MAX);

impl Resource {
    /// Makes one.
    pub const fn new(start: PhysAddr, size: PhysAddr) -> Self {
        Self {
            start,
            size,
            children: Lock::new(BTreeMap::new()),
        }
    }

    pub const unsafe fn from_raw<'a>(ptr: *mut Self) -> &'a Self {
        // SAFETY: As required from the caller.
        unsafe { &*ptr }
    }

    pub fn iomem() -> &'static Self {
        &IOMEM
    }

    pub fn size(&self) -> PhysAddr {
        self.size
    }

    /// How many parts are reserved.
    pub fn nr_reserved(&self) -> usize {
        self.children.lock().len()
    }

    /// Forgets what is reserved.
    pub fn clear(&self) {
        self.children.lock().clear();
    }
}

/// A part that is reserved for as long as this exists.
pub struct Reservation {
    parent: &'static Resource,
    start: PhysAddr,
    size: PhysAddr,
}

impl Reservation {
    pub fn allocate(
        parent: &'static Resource,
        size: PhysAddr,
        bounds: RangeInclusive<PhysAddr>,
        align: Alignment,
        _: &'static CStr,
        _: Flags,
    ) -> Result<Self> {
        if size == 0 || bounds.is_empty() {
            return Err(EINVAL);
        }
        allocate()?;

        let align = align.as_usize() as PhysAddr;
        let up = |addr: PhysAddr| addr.checked_next_multiple_of(align);
        let end = (*bounds.end()).min(parent.start.saturating_add(parent.size - 1));
        let mut children = parent.children.lock();
        let mut start = up(parent.start.max(*bounds.start())).ok_or(EBUSY)?;

        for (&other, &its) in children.iter() {
            if start + size <= other {
                break;
            }
            if other + its > start {
                start = up(other + its).ok_or(EBUSY)?;
            }
        }
        if start.checked_add(size - 1).is_none_or(|last| last > end) {
            return Err(EBUSY);
        }
        children.insert(start, size);
        Ok(Self {
            parent,
            start,
            size,
        })
    }

    pub fn request(
        parent: &'static Resource,
        start: PhysAddr,
        size: PhysAddr,
        _: &'static CStr,
        _: Flags,
    ) -> Result<Self> {
        allocate()?;

        let mut children = parent.children.lock();

        if let Some((&other, &its)) = children.range(..start + size).next_back() {
            if other + its > start {
                return Err(EBUSY);
            }
        }
        children.insert(start, size);
        Ok(Self {
            parent,
            start,
            size,
        })
    }

    pub fn start(&self) -> PhysAddr {
        self.start
    }

    pub fn size(&self) -> PhysAddr {
        self.size
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.parent.children.lock().remove(&self.start);
    }
}
