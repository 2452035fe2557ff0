// SPDX-License-Identifier: GPL-2.0

//! DMA operations for devices whose backend is another domain.
//!
//! A backend of a virtio device, which runs in another domain, gets access to the buffers of the
//! driver and to nothing else: for each buffer that is mapped, access to the frames that it touches
//! is granted, and what the driver passes on as the DMA address is the number of the grant. The
//! references of one buffer are consecutive, as the frames of a buffer are for any device.
//!
//! # What a backend can do
//!
//! A backend may keep a frame mapped for as long as it likes. Neither the reference nor the memory
//! can be used for something else then. No new DMA is done with such a device.
//!
//! - Memory that was allocated by way of the DMA API, and pages that buffers were copied to, are
//!   kept until the backend lets go of them, which is looked at each second.
//! - A buffer that was mapped belongs to the driver. The page is kept from being handed to someone
//!   else where it has a reference count of its own, which memory from `kmalloc()` has not. What
//!   the driver does with the buffer from then on is exposed to the backend, and counted.
//!
//! A frame is the least that can be granted. What else is in the frames that a buffer touches can
//! be read by the backend, and changed if it may write to the buffer, unless the device is isolated
//! (see the parameter `isolate`): then the first and the last part of a buffer, if they don't fill
//! a frame, are copied to pages of their own.
//!
//! # The files
//!
//! This file is where calls from C arrive. It turns their arguments into types, and results into
//! what C expects.
//!
//! - `address`: DMA addresses, and the frames of a buffer.
//! - `run_map`: which references are idle.
//! - `limits`: how many references a device may take.
//! - `quarantine`: a list of what is still held.
//! - `device`: all of that put together.
//! - `cache`: references that a device keeps for itself.
//! - `memory`: buffers, pages and copies.
//! - `list`: scatterlists.
//! - `owner`: what is reported about a device.
//!
//! C header: [`grant-dma-ops.h`](srctree/drivers/xen/grant_dma_ops/grant-dma-ops.h)

use core::ptr::{
    null_mut,
    NonNull, //
};
use kernel::{
    bindings,
    page,
    prelude::*,
    sync::Arc,
    xen::grant::{
        self,
        DomId,
        Granted, //
    }, //
};

mod address;
mod cache;
mod device;
mod limits;
mod list;
mod memory;
mod owner;
mod quarantine;
mod run_map;

use address::Span;
use device::{
    Device,
    HeldGrant,
    Transfer, //
};
use limits::Limits;
use list::{
    List,
    MappedList, //
};
use memory::{
    Buffer,
    Pages, //
};
use owner::Owner;
use quarantine::Quarantine;

/// Prefix to appear before log messages.
const __LOG_PREFIX: &[u8] = b"xen_grant_dma\0";

/// Attributes of a transfer, as the type that they are passed in.
// CAST: `unsigned long` is at least as wide.
const MMIO: c_ulong = bindings::DMA_ATTR_MMIO as c_ulong;
const NO_WARN: c_ulong = bindings::DMA_ATTR_NO_WARN as c_ulong;
const SKIP_CPU_SYNC: c_ulong = bindings::DMA_ATTR_SKIP_CPU_SYNC as c_ulong;

/// What stands for an error in place of a DMA address.
const MAPPING_ERROR: bindings::dma_addr_t = bindings::dma_addr_t::MAX;

kernel::sync::global_lock! {
    // SAFETY: Initialized by `xen_grant_dma_start`, before which there are no devices.
    pub(crate) unsafe(uninit) static QUARANTINE: SpinLockIrq<Quarantine<HeldGrant>> =
        Quarantine::new();
}

kernel::sync::global_lock! {
    // SAFETY: As above.
    pub(crate) unsafe(uninit) static DEVICES: SpinLockIrq<kernel::list::List<Device>> =
        kernel::list::List::new();
}

/// Has [`xen_grant_dma_retry`] called in a while.
pub(crate) fn queue_retry() {
    // SAFETY: There are no requirements.
    unsafe { bindings::xen_grant_dma_queue_retry() }
}

/// Makes what must be there before the first device.
///
/// # Safety
///
/// This is called once, before any other function here.
#[export]
unsafe extern "C" fn xen_grant_dma_start() {
    // SAFETY: This is called once.
    unsafe { QUARANTINE.init() };
    // SAFETY: As above.
    unsafe { DEVICES.init() };
}

