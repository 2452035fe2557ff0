// SPDX-License-Identifier: GPL-2.0

//! The DMA operations of devices, against what is granted and what is in memory.

use super::{
    check,
    list::{buffer, Chain},
    number, Draws,
};
use crate::grant_dma_ops::{
    address::{decode, encode, Part, Span, FRAME},
    cache::BLOCK,
    device::{Device, Transfer},
    limits::Limits,
    list::{addresses, List, MappedList},
    memory::{Buffer, Pages},
    owner::Owner,
    DEVICES, QUARANTINE,
};
use kernel::{
    bindings::{self, grants, memory, ASKED},
    host,
    page::PAGE_SIZE,
    prelude::*,
    sync::Arc,
    xen::grant::{DomId, Granted},
};
use std::{
    collections::BTreeSet,
    ptr::NonNull,
    time::{Duration, Instant},
};

/// The pages that drivers have, from the first on.
const PAGES: usize = 64;
/// Those of them that can't be pinned, as they are of a kind of their own.
const SLAB: std::ops::Range<usize> = 20..30;
/// The domain that the first device's backend is in; that of the next is one more.
const DOMAIN: u16 = 3;

#[derive(Clone, Debug)]
enum Op {
    Map(usize, (usize, usize, usize), bool, bool),
    Unmap(usize, bool),
    MapList(usize, Vec<(usize, usize, usize)>, bool, bool),
    UnmapList(usize, bool),
    Alloc(usize, usize),
    Free(usize),
    SyncForCpu(usize),
    SyncForDevice(usize),
    /// The device writes to all that it can.
    Write,
    /// A backend holds on to what is granted, or lets go of it.
    Hold(usize),
    LetGo(usize),
    Retry,
    /// Before the next operation that may fail, so many others succeed.
    Fail(usize),
}

/// A buffer that is mapped.
struct Mapping {
    device: usize,
    buffer: (usize, usize, usize),
    from_device: bool,
    granted: Granted,
}

/// A list that is mapped.
struct ListMapping {
    references: Vec<u32>,
    device: usize,
    chain: Chain,
    buffers: Vec<(usize, usize, usize)>,
    from_device: bool,
}

/// Memory that is shared.
struct Shared {
    device: usize,
    pages: NonNull<c_void>,
    span: Span,
    granted: Granted,
}

/// Some devices of some backends.
struct World {
    devices: Vec<(Arc<Device>, bool)>,
    mappings: Vec<Mapping>,
    lists: Vec<ListMapping>,
    shared: Vec<Shared>,
    broken: BTreeSet<usize>,
    held: BTreeSet<u32>,
    /// What is kept back: of which device, and the references that can be had only together.
    quarantined: Vec<(usize, Vec<u32>)>,
    /// The references among these that are of pages that are pinned.
    pinned: BTreeSet<u32>,
    /// What has been counted, by device.
    bounced: Vec<u64>,
    exposed: Vec<u64>,
    capacity: u32,
    fails: bool,
    byte: u8,
}

/// Whoever is told.
fn owner() -> Owner<'static> {
    // SAFETY: Nobody looks at the device.
    unsafe { Owner::new(NonNull::dangling().as_ptr()) }
}

fn span((_, offset, size): (usize, usize, usize)) -> Span {
    Span::new(offset as u64, size).unwrap()
}

/// The addresses of the bytes of a buffer.
fn bytes((page, offset, size): (usize, usize, usize)) -> impl Iterator<Item = *mut u8> {
    let first: *mut u8 = memory::address(page).cast();

    (0..size).map(move |at| first.wrapping_add(offset + at))
}

/// What is in a buffer.
fn contents(buffer: (usize, usize, usize)) -> Vec<u8> {
    // SAFETY: It is memory, and there is one thread.
    bytes(buffer).map(|byte| unsafe { byte.read() }).collect()
}

/// The address of a byte in a frame.
fn frame_byte(frame: usize, at: usize) -> *mut u8 {
    memory::address(frame).cast::<u8>().wrapping_add(at)
}

fn make(device: usize, isolated: bool, capacity: u32) -> Arc<Device> {
    let domain = DomId::new((DOMAIN as usize + device) as u32).unwrap();
    let ops = bindings::dma_map_ops;
    let listed = Device::new(ops, domain, isolated, Limits::new(capacity)).unwrap();
    let device = listed.clone_arc();

    DEVICES.lock().push_back(listed);
    device
}

