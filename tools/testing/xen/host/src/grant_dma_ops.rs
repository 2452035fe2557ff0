// SPDX-License-Identifier: GPL-2.0

//! DMA operations for devices whose backend is another domain.

#[path = "../../../../../drivers/xen/grant_dma_ops/address.rs"]
pub(crate) mod address;
#[path = "../../../../../drivers/xen/grant_dma_ops/cache.rs"]
pub(crate) mod cache;
#[path = "../../../../../drivers/xen/grant_dma_ops/device.rs"]
pub(crate) mod device;
#[path = "../../../../../drivers/xen/grant_dma_ops/limits.rs"]
pub(crate) mod limits;
#[path = "../../../../../drivers/xen/grant_dma_ops/list.rs"]
pub(crate) mod list;
#[path = "../../../../../drivers/xen/grant_dma_ops/memory.rs"]
pub(crate) mod memory;
#[path = "../../../../../drivers/xen/grant_dma_ops/owner.rs"]
pub(crate) mod owner;
#[path = "../../../../../drivers/xen/grant_dma_ops/quarantine.rs"]
pub(crate) mod quarantine;
#[path = "../../../../../drivers/xen/grant_dma_ops/run_map.rs"]
pub(crate) mod run_map;

kernel::sync::global_lock! {
    pub(crate) unsafe(uninit) static QUARANTINE:
        SpinLockIrq<quarantine::Quarantine<device::HeldGrant>> = quarantine::Quarantine::new();
}

kernel::sync::global_lock! {
    pub(crate) unsafe(uninit) static DEVICES: SpinLockIrq<kernel::list::List<device::Device>> =
        kernel::list::List::new();
}

/// Asks for another try.
pub(crate) fn queue_retry() {
    // SAFETY: There are no requirements.
    unsafe { kernel::bindings::xen_grant_dma_queue_retry() }
}