/// Releases what backends have let go of, and returns whether there is something left.
///
/// # Safety
///
/// `xen_grant_dma_start` has been called.
#[export]
unsafe extern "C" fn xen_grant_dma_retry() -> bool {
    // The lock is not held meanwhile, since there can be much to release.
    let held = QUARANTINE.lock().take();
    let held = held.retry();
    let mut list = QUARANTINE.lock();
    // It is a walk through what has come meanwhile, not through all that is held.
    let arrived = core::mem::replace(&mut *list, held);

    list.append(arrived);
    !list.is_empty()
}

/// Makes operations for a device with the given backend.
///
/// Returns them, or an error as a pointer.
///
/// # Safety
///
/// `xen_grant_dma_start` has been called.
#[export]
unsafe extern "C" fn xen_grant_dma_create(
    backend: u32,
    isolate: bool,
) -> *const bindings::dma_map_ops {
    match create(backend, isolate) {
        Ok(device) => {
            let device = Arc::into_raw(device);

            // SAFETY: It is a device, as it has just been made.
            unsafe { &raw const (*device).ops }
        }
        Err(error) => error.to_ptr::<bindings::dma_map_ops>().cast_const(),
    }
}

/// Does the work of [`xen_grant_dma_create`].
fn create(backend: u32, isolate: bool) -> Result<Arc<Device>> {
    let backend = DomId::new(backend)?;
    let listed = Device::new(
        operations(isolate),
        backend,
        isolate,
        Limits::new(grant::capacity()),
    )?;
    let device = listed.clone_arc();

    DEVICES.lock().push_back(listed);
    Ok(device)
}

/// Returns the device that operations belong to.
///
/// # Safety
///
/// `ops` must be what `xen_grant_dma_create` has returned, and not been destroyed, as long as the
/// reference is used.
#[inline]
unsafe fn device_of<'a>(ops: *const bindings::dma_map_ops) -> &'a Device {
    // SAFETY: The operations are part of a device, as required from the caller.
    let device = unsafe { kernel::container_of!(ops.cast_mut(), Device, ops) };

    // SAFETY: It exists, as required from the caller, and only shared references to it are made.
    unsafe { &*device }
}

/// Has operations do no more than unmap what is still mapped, and returns whether there is such.
///
/// # Safety
///
/// `ops` must be what [`xen_grant_dma_create`] has returned.
#[export]
unsafe extern "C" fn xen_grant_dma_retire(ops: *const bindings::dma_map_ops) -> bool {
    // SAFETY: As required from the caller.
    unsafe { device_of(ops) }.retire()
}

/// Has operations that were retired map buffers again.
///
/// # Safety
///
/// `ops` must be what [`xen_grant_dma_create`] has returned.
#[export]
unsafe extern "C" fn xen_grant_dma_revive(ops: *const bindings::dma_map_ops) {
    // SAFETY: As required from the caller.
    unsafe { device_of(ops) }.revive()
}

/// Frees operations.
///
/// # Safety
///
/// `ops` must be what [`xen_grant_dma_create`] has returned. Nothing has been mapped by them, or
/// [`xen_grant_dma_retire`] has returned that there is nothing to be unmapped. Nothing else uses
/// them any more.
#[export]
unsafe extern "C" fn xen_grant_dma_destroy(ops: *const bindings::dma_map_ops) {
    // SAFETY: The operations are part of a device, as required from the caller.
    let device = unsafe { kernel::container_of!(ops, Device, ops) };
    // SAFETY: It was handed over by `xen_grant_dma_create`, and is not used any more.
    let device = unsafe { Arc::from_raw(device) };

    // SAFETY: It can't be in another list, as there is none.
    let listed = unsafe { DEVICES.lock().remove(&device) };

    drop(listed);
}

/// Says what a device has and has done.
///
/// # Safety
///
/// `ops` must be what [`xen_grant_dma_create`] has returned, and `stats` must point to room for the
/// statistics.
#[export]
unsafe extern "C" fn xen_grant_dma_get_statistics(
    ops: *const bindings::dma_map_ops,
    stats: *mut bindings::xen_grant_dma_statistics,
) {
    // SAFETY: As required from the caller.
    let statistics = unsafe { device_of(ops) }.statistics();

    // SAFETY: There is room, as required from the caller.
    unsafe { stats.write(statistics) };
}