impl World {
    fn new(capacity: u32, isolated: &[bool]) -> Self {
        host::fail_nth(None);
        // SAFETY: There is one thread.
        unsafe {
            QUARANTINE.init();
            DEVICES.init();
        }
        grants::reset(capacity);
        memory::reset(PAGES);
        memory::SLAB.lock().extend(SLAB);
        *ASKED.lock() = bindings::Asked::default();
        Self {
            devices: isolated
                .iter()
                .enumerate()
                .map(|(nr, isolated)| (make(nr, *isolated, capacity), *isolated))
                .collect(),
            mappings: Vec::new(),
            lists: Vec::new(),
            shared: Vec::new(),
            broken: BTreeSet::new(),
            held: BTreeSet::new(),
            quarantined: Vec::new(),
            pinned: BTreeSet::new(),
            bounced: vec![0; isolated.len()],
            exposed: vec![0; isolated.len()],
            capacity,
            fails: false,
            byte: 0,
        }
    }

    fn has_failed(&mut self) -> bool {
        host::fail_nth(None);
        std::mem::take(&mut self.fails)
    }

    /// Checks what is granted for a buffer, from a reference on.
    fn check_access(
        &self,
        device: usize,
        buffer: (usize, usize, usize),
        first: u32,
        from_device: bool,
    ) {
        let span = span(buffer);

        for part in span.parts() {
            let access = grants::access(first + part.frame).unwrap();
            let frame = buffer.0 + buffer.1 / FRAME + part.frame as usize;
            let is_bounced = self.devices[device].1 && part.len < FRAME;

            assert_eq!(access.domain, DOMAIN + device as u16);
            assert_eq!(access.readonly, !from_device);
            assert_eq!(access.frame == frame, !is_bounced);
            assert!(!is_bounced || access.frame >= PAGES);
        }
    }

    /// Checks that a backend sees the bytes of a buffer, and of an isolated one no others.
    fn check_contents(&self, device: usize, buffer: (usize, usize, usize), first: u32) {
        let span = span(buffer);
        let mut expected = bytes(buffer);

        for part in span.parts() {
            let frame = grants::access(first + part.frame).unwrap().frame;

            for at in 0..FRAME {
                // SAFETY: It is memory, and there is one thread.
                let byte = unsafe { frame_byte(frame, at).read() };

                if (part.offset..part.offset + part.len).contains(&at) {
                    // SAFETY: As above.
                    assert_eq!(byte, unsafe { expected.next().unwrap().read() });
                } else if self.devices[device].1 {
                    assert_eq!(byte, 0);
                }
            }
        }
        assert!(expected.next().is_none());
    }

    /// The references of a buffer that are held now.
    fn held_of(&self, first: u32, frames: u32) -> Vec<u32> {
        self.held.range(first..first + frames).copied().collect()
    }

    fn quarantine(&mut self, device: usize, held: Vec<u32>) {
        if !held.is_empty() {
            self.broken.insert(device);
            self.quarantined.push((device, held));
        }
    }

    /// Keeps each of these back by itself.
    fn quarantine_each(&mut self, device: usize, held: Vec<u32>) {
        for reference in held {
            self.quarantine(device, vec![reference]);
        }
    }

    /// How many parts of a buffer are copied.
    fn nr_bounced(&self, device: usize, buffer: (usize, usize, usize)) -> u64 {
        let copied = |part: &Part| self.devices[device].1 && part.len < FRAME;

        span(buffer).parts().filter(copied).count() as u64
    }

    /// Notes what a backend still has of a buffer that is unmapped.
    fn expose(&mut self, device: usize, buffer: (usize, usize, usize), first: u32) {
        for part in span(buffer).parts() {
            let reference = first + part.frame;
            let is_bounced = self.devices[device].1 && part.len < FRAME;

            if !self.held.contains(&reference) || is_bounced {
                continue;
            }
            self.exposed[device] += 1;
            if !SLAB.contains(&(buffer.0 + buffer.1 / FRAME + part.frame as usize)) {
                self.pinned.insert(reference);
            }
        }
    }

