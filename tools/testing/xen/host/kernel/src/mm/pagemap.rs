// SPDX-License-Identifier: GPL-2.0

//! Struct pages for address space.

use crate::alloc::{flags::GFP_KERNEL, KBox, NumaNode};
use crate::bindings::{self, memory};
use crate::error::{code::*, Result};
use crate::host;
use crate::io::PhysAddr;
use crate::page::PAGE_SIZE;
use crate::sync::Lock;
use core::ops::{Deref, RangeInclusive};
use core::ptr::NonNull;
use std::collections::{BTreeMap, BTreeSet};

/// Small, so that small pools can be had.
pub const GRANULE: usize = 4 * PAGE_SIZE;

/// The pages that are in use though they are free, by their numbers.
pub static PINNED: Lock<BTreeSet<usize>> = Lock::new(BTreeSet::new());

/// What the linear map has room for.
pub fn pluggable_range() -> RangeInclusive<PhysAddr> {
    0..=(1 << 40) - 1
}

/// Where a mapping is.
struct Place<T>(*const Mapping<T>);

// SAFETY: It is an address.
unsafe impl<T> Send for Place<T> {}

/// The identity of those who make mappings, and what they have made.
pub struct Owner<T>(Lock<BTreeMap<usize, Place<T>>>);

impl<T> Owner<T> {
    pub const fn new() -> Self {
        Self(Lock::new(BTreeMap::new()))
    }

    pub unsafe fn find<'a>(&'static self, page: NonNull<bindings::page>) -> Option<&'a Mapping<T>> {
        let pfn = memory::pfn(page.as_ptr());
        let maps = self.0.lock();
        let (_, place) = maps.range(..=pfn).next_back()?;
        // SAFETY: It is there until it is removed from the map.
        let mapping = unsafe { &*place.0 };

        // A page of no chunk has an address between those of two.
        (memory::page(pfn) == page.as_ptr() && pfn < mapping.first_pfn + mapping.nr_pages)
            .then_some(mapping)
    }

    /// The numbers of the pages that are mapped.
    pub fn pages(&'static self) -> Vec<RangeInclusive<usize>> {
        let maps = self.0.lock();

        maps.values()
            .map(|place| {
                // SAFETY: As above.
                let mapping = unsafe { &*place.0 };

                mapping.first_pfn..=mapping.first_pfn + mapping.nr_pages - 1
            })
            .collect()
    }
}

/// Struct pages, with what their owner wants to find by them.
pub struct Mapping<T> {
    first_pfn: usize,
    nr_pages: usize,
    data: T,
}

impl<T> Mapping<T> {
    pub fn data(&self) -> &T {
        &self.data
    }

    pub fn first_pfn(&self) -> usize {
        self.first_pfn
    }

    pub fn first_page(&self) -> NonNull<bindings::page> {
        NonNull::new(memory::page(self.first_pfn)).unwrap()
    }
}

/// A mapping for as long as this exists.
pub struct Pagemap<T: 'static> {
    mapping: Option<KBox<Mapping<T>>>,
    owner: &'static Owner<T>,
}

impl<T> Pagemap<T> {
    pub unsafe fn new(
        start: PhysAddr,
        size: usize,
        _: NumaNode,
        owner: &'static Owner<T>,
        data: T,
    ) -> Result<Self> {
        host::expect(host::NO_IO.get(), "it may start I/O");
        if size == 0 || size % GRANULE != 0 || start as usize % GRANULE != 0 {
            return Err(EINVAL);
        }

        let mapping = Mapping {
            first_pfn: start as usize / PAGE_SIZE,
            nr_pages: size / PAGE_SIZE,
            data,
        };
        let mapping = KBox::new(mapping, GFP_KERNEL)?;

        // memremap_pages() may fail too.
        if !host::succeeds() {
            return Err(ENOMEM);
        }
        owner
            .0
            .lock()
            .insert(mapping.first_pfn, Place(&raw const *mapping));
        Ok(Self {
            mapping: Some(mapping),
            owner,
        })
    }

    pub fn try_unmap(mut self) -> Result<T, Self> {
        let pages = self.first_pfn..self.first_pfn + self.nr_pages;

        if PINNED.lock().range(pages).next().is_some() {
            return Err(self);
        }
        self.forget();
        Ok(KBox::into_inner(self.mapping.take().unwrap()).data)
    }

    fn forget(&self) {
        self.owner.0.lock().remove(&self.first_pfn);
    }
}

impl<T> Deref for Pagemap<T> {
    type Target = Mapping<T>;

    fn deref(&self) -> &Mapping<T> {
        self.mapping.as_ref().unwrap()
    }
}

impl<T> Drop for Pagemap<T> {
    fn drop(&mut self) {
        if self.mapping.is_some() {
            self.forget();
        }
    }
}