/// Returns the operations for a device.
///
/// Those for synchronization do something only where buffers are copied. Without them no driver
/// bothers to call them.
fn operations(isolate: bool) -> bindings::dma_map_ops {
    let ops = bindings::dma_map_ops {
        alloc: Some(alloc),
        free: Some(free),
        alloc_pages_op: Some(alloc_pages),
        free_pages: Some(free_pages),
        mmap: Some(bindings::dma_common_mmap),
        get_sgtable: Some(bindings::dma_common_get_sgtable),
        map_phys: Some(map_phys),
        unmap_phys: Some(unmap_phys),
        map_sg: Some(map_sg),
        unmap_sg: Some(unmap_sg),
        dma_supported: Some(dma_supported),
        max_mapping_size: Some(max_mapping_size),
        ..pin_init::zeroed()
    };

    if !isolate {
        return ops;
    }
    bindings::dma_map_ops {
        sync_single_for_cpu: Some(sync_single_for_cpu),
        sync_single_for_device: Some(sync_single_for_device),
        sync_sg_for_cpu: Some(sync_sg_for_cpu),
        sync_sg_for_device: Some(sync_sg_for_device),
        ..ops
    }
}

/// Returns what operations are called for: the state of a device, and the device as C knows it.
///
/// # Safety
///
/// `dev` must point to a device the operations of which are from [`xen_grant_dma_create`], and
/// remain so for as long as what is returned is used.
#[inline(always)]
unsafe fn state<'a>(dev: *mut bindings::device) -> (&'a Device, Owner<'a>) {
    // SAFETY: As required from the caller.
    let ops = unsafe { (*dev).dma_ops };

    // SAFETY: As required from the caller.
    (unsafe { device_of(ops) }, unsafe { Owner::new(dev) })
}

/// Makes sense of a direction and attributes.
#[inline]
fn transfer(dir: bindings::dma_data_direction, attrs: c_ulong) -> Option<Transfer> {
    let from_device = match dir {
        bindings::dma_data_direction::DMA_TO_DEVICE => false,
        bindings::dma_data_direction::DMA_FROM_DEVICE
        | bindings::dma_data_direction::DMA_BIDIRECTIONAL => true,
        _ => return None,
    };

    Some(Transfer {
        from_device,
        sync: attrs & SKIP_CPU_SYNC == 0,
    })
}

/// Maps a buffer.
///
/// # Safety
///
/// As for the operation: `dev` is a device with these operations, and the memory is the device's
/// until it is unmapped.
unsafe extern "C" fn map_phys(
    dev: *mut bindings::device,
    phys: bindings::phys_addr_t,
    size: usize,
    dir: bindings::dma_data_direction,
    attrs: c_ulong,
) -> bindings::dma_addr_t {
    // Addresses of devices are not memory, and can't be granted.
    if attrs & MMIO != 0 {
        return MAPPING_ERROR;
    }

    let Some(transfer) = transfer(dir, attrs) else {
        return MAPPING_ERROR;
    };
    // SAFETY: As required from the caller.
    let (device, owner) = unsafe { state(dev) };
    // SAFETY: It is memory with struct pages, as it is none of a device, and given to this one, as
    // required from the caller.
    let Ok(buffer) = (unsafe { Buffer::at(phys, size, device.longest()) }) else {
        return MAPPING_ERROR;
    };

    match device.map(owner, buffer, transfer) {
        Ok(granted) => address::encode(granted.into_raw().0, buffer.span().offset()),
        Err(_) => MAPPING_ERROR,
    }
}

/// Returns what was granted for an address, which is not zero.
///
/// # Safety
///
/// `address` and `size` must be those of a buffer that has been mapped, or memory that has been
/// allocated, and this must be the only call that hands it over.
#[inline]
unsafe fn granted(address: bindings::dma_addr_t, size: usize) -> Option<(Granted, Span)> {
    let span = Span::new(address, size).ok()?;
    let (first, _) = address::decode(address)?;

    // SAFETY: As required from the caller.
    Some((unsafe { Granted::from_raw(first, span.frames()) }, span))
}