    /// Whether there is one reference for a device, from wherever.
    fn has_reference(&self) -> bool {
        let free = self.capacity - grants::nr_allocated() as u32;
        let owned = |(device, _): &(Arc<Device>, bool)| device.statistics().references;
        let owned: u64 = self.devices.iter().map(owned).sum();
        let quarantined: usize = self.quarantined.iter().map(|(_, held)| held.len()).sum();
        // What is kept back counts as granted, whatever it is.
        let granted = grants::nr_allocated() - quarantined;
        let in_use = self.mapped().len() - quarantined;

        assert_eq!(owned, granted as u64);
        free > Limits::new(self.capacity).reserve || granted > in_use
    }

    /// The references that are known to be in use, or to be kept back, none of them twice.
    fn mapped(&self) -> BTreeSet<u32> {
        let run = |granted: &Granted| {
            let first = granted.first().as_raw();

            first..first + granted.count()
        };
        let kept = self.quarantined.iter().flat_map(|(_, held)| held.clone());
        let lists = self.lists.iter().flat_map(|list| list.references.clone());
        let all: Vec<_> = kept
            .chain(lists)
            .chain(
                self.mappings
                    .iter()
                    .flat_map(|mapping| run(&mapping.granted)),
            )
            .chain(self.shared.iter().flat_map(|shared| run(&shared.granted)))
            .collect();
        let mapped: BTreeSet<_> = all.iter().copied().collect();

        assert_eq!(mapped.len(), all.len(), "references are handed out twice");
        mapped
    }

    fn map(&mut self, nr: usize, buffer: (usize, usize, usize), from_device: bool, sync: bool) {
        let (device, isolated) = &self.devices[nr];
        let page = NonNull::new(memory::page(buffer.0)).unwrap();
        // SAFETY: It is memory of a driver.
        let made = unsafe { Buffer::new(page, buffer.1, buffer.2, device.longest()) };
        let Ok(made) = made else {
            assert!(span(buffer).frames() > device.longest());
            return;
        };
        let (isolated, transfer) = (*isolated, Transfer { from_device, sync });
        let before = grants::granted();
        let can_do = self.has_reference();
        let result = device.map(owner(), made, transfer);
        let is_excused = self.has_failed();

        match result {
            Ok(granted) => {
                assert!(!self.broken.contains(&nr));

                let first = granted.first().as_raw();

                assert_eq!(granted.count(), span(buffer).frames());
                self.check_access(nr, buffer, first, from_device);
                self.bounced[nr] += self.nr_bounced(nr, buffer);
                if sync || from_device || !isolated {
                    self.check_contents(nr, buffer, first);
                }
                self.mappings.push(Mapping {
                    device: nr,
                    buffer,
                    from_device,
                    granted,
                });
            }
            Err(error) => {
                assert_eq!(grants::granted(), before);
                if self.broken.contains(&nr) {
                    assert_eq!(error, EIO);
                } else {
                    let is_small = span(buffer).frames() == 1;

                    assert!(is_excused || error == ENOSPC, "{error:?}");
                    assert!(is_excused || !can_do || !is_small);
                }
            }
        }
    }

    fn unmap(&mut self, at: usize, sync: bool) {
        self.has_failed();

        let Mapping {
            device,
            buffer,
            from_device,
            granted,
        } = self.mappings.swap_remove(at);
        let first = granted.first().as_raw();
        let frames = granted.count();
        let held = self.held_of(first, frames);
        let transfer = Transfer { from_device, sync };
        let wanted = if sync && from_device {
            self.seen(buffer, first)
        } else {
            contents(buffer)
        };

        self.devices[device]
            .0
            .unmap(owner(), granted, &span(buffer), transfer);
        assert_eq!(contents(buffer), wanted);
        for reference in first..first + frames {
            assert_eq!(
                grants::access(reference).is_some(),
                held.contains(&reference)
            );
        }
        self.expose(device, buffer, first);
        self.quarantine_each(device, held);
    }

    /// The bytes of a buffer as its backend sees them.
    fn seen(&self, buffer: (usize, usize, usize), first: u32) -> Vec<u8> {
        let mut seen = Vec::new();

        for part in span(buffer).parts() {
            let frame = grants::access(first + part.frame).unwrap().frame;

            for at in part.offset..part.offset + part.len {
                // SAFETY: It is memory, and there is one thread.
                seen.push(unsafe { frame_byte(frame, at).read() });
            }
        }
        seen
    }

