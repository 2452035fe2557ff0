// SPDX-License-Identifier: GPL-2.0

//! What DMA operations deal with.

use super::dma_addr_t;
use crate::ffi::c_uint;
use crate::sync::Lock;

pub use super::memory::{
    xen_grant_dma_is_own, xen_grant_dma_is_plain, xen_grant_dma_pin, xen_grant_dma_plain_phys,
    xen_grant_dma_unpin,
};

pub const SG_CHAIN: u32 = 1;
pub const SG_END: u32 = 2;

/// An entry of a list of buffers.
#[derive(Clone, Copy, Debug, Default)]
pub struct scatterlist {
    pub page_link: usize,
    pub offset: c_uint,
    pub length: c_uint,
    pub dma_address: dma_addr_t,
    pub dma_length: c_uint,
}

pub struct device;

#[derive(Clone, Copy, Default)]
pub struct dma_map_ops;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct xen_grant_dma_statistics {
    pub backend: u64,
    pub maps: u64,
    pub references: u64,
    pub quarantined: u64,
    pub bounced: u64,
    pub exposed: u64,
    pub broken: u64,
}

pub type xen_grant_dma_stat = c_uint;
pub const xen_grant_dma_stat_XEN_GRANT_DMA_FALLBACK_UNSUPPORTED: c_uint = 0;
pub const xen_grant_dma_stat_XEN_GRANT_DMA_FALLBACK_NO_SPACE: c_uint = 1;
pub const xen_grant_dma_stat_XEN_GRANT_DMA_FALLBACK_ASKED: c_uint = 2;
pub const xen_grant_dma_source_XEN_GRANT_DMA_RAM: c_uint = 1;
pub const xen_grant_dma_source_XEN_GRANT_DMA_UNPOPULATED: c_uint = 2;

/// How often it was asked to try again, and told that a device is broken.
#[derive(Default)]
pub struct Asked {
    pub retry: usize,
    pub broken: usize,
}

pub static ASKED: Lock<Asked> = Lock::new(Asked {
    retry: 0,
    broken: 0,
});

pub unsafe fn xen_grant_dma_queue_retry() {
    ASKED.lock().retry += 1;
}

pub unsafe fn xen_grant_dma_tell_broken(_: *mut device) {
    ASKED.lock().broken += 1;
}