/// Unmaps a buffer.
///
/// # Safety
///
/// As for the operation: `dev` is a device with these operations, and the buffer is one that has
/// been mapped, with the same size and direction.
unsafe extern "C" fn unmap_phys(
    dev: *mut bindings::device,
    address: bindings::dma_addr_t,
    size: usize,
    dir: bindings::dma_data_direction,
    attrs: c_ulong,
) {
    let Some(transfer) = transfer(dir, attrs) else {
        return;
    };
    // SAFETY: As required from the caller.
    let Some((granted, span)) = (unsafe { granted(address, size) }) else {
        return;
    };
    // SAFETY: As required from the caller.
    let (device, owner) = unsafe { state(dev) };

    device.unmap(owner, granted, &span, transfer);
}

/// Maps the buffers of a list.
///
/// # Safety
///
/// As for the operation: `dev` is a device with these operations, `sg` a list of `nents` entries,
/// and the memory is the device's until it is unmapped.
unsafe extern "C" fn map_sg(
    dev: *mut bindings::device,
    sg: *mut bindings::scatterlist,
    nents: c_int,
    dir: bindings::dma_data_direction,
    attrs: c_ulong,
) -> c_int {
    let (Some(transfer), Ok(len)) = (transfer(dir, attrs), u32::try_from(nents)) else {
        return EINVAL.to_errno();
    };
    // SAFETY: As required from the caller.
    let list = unsafe { List::new(sg, len) };
    // SAFETY: As required from the caller.
    let (device, owner) = unsafe { state(dev) };

    match device.map_list(owner, list, transfer) {
        Ok(()) => nents,
        // The DMA API knows of no others.
        Err(error) if [EINVAL, ENOMEM, EREMOTEIO].contains(&error) => error.to_errno(),
        Err(error) if error == ENOSPC => ENOMEM.to_errno(),
        Err(_) => EIO.to_errno(),
    }
}

/// Unmaps the buffers of a list.
///
/// # Safety
///
/// As for the operation: `dev` is a device with these operations, and the list is one that has been
/// mapped, with the same direction.
unsafe extern "C" fn unmap_sg(
    dev: *mut bindings::device,
    sg: *mut bindings::scatterlist,
    nents: c_int,
    dir: bindings::dma_data_direction,
    attrs: c_ulong,
) {
    let (Some(transfer), Ok(len)) = (transfer(dir, attrs), u32::try_from(nents)) else {
        return;
    };
    // SAFETY: As required from the caller.
    let list = unsafe { MappedList::new(sg, len) };
    // SAFETY: As required from the caller.
    let (device, owner) = unsafe { state(dev) };

    device.unmap_list(owner, list, transfer);
}

/// Allocates memory to be shared with the backend, and clears it.
///
/// # Safety
///
/// As for the operation: `dev` is a device with these operations, and `dma_handle` points to room
/// for an address.
unsafe extern "C" fn alloc(
    dev: *mut bindings::device,
    size: usize,
    dma_handle: *mut bindings::dma_addr_t,
    gfp: bindings::gfp_t,
    attrs: c_ulong,
) -> *mut c_void {
    let Ok(span) = Span::new(0, size) else {
        return null_mut();
    };
    let gfp = if attrs & NO_WARN != 0 {
        gfp | bindings::__GFP_NOWARN
    } else {
        gfp
    };
    // SAFETY: As required from the caller.
    let (device, _) = unsafe { state(dev) };

    match device.alloc_pages(&span, gfp) {
        Ok((pages, granted)) => {
            // SAFETY: There is room, as required from the caller.
            unsafe { dma_handle.write(address::encode(granted.into_raw().0, 0)) };
            pages.into_raw().as_ptr()
        }
        Err(_) => null_mut(),
    }
}

/// Frees what [`alloc`] has returned.
///
/// # Safety
///
/// As for the operation: `dev` is a device with these operations, and the memory is what has been
/// allocated, with the same size.
unsafe extern "C" fn free(
    dev: *mut bindings::device,
    size: usize,
    vaddr: *mut c_void,
    dma_handle: bindings::dma_addr_t,
    _attrs: c_ulong,
) {
    let Some(vaddr) = NonNull::new(vaddr) else {
        return;
    };
    // SAFETY: As required from the caller.
    let Some((granted, span)) = (unsafe { granted(dma_handle, size) }) else {
        return;
    };
    // SAFETY: As required from the caller.
    let pages = unsafe { Pages::from_raw(vaddr, &span) };
    // SAFETY: As required from the caller.
    let (device, owner) = unsafe { state(dev) };

    device.free_pages(owner, pages, granted);
}