    fn map_list(
        &mut self,
        nr: usize,
        buffers: &[(usize, usize, usize)],
        from_device: bool,
        sync: bool,
    ) {
        let mut chain = Chain::new(buffers, 5);
        // SAFETY: There are as many entries; the memory is the driver's.
        let list = unsafe { List::new(chain.first(), buffers.len() as u32) };
        let transfer = Transfer { from_device, sync };
        let device = &self.devices[nr].0;
        let before = grants::granted();
        let result = device.map_list(owner(), list, transfer);
        let is_excused = self.has_failed();

        match result {
            Ok(()) => {
                let mut references = Vec::new();

                assert!(!self.broken.contains(&nr));
                for (buffer, (address, size)) in
                    // SAFETY: The list has just been mapped.
                    buffers
                        .iter()
                        .zip(unsafe { addresses(chain.first(), buffers.len() as c_int) })
                {
                    let (first, offset) = decode(address).unwrap();
                    let run = first.as_raw()..first.as_raw() + span(*buffer).frames();

                    references.extend(run);
                    self.bounced[nr] += self.nr_bounced(nr, *buffer);
                    assert_eq!((size, offset), (buffer.2, buffer.1 % FRAME));
                    self.check_access(nr, *buffer, first.as_raw(), from_device);
                    if sync && !buffers.is_empty() {
                        self.check_contents(nr, *buffer, first.as_raw());
                    }
                }
                self.lists.push(ListMapping {
                    references,
                    device: nr,
                    chain,
                    buffers: buffers.to_vec(),
                    from_device,
                });
            }
            Err(error) => {
                // What was granted before it failed is not any more, but was counted.
                assert_eq!(grants::granted(), before);
                self.bounced[nr] = self.devices[nr].0.statistics().bounced;
                if self.broken.contains(&nr) {
                    assert_eq!(error, EIO);
                } else if buffers.is_empty() {
                    assert_eq!(error, EINVAL);
                } else {
                    let longest = self.devices[nr].0.longest();
                    let is_long = buffers
                        .iter()
                        .any(|buffer| span(*buffer).frames() > longest);

                    assert!(is_excused || is_long || error == ENOSPC, "{error:?}");
                }
            }
        }
    }

    fn unmap_list(&mut self, at: usize, sync: bool) {
        self.has_failed();

        let ListMapping {
            references,
            device,
            mut chain,
            buffers,
            from_device,
        } = self.lists.swap_remove(at);
        let first = chain.first();
        let len = buffers.len();
        // SAFETY: The list is mapped.
        let addresses: Vec<_> = unsafe { addresses(first, len as c_int) }.collect();
        let transfer = Transfer { from_device, sync };

        // SAFETY: The list is mapped, and nobody else knows it.
        let list = unsafe { MappedList::new(first, len as u32) };
        let held: Vec<_> = references
            .iter()
            .copied()
            .filter(|reference| self.held.contains(reference))
            .collect();

        self.devices[device].0.unmap_list(owner(), list, transfer);
        for reference in references {
            assert_eq!(
                grants::access(reference).is_some(),
                held.contains(&reference)
            );
        }
        for (buffer, (address, _)) in buffers.iter().zip(addresses) {
            self.expose(device, *buffer, decode(address).unwrap().0.as_raw());
        }
        self.quarantine_each(device, held);
    }

    fn alloc(&mut self, nr: usize, size: usize) {
        let span = Span::new(0, size).unwrap();
        let before = grants::granted();
        let longest = self.devices[nr].0.longest();
        let result = self.devices[nr].0.alloc_pages(&span, bindings::GFP_ATOMIC);
        let is_excused = self.has_failed();

        match result {
            Ok((pages, granted)) => {
                let pages = pages.into_raw();
                let first = memory::pfn_at(pages.as_ptr());

                assert!(!self.broken.contains(&nr));
                assert_eq!(granted.count(), span.frames());
                for frame in 0..span.frames() {
                    let access = grants::access(granted.first().as_raw() + frame).unwrap();

                    assert_eq!(access.frame, first + frame as usize);
                    assert!(!access.readonly && access.domain == DOMAIN + nr as u16);
                    for at in 0..FRAME {
                        // SAFETY: It is memory, and there is one thread.
                        assert_eq!(unsafe { frame_byte(access.frame, at).read() }, 0);
                    }
                }
                self.shared.push(Shared {
                    device: nr,
                    pages,
                    span,
                    granted,
                });
            }
            Err(error) => {
                assert_eq!(grants::granted(), before);
                if self.broken.contains(&nr) {
                    assert_eq!(error, EIO);
                } else if span.frames() > longest {
                    assert_eq!(error, ENOMEM);
                } else {
                    assert!(
                        is_excused || error == ENOSPC || error == ENOMEM,
                        "{error:?}"
                    );
                }
            }
        }
    }

