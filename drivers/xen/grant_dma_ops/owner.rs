// SPDX-License-Identifier: GPL-2.0

//! What is said about a device.

use core::marker::PhantomData;
use kernel::{
    bindings,
    prelude::*,
    xen::grant::Granted, //
};

/// The device that something is done for.
///
/// # Invariants
///
/// `dev` points to a device that exists for `'a`.
#[derive(Clone, Copy)]
pub(crate) struct Owner<'a> {
    dev: *mut bindings::device,
    exists: PhantomData<&'a ()>,
}

impl Owner<'_> {
    /// Makes one of a pointer from C.
    ///
    /// # Safety
    ///
    /// It must point to a device that exists for as long as this object.
    #[inline]
    pub(crate) unsafe fn new(dev: *mut bindings::device) -> Self {
        // INVARIANT: By the safety requirements.
        Self {
            dev,
            exists: PhantomData,
        }
    }

    /// Reports that a buffer has been mapped.
    #[inline]
    pub(crate) fn trace_map(self, granted: &Granted) {
        // SAFETY: By the type invariants.
        unsafe { xen_grant_dma_map(self.dev, granted.first().as_raw(), granted.count()) }
    }

    /// Reports that a buffer is being unmapped.
    #[inline]
    pub(crate) fn trace_unmap(self, granted: &Granted) {
        // SAFETY: By the type invariants.
        unsafe { xen_grant_dma_unmap(self.dev, granted.first().as_raw(), granted.count()) }
    }

    /// Reports that a backend has not let go of something.
    pub(crate) fn trace_quarantine(self, granted: &Granted) {
        // SAFETY: By the type invariants.
        unsafe { xen_grant_dma_quarantine(self.dev, granted.first().as_raw(), granted.count()) }
    }

    /// Tells that the device is not used any more.
    pub(crate) fn tell_broken(self) {
        // SAFETY: By the type invariants.
        unsafe { bindings::xen_grant_dma_tell_broken(self.dev) }
    }
}

kernel::declare_trace! {
    /// # Safety
    ///
    /// `dev` points to a device.
    unsafe fn xen_grant_dma_map(dev: *mut bindings::device, first: c_uint, count: c_uint);

    /// # Safety
    ///
    /// `dev` points to a device.
    unsafe fn xen_grant_dma_unmap(dev: *mut bindings::device, first: c_uint, count: c_uint);

    /// # Safety
    ///
    /// `dev` points to a device.
    unsafe fn xen_grant_dma_quarantine(dev: *mut bindings::device, first: c_uint, count: c_uint);
}