/// Allocates pages to be shared with the backend, and clears them.
///
/// # Safety
///
/// As for [`alloc`].
unsafe extern "C" fn alloc_pages(
    dev: *mut bindings::device,
    size: usize,
    dma_handle: *mut bindings::dma_addr_t,
    _dir: bindings::dma_data_direction,
    gfp: bindings::gfp_t,
) -> *mut bindings::page {
    // SAFETY: As required from the caller.
    let vaddr = unsafe { alloc(dev, size, dma_handle, gfp, 0) };

    if vaddr.is_null() {
        return null_mut();
    }
    // SAFETY: It is memory in the linear map.
    unsafe { page::virt_to_page(vaddr) }.as_ptr()
}

/// Frees what [`alloc_pages`] has returned.
///
/// # Safety
///
/// As for [`free`].
unsafe extern "C" fn free_pages(
    dev: *mut bindings::device,
    size: usize,
    first: *mut bindings::page,
    dma_handle: bindings::dma_addr_t,
    _dir: bindings::dma_data_direction,
) {
    let Some(first) = NonNull::new(first) else {
        return;
    };
    // SAFETY: It is a page, as required from the caller.
    let vaddr = unsafe { page::page_address(first) };

    // SAFETY: As required from the caller.
    unsafe { free(dev, size, vaddr, dma_handle, 0) };
}

/// Returns whether a device can use addresses of the given width: the highest bit is always set.
///
/// # Safety
///
/// There are no requirements.
unsafe extern "C" fn dma_supported(_dev: *mut bindings::device, mask: u64) -> c_int {
    c_int::from(mask == u64::MAX)
}

/// Returns the size of the largest buffer that can be mapped.
///
/// # Safety
///
/// As for the operation: `dev` is a device with these operations.
unsafe extern "C" fn max_mapping_size(dev: *mut bindings::device) -> usize {
    // SAFETY: As required from the caller.
    unsafe { state(dev) }.0.max_size()
}

/// Has the driver see what the device has written to a buffer, or a part of one.
///
/// # Safety
///
/// As for the operation: `dev` is a device with these operations, and the range is in a buffer that
/// is mapped.
unsafe extern "C" fn sync_single_for_cpu(
    dev: *mut bindings::device,
    address: bindings::dma_addr_t,
    size: usize,
    dir: bindings::dma_data_direction,
) {
    let (Ok(span), Some((first, _))) = (Span::new(address, size), address::decode(address)) else {
        return;
    };

    if dir != bindings::dma_data_direction::DMA_TO_DEVICE {
        // SAFETY: As required from the caller.
        unsafe { state(dev) }.0.sync_for_cpu(first, &span);
    }
}

/// Has the device see what the driver has written to a buffer, or a part of one.
///
/// # Safety
///
/// As for [`sync_single_for_cpu`].
unsafe extern "C" fn sync_single_for_device(
    dev: *mut bindings::device,
    address: bindings::dma_addr_t,
    size: usize,
    dir: bindings::dma_data_direction,
) {
    let (Ok(span), Some((first, _))) = (Span::new(address, size), address::decode(address)) else {
        return;
    };

    // The driver writes nothing to a buffer that the device does, which may be doing that now.
    if dir != bindings::dma_data_direction::DMA_FROM_DEVICE {
        // SAFETY: As required from the caller.
        unsafe { state(dev) }.0.sync_for_device(first, &span);
    }
}

/// Has the driver see what the device has written to the buffers of a list.
///
/// # Safety
///
/// As for the operation: `dev` is a device with these operations, and the list is mapped.
unsafe extern "C" fn sync_sg_for_cpu(
    dev: *mut bindings::device,
    sg: *mut bindings::scatterlist,
    nents: c_int,
    dir: bindings::dma_data_direction,
) {
    // SAFETY: As required from the caller.
    for (address, size) in unsafe { list::addresses(sg, nents) } {
        // SAFETY: As required from the caller.
        unsafe { sync_single_for_cpu(dev, address, size, dir) };
    }
}

/// Has the device see what the driver has written to the buffers of a list.
///
/// # Safety
///
/// As for [`sync_sg_for_cpu`].
unsafe extern "C" fn sync_sg_for_device(
    dev: *mut bindings::device,
    sg: *mut bindings::scatterlist,
    nents: c_int,
    dir: bindings::dma_data_direction,
) {
    // SAFETY: As required from the caller.
    for (address, size) in unsafe { list::addresses(sg, nents) } {
        // SAFETY: As required from the caller.
        unsafe { sync_single_for_device(dev, address, size, dir) };
    }
}