    fn free(&mut self, at: usize) {
        self.has_failed();

        let Shared {
            device,
            pages,
            span,
            granted,
        } = self.shared.swap_remove(at);
        let (first, frames) = (granted.first().as_raw(), granted.count());
        let is_held = !self.held_of(first, frames).is_empty();
        // SAFETY: It was handed over by `into_raw`.
        let pages = unsafe { Pages::from_raw(pages, &span) };

        self.devices[device].0.free_pages(owner(), pages, granted);
        // Such memory is kept as a whole.
        self.quarantine(
            device,
            if is_held {
                (first..first + frames).collect()
            } else {
                vec![]
            },
        );
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Map(nr, buffer, from_device, sync) => {
                self.map(nr % self.devices.len(), buffer, from_device, sync)
            }
            Op::Unmap(at, sync) if !self.mappings.is_empty() => {
                self.unmap(at % self.mappings.len(), sync)
            }
            Op::MapList(nr, ref buffers, from_device, sync) => {
                self.map_list(nr % self.devices.len(), buffers, from_device, sync)
            }
            Op::UnmapList(at, sync) if !self.lists.is_empty() => {
                self.unmap_list(at % self.lists.len(), sync)
            }
            Op::Alloc(nr, size) => self.alloc(nr % self.devices.len(), size),
            Op::Free(at) if !self.shared.is_empty() => self.free(at % self.shared.len()),
            Op::SyncForCpu(at) if !self.mappings.is_empty() => {
                let mapping = &self.mappings[at % self.mappings.len()];
                let first = mapping.granted.first();
                let seen = self.seen(mapping.buffer, first.as_raw());
                let device = &self.devices[mapping.device].0;

                device.sync_for_cpu(first, &span(mapping.buffer));
                assert_eq!(contents(mapping.buffer), seen);
            }
            Op::SyncForDevice(at) if !self.mappings.is_empty() => {
                let mapping = &self.mappings[at % self.mappings.len()];
                let (page, offset, size) = mapping.buffer;
                // A part of it, as drivers may do.
                let skip = size / 3;
                let first = mapping.granted.first();
                let whole = span(mapping.buffer);
                let address = encode(first, whole.offset()) + skip as u64;
                let (first, _) = decode(address).unwrap();
                let part = Span::new(address, size - skip).unwrap();
                let device = &self.devices[mapping.device].0;

                device.sync_for_device(first, &part);

                let seen = self.seen((page, offset + skip, size - skip), first.as_raw());
                assert_eq!(contents(mapping.buffer)[skip..], seen);
            }
            Op::Write => self.write(),
            Op::Hold(at) => {
                let granted = grants::granted();

                if !granted.is_empty() {
                    let (reference, _) = granted[at % granted.len()];

                    grants::hold(reference, true);
                    self.held.insert(reference);
                }
            }
            Op::LetGo(at) if !self.held.is_empty() => {
                let reference = *self.held.iter().nth(at % self.held.len()).unwrap();

                grants::hold(reference, false);
                self.held.remove(&reference);
            }
            Op::Retry => self.retry(),
            Op::Fail(nth) => {
                host::fail_nth(Some(nth));
                self.fails = true;
            }
            _ => {}
        }
        self.compare();
    }

    /// Has backends and drivers write to what they have.
    fn write(&mut self) {
        let drivers: Vec<_> = (0..PAGES)
            .flat_map(|page| bytes((page, 0, PAGE_SIZE)))
            .collect();

        for byte in drivers {
            self.byte = self.byte.wrapping_mul(5).wrapping_add(1);
            // SAFETY: It is memory, and there is one thread.
            unsafe { byte.write(self.byte) };
        }
        for mapping in &self.mappings {
            if !mapping.from_device {
                continue;
            }
            for part in span(mapping.buffer).parts() {
                let reference = mapping.granted.first().as_raw() + part.frame;
                let frame = grants::access(reference).unwrap().frame;

                for at in part.offset..part.offset + part.len {
                    self.byte = self.byte.wrapping_mul(5).wrapping_add(3);
                    // SAFETY: As above.
                    unsafe { frame_byte(frame, at).write(self.byte) };
                }
            }
        }
    }

    /// Does what the work of the kernel does.
    fn retry(&mut self) {
        let held = QUARANTINE.lock().take().retry();
        let mut list = QUARANTINE.lock();

        list.append(held);
        drop(list);

        let held = &self.held;

        self.quarantined
            .retain(|(_, references)| references.iter().any(|one| held.contains(one)));
        self.pinned.retain(|one| held.contains(one));
    }

    /// Compares what there is with what devices say.
    fn compare(&mut self) {
        let mut owned = 0;
        let mapped = self.mapped();

        // Whatever is granted is known to be, and has not been handed out twice.
        for (reference, _) in grants::granted() {
            assert!(mapped.contains(&reference), "{reference} is granted");
        }
        for (nr, (device, _)) in self.devices.iter().enumerate() {
            let statistics = device.statistics();
            let lists = self.lists.iter().filter(|list| list.device == nr);
            let maps = self
                .mappings
                .iter()
                .filter(|mapping| mapping.device == nr)
                .count()
                + lists.map(|list| list.buffers.len()).sum::<usize>();
            let quarantined = self.quarantined.iter().filter(|(device, _)| *device == nr);
            let quarantined: usize = quarantined.map(|(_, held)| held.len()).sum();

            assert_eq!(statistics.backend, u64::from(DOMAIN) + nr as u64);
            assert_eq!(statistics.maps, maps as u64);
            assert_eq!(statistics.quarantined, quarantined as u64);
            assert_eq!(statistics.broken, u64::from(self.broken.contains(&nr)));
            assert_eq!(
                (statistics.bounced, statistics.exposed),
                (self.bounced[nr], self.exposed[nr])
            );
            owned += statistics.references + statistics.quarantined;
        }
        assert_eq!(grants::nr_allocated() as u64, owned);
        assert_eq!(memory::nr_pinned(), self.pinned.len());
        assert_eq!(ASKED.lock().broken, self.broken.len());
        assert!(ASKED.lock().retry > 0 || self.quarantined.is_empty());
    }

    fn end(mut self) {
        self.has_failed();
        for reference in std::mem::take(&mut self.held) {
            grants::hold(reference, false);
        }
        while !self.mappings.is_empty() {
            self.unmap(0, true);
        }
        while !self.lists.is_empty() {
            self.unmap_list(0, true);
        }
        while !self.shared.is_empty() {
            self.free(0);
        }
        self.retry();
        assert!(self.quarantined.is_empty() && QUARANTINE.lock().is_empty());
        self.compare();
        assert_eq!(memory::nr_allocated(), PAGES);
        assert_eq!(memory::nr_pinned(), 0);
        for (device, _) in self.devices {
            // SAFETY: It can't be in another list, as there is none.
            let listed = unsafe { DEVICES.lock().remove(&device) };

            assert!(listed.is_some());
            assert!(!device.retire());
        }
        assert_eq!(grants::nr_allocated(), 0);
    }
}