#[kunit_tests(xen_grant_dma_operations)]
mod tests {
    use super::*;
    use kernel::{
        faux,
        page::{
            Page,
            PAGE_SIZE, //
        }, //
    };

    /// Calls `f` with a device that has operations, if that is not in a Xen guest, where there are
    /// references.
    fn with_device(isolate: bool, f: impl FnOnce(*mut bindings::device) -> Result) -> Result {
        if grant::capacity() != 0 {
            return Ok(());
        }

        let registration = faux::Registration::new(c"xen-grant-dma-test", None)?;
        let device: &faux::Device<_> = registration.as_ref();
        let device: &kernel::device::Device<_> = device.as_ref();
        // CAST: It is a transparent wrapper.
        let dev: *mut bindings::device = core::ptr::from_ref(device).cast_mut().cast();
        let device = create(0, isolate)?;

        // SAFETY: The device is the test's own, and exists as long as the registration.
        unsafe { (*dev).dma_ops = &raw const device.ops };

        let result = f(dev);

        let statistics = device.statistics();
        assert_eq!((statistics.maps, statistics.references), (0, 0));
        assert_eq!((statistics.bounced, statistics.broken), (0, 0));

        // SAFETY: As above.
        unsafe { (*dev).dma_ops = core::ptr::null() };
        // SAFETY: They were handed over by `into_raw`, and the device has others now. What was
        // mapped has been unmapped, by the statistics.
        unsafe { xen_grant_dma_destroy(&raw const (*Arc::into_raw(device)).ops) };
        result
    }

    /// Maps bytes of a page, and returns whether that worked.
    fn maps(
        dev: *mut bindings::device,
        page: &Page,
        size: usize,
        dir: bindings::dma_data_direction,
        attrs: c_ulong,
    ) -> bool {
        // SAFETY: `Page` has a valid page.
        let phys = unsafe { page::page_to_phys(NonNull::new_unchecked(page.as_ptr())) };

        // SAFETY: The device has these operations. The page is used for nothing else.
        let address = unsafe { map_phys(dev, phys, size, dir, attrs) };

        address != MAPPING_ERROR
    }

    #[test]
    fn without_references_nothing_is_mapped() -> Result {
        let page = Page::alloc_page(GFP_KERNEL)?;
        let both = bindings::dma_data_direction::DMA_BIDIRECTIONAL;

        for isolate in [false, true] {
            with_device(isolate, |dev| {
                assert!(!maps(dev, &page, PAGE_SIZE, both, 0));
                assert!(!maps(dev, &page, 1, both, SKIP_CPU_SYNC));
                assert!(!maps(dev, &page, 0, both, 0));
                assert!(!maps(dev, &page, PAGE_SIZE, both, MMIO));
                assert!(!maps(
                    dev,
                    &page,
                    PAGE_SIZE,
                    bindings::dma_data_direction::DMA_NONE,
                    0
                ));
                Ok(())
            })?;
        }
        Ok(())
    }

    #[test]
    fn without_references_nothing_is_allocated() -> Result {
        with_device(false, |dev| {
            let mut address = 0;

            for size in [0, 1, PAGE_SIZE, usize::MAX] {
                // SAFETY: The device has these operations, and there is room for an address.
                let memory = unsafe { alloc(dev, size, &mut address, bindings::GFP_KERNEL, 0) };

                assert!(memory.is_null());
            }
            Ok(())
        })
    }

    #[test]
    fn addresses_have_64_bits_and_buffers_a_limit() -> Result {
        with_device(false, |dev| {
            // SAFETY: There are no requirements.
            assert_eq!(unsafe { dma_supported(dev, u64::MAX) }, 1);
            // SAFETY: As above.
            assert_eq!(unsafe { dma_supported(dev, u64::MAX >> 1) }, 0);
            // SAFETY: The device has these operations.
            assert_eq!(unsafe { max_mapping_size(dev) }, 0);
            Ok(())
        })
    }

    #[test]
    fn backends_are_domains() {
        assert!(create(bindings::DOMID_FIRST_RESERVED, false).is_err());
        assert!(create(0x10000, true).is_err());
    }
}