fn operation(draws: &mut Draws) -> Op {
    match draws.weighted(&[6, 5, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1]) {
        0 => Op::Map(draws.below(3), buffer(draws), draws.flag(), draws.flag()),
        1 => Op::Unmap(draws.draw(), draws.flag()),
        2 => Op::MapList(
            draws.below(3),
            draws.list(18, buffer),
            draws.flag(),
            draws.flag(),
        ),
        3 => Op::UnmapList(draws.draw(), draws.flag()),
        4 => Op::Alloc(draws.below(3), draws.within(1..9 * FRAME)),
        5 => Op::Free(draws.draw()),
        6 => Op::SyncForCpu(draws.draw()),
        7 => Op::SyncForDevice(draws.draw()),
        8 => Op::Write,
        9 => Op::Hold(draws.draw()),
        10 => Op::LetGo(draws.draw()),
        11 => Op::Retry,
        _ => Op::Fail(draws.below(4)),
    }
}

#[test]
fn random_operations() {
    let make = |first: &mut Draws, steps: Vec<Draws>| {
        let capacity = [first.within(64..300) as u32, 2000][first.below(2)];
        let isolated: Vec<_> = (0..first.within(1..4)).map(|_| first.flag()).collect();
        let ops: Vec<_> = steps
            .into_iter()
            .map(|mut draws| operation(&mut draws))
            .collect();

        (capacity, isolated, ops)
    };

    check(50, make, |(capacity, isolated, ops)| {
        let mut world = World::new(*capacity, isolated);

        for op in ops {
            world.apply(op);
        }
        world.end();
    });
}

/// Maps a list that needs more references than the cache has, and unmaps it, for the second time
/// while the backend holds one: that of the buffer `at`.
fn list_beyond_the_cache(at: usize) {
    let nr = BLOCK as usize + 6;
    let pages: Vec<_> = (0..nr).map(|nr| (nr % 40, 0, FRAME)).collect();
    let mut world = World::new(2000, &[false]);

    for held in [None, Some(at)] {
        world.map_list(0, &pages, true, true);
        world.compare();

        let references = world.lists[0].references.clone();

        assert!(references.windows(2).all(|two| two[0] + 1 == two[1]));
        if let Some(held) = held.map(|held| references[held]) {
            world.held.insert(held);
            grants::hold(held, true);
        }
        world.unmap_list(0, true);
        world.compare();

        let statistics = world.devices[0].0.statistics();
        let of_cache = u64::from(held.is_some_and(|held| held < BLOCK as usize));

        assert_eq!(statistics.references, u64::from(BLOCK) - of_cache);
    }
    world.end();
}

#[test]
fn a_list_returns_each_reference_to_where_it_is_from() {
    list_beyond_the_cache(3);
    list_beyond_the_cache(BLOCK as usize + 2);
}

#[test]
fn what_a_device_leaves_mapped_can_be_unmapped() {
    let world = World::new(200, &[true, true]);
    let device = &world.devices[0].0;
    let transfer = Transfer {
        from_device: true,
        sync: true,
    };
    let page = NonNull::new(memory::page(1)).unwrap();
    // SAFETY: It is memory of a driver.
    let buffer = unsafe { Buffer::new(page, 9, 9, device.longest()) }.unwrap();
    let granted = device.map(owner(), buffer, transfer).unwrap();
    let allocated = memory::nr_allocated();
    let frame = grants::access(granted.first().as_raw()).unwrap().frame;

    assert!(device.retire());
    assert_eq!(memory::nr_allocated(), allocated);
    assert!(frame >= PAGES && grants::nr_allocated() == 1);
    assert!(matches!(device.map(owner(), buffer, transfer), Err(EIO)));

    // SAFETY: It is the page that the device sees.
    unsafe { *memory::address(frame).cast::<u8>().add(9) = 7 };
    device.unmap(owner(), granted, buffer.span(), transfer);
    // SAFETY: It is memory of a driver, which has it back.
    assert_eq!(unsafe { *memory::address(1).cast::<u8>().add(9) }, 7);
    assert_eq!(memory::nr_allocated(), allocated - 1);
    assert!(!device.retire());
    assert_eq!(grants::nr_allocated(), 0);

    let span = Span::new(0, 2 * FRAME).unwrap();
    let device = &world.devices[1].0;
    let (pages, granted) = device.alloc_pages(&span, bindings::GFP_ATOMIC).unwrap();

    assert!(device.retire());
    device.free_pages(owner(), pages, granted);
    assert!(!device.retire());
    assert_eq!(grants::nr_allocated(), 0);
}

#[test]
fn what_a_device_leaves_mapped_is_unmapped_by_the_next_driver() {
    let world = World::new(200, &[true]);
    let device = &world.devices[0].0;
    let transfer = Transfer {
        from_device: true,
        sync: true,
    };
    let map = |page| {
        let page = NonNull::new(memory::page(page)).unwrap();
        // SAFETY: It is memory of a driver.
        let buffer = unsafe { Buffer::new(page, 9, 9, device.longest()) }.unwrap();

        (device.map(owner(), buffer, transfer), buffer)
    };
    let (left, left_buffer) = map(1);

    assert!(device.retire());
    assert!(matches!(map(2).0, Err(EIO)));
    device.revive();

    let (granted, buffer) = map(2);

    device.unmap(owner(), left.unwrap(), left_buffer.span(), transfer);
    assert!(device.retire());
    assert_eq!(grants::nr_allocated(), 1);
    device.unmap(owner(), granted.unwrap(), buffer.span(), transfer);
    assert!(!device.retire());
    assert_eq!(grants::nr_allocated(), 0);
}

#[test]
fn the_largest_buffer_can_be_mapped() {
    let world = World::new(200, &[false]);
    let device = &world.devices[0].0;
    let largest = device.max_size();
    let page = NonNull::new(memory::page(1)).unwrap();
    // SAFETY: They are only asked whether they are not too many frames.
    let new = |size| unsafe { Buffer::new(page, FRAME - 1, size, device.longest()) };

    assert!(largest > FRAME);
    assert!(new(largest).is_ok());
    assert!(new(largest + 2).is_err());
    world.end();
}

#[test]
fn what_there_is_no_memory_to_note_is_not_had_back() {
    let mut world = World::new(200, &[false]);

    world.map(0, (1, 0, 1), true, true);

    let mapping = world.mappings.pop().unwrap();
    let (device, reference) = (&world.devices[0].0, mapping.granted.first().as_raw());
    let transfer = Transfer {
        from_device: true,
        sync: true,
    };

    grants::hold(reference, true);
    host::fail_nth(Some(0));
    device.unmap(owner(), mapping.granted, &span(mapping.buffer), transfer);
    assert!(!host::fail_nth(None));
    assert!(QUARANTINE.lock().is_empty());
    assert_eq!(memory::nr_pinned(), 1);

    let statistics = device.statistics();

    assert_eq!((statistics.quarantined, statistics.broken), (1, 1));
    assert_eq!((statistics.maps, statistics.exposed), (0, 1));
}

#[test]
fn several_threads() {
    const ROUNDS: usize = 1500;

    let end = Instant::now() + Duration::from_secs(number("XEN_HOST_SECONDS").unwrap_or(0));
    let mut world = World::new(400, &[false, true]);
    let devices: Vec<_> = world
        .devices
        .iter()
        .map(|(device, _)| device.clone())
        .collect();

    std::thread::scope(|scope| {
        for thread in 0..4 {
            let device: &Device = &devices[thread % 2];

            scope.spawn(move || {
                let mut random = thread as u32 + 1;
                let mut below = |limit: usize| {
                    random = random.wrapping_mul(1_103_515_245).wrapping_add(12345);
                    (random >> 12) as usize % limit
                };
                let mut out = Vec::new();
                let mut round = 0;
                // Each has pages of its own.
                let page = 16 * thread;

                while round < ROUNDS || Instant::now() < end {
                    round += 1;

                    let transfer = Transfer {
                        from_device: below(2) == 0,
                        sync: below(2) == 0,
                    };

                    if below(3) == 0 {
                        let buffers: Vec<_> = (0..1 + below(6))
                            .map(|nr| (page + nr, below(9), 1 + below(5000)))
                            .collect();
                        let mut chain = Chain::new(&buffers, 4);
                        let len = buffers.len() as u32;
                        // SAFETY: There are as many entries, of this thread's memory.
                        let list = unsafe { List::new(chain.first(), len) };

                        if device.map_list(owner(), list, transfer).is_ok() {
                            // SAFETY: The list was mapped.
                            let list = unsafe { MappedList::new(chain.first(), len) };

                            device.unmap_list(owner(), list, transfer);
                        }
                    } else if below(2) == 0 || out.len() > 20 {
                        if !out.is_empty() {
                            let (granted, span, transfer) = out.swap_remove(below(out.len()));

                            device.unmap(owner(), granted, &span, transfer);
                        }
                    } else {
                        let first = NonNull::new(memory::page(page)).unwrap();
                        let (offset, size) = (below(3000), 1 + below(9000));
                        // SAFETY: It is this thread's memory.
                        let buffer = unsafe { Buffer::new(first, offset, size, device.longest()) };
                        let buffer = buffer.unwrap();

                        if let Ok(granted) = device.map(owner(), buffer, transfer) {
                            out.push((granted, *buffer.span(), transfer));
                        }
                    }
                }
                for (granted, span, transfer) in out {
                    device.unmap(owner(), granted, &span, transfer);
                }
            });
        }
    });
    drop(devices);
    for (nr, (device, _)) in world.devices.iter().enumerate() {
        world.bounced[nr] = device.statistics().bounced;
    }
    world.end();
}
