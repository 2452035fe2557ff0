// SPDX-License-Identifier: GPL-2.0

//! A device that has a backend, and what it does DMA with.

use super::{
    address::{
        Part,
        Span, //
    },
    cache::{
        Cache,
        Part as CachePart,
        BLOCK, //
    },
    limits::Limits,
    list::{
        List,
        MappedList, //
    },
    memory::{
        Bounce,
        Buffer,
        Pages,
        Pinned, //
    },
    owner::Owner,
    quarantine::{
        Held,
        Quarantine, //
    },
    DEVICES,
    QUARANTINE, //
};
use core::mem;
use kernel::{
    bindings,
    list::{
        impl_list_arc_safe,
        impl_list_item,
        ListArc,
        ListLinks, //
    },
    new_spinlock_irq,
    prelude::*,
    rbtree::{
        RBTree,
        RBTreeNodeReservation, //
    },
    sync::{
        atomic::{
            Acquire,
            Atomic,
            AtomicFlag,
            Relaxed,
            Release, //
        },
        Arc,
        SpinLockIrq, //
    },
    xen::grant::{
        Access,
        DomId,
        GrantRef,
        Granted,
        References, //
    }, //
};

/// What is counted for a device, and can outlive it.
///
/// The numbers are for people to look at, nothing is ordered by them.
pub(crate) struct Counters {
    /// References that the backend has not let go of.
    pub(crate) quarantined: Atomic<i64>,
    /// Parts of frames that have been copied.
    pub(crate) bounced: Atomic<i64>,
    /// Frames of streaming buffers that the backend had access to after they were unmapped.
    pub(crate) exposed: Atomic<i64>,
}

/// Memory that a backend still has access to, to be freed afterwards.
#[expect(dead_code, reason = "nothing but dropping it is done with the memory")]
enum Kept {
    /// Memory that was shared for long.
    Pages(Pages),
    /// A copy of a part of a buffer.
    Bounce(Bounce),
    /// A part of a buffer, which belongs to a driver. It may be freed and used for something else,
    /// but for the page's being pinned, if it could be.
    Streaming(Option<Pinned>),
}

/// References that a backend has not let go of, with the memory.
pub(crate) struct HeldGrant {
    granted: Granted,
    kept: Kept,
    counters: Arc<Counters>,
}

impl Held for HeldGrant {
    fn release(self) -> Result<(), Self> {
        let Self {
            granted,
            kept,
            counters,
        } = self;

        match granted.end() {
            Ok(references) => {
                counters
                    .quarantined
                    .add(-i64::from(references.count()), Relaxed);
                Ok(())
            }
            Err(granted) => Err(Self {
                granted,
                kept,
                counters,
            }),
        }
    }
}

/// What a driver wants to be done with a buffer.
#[derive(Clone, Copy)]
pub(crate) struct Transfer {
    /// The device writes to the buffer.
    pub(crate) from_device: bool,
    /// What is in the buffer is to be seen by the device, or what the device has written by the
    /// driver, without another call.
    pub(crate) sync: bool,
}

impl Transfer {
    /// What a backend may do with the memory.
    #[inline]
    fn access(self) -> Access {
        if self.from_device {
            Access::ReadWrite
        } else {
            Access::ReadOnly
        }
    }

    /// Whether a copy of the buffer must have its contents when it is mapped.
    ///
    /// Where the device writes it may leave out some of the bytes, which must not change then.
    fn copies_in(self) -> bool {
        self.sync || self.from_device
    }

    /// Whether the contents of a copy must be in the buffer when it is unmapped.
    fn copies_out(self) -> bool {
        self.sync && self.from_device
    }
}

/// The parts of frames that have been copied, by the reference of the copy.
type Bounced = RBTree<GrantRef, Bounce>;

/// A device that has a backend.
#[pin_data]
pub(crate) struct Device {
    /// The operations, which the device itself points to. From there this object is found, with no
    /// lock and no lookup. That takes a table for each device, which is not in read-only memory;
    /// a lookup would be a walk under RCU for each buffer, and the pointer to the table is not in
    /// read-only memory either.
    pub(crate) ops: bindings::dma_map_ops,
    backend: DomId,
    limits: Limits,
    isolated: bool,
    /// Set once the backend has not let go of something. It is no more than a hint: a buffer that
    /// is mapped at the same time may still be let through, so nothing needs to be ordered by it.
    broken: AtomicFlag,
    /// Set while the device is neither isolated nor broken, which is all that needs to be known for
    /// most buffers.
    plain: AtomicFlag,
    counters: Arc<Counters>,
    /// Buffers that are mapped. If there are any when the driver goes this object is not freed, so
    /// this is the last that is changed when one is unmapped.
    maps: Atomic<i64>,
    /// The same of memory that is allocated.
    allocations: Atomic<i64>,
    /// References that are granted, and are not from the cache.
    others: Atomic<i64>,
    cache: Cache,
    /// Taken to fill the cache as well, but not to take from it or to put back.
    #[pin]
    bounced: SpinLockIrq<Bounced>,
    #[pin]
    links: ListLinks,
}

impl_list_arc_safe! {
    impl ListArcSafe<0> for Device { untracked; }
}

impl_list_item! {
    impl ListItem<0> for Device {
        using ListLinks { self.links };
    }
}

impl Device {
    /// Makes one with a backend.
    pub(crate) fn new(
        ops: bindings::dma_map_ops,
        backend: DomId,
        isolated: bool,
        limits: Limits,
    ) -> Result<ListArc<Self>> {
        let counters = Arc::new(
            Counters {
                quarantined: Atomic::new(0),
                bounced: Atomic::new(0),
                exposed: Atomic::new(0),
            },
            GFP_KERNEL,
        )?;

        ListArc::pin_init(
            try_pin_init!(Self {
                ops,
                backend,
                limits,
                plain: AtomicFlag::new(!isolated),
                isolated,
                broken: AtomicFlag::new(false),
                counters,
                maps: Atomic::new(0),
                allocations: Atomic::new(0),
                others: Atomic::new(0),
                cache: Cache::empty(),
                bounced <- new_spinlock_irq!(RBTree::new()),
                links <- ListLinks::new(),
            }),
            GFP_KERNEL,
        )
    }

    /// The most frames that a buffer may touch.
    #[inline]
    pub(crate) fn longest(&self) -> u32 {
        self.limits.longest
    }

    /// The size of the largest buffer that can be mapped.
    pub(crate) fn max_size(&self) -> usize {
        self.limits.max_size()
    }

    /// Says what the device has and has done.
    pub(crate) fn statistics(&self) -> bindings::xen_grant_dma_statistics {
        let count = |counter: &Atomic<i64>| u64::try_from(counter.load(Relaxed)).unwrap_or(0);

        bindings::xen_grant_dma_statistics {
            backend: self.backend.as_raw().into(),
            maps: count(&self.maps),
            references: count(&self.others) + u64::from(self.cache.nr_owned()),
            quarantined: count(&self.counters.quarantined),
            bounced: count(&self.counters.bounced),
            exposed: count(&self.counters.exposed),
            broken: self.broken.load(Relaxed).into(),
        }
    }

    /// Gives up what is not used any more, as the driver is gone, and maps nothing from now on.
    ///
    /// Returns whether the driver has left something mapped or allocated. It can still be unmapped,
    /// which is looked at as before.
    pub(crate) fn retire(&self) -> bool {
        self.plain.store(false, Relaxed);
        self.broken.store(true, Relaxed);
        drop(self.cache.drain());

        // Whoever has unmapped the last one has been done with this object then.
        self.maps.load(Acquire) != 0 || self.allocations.load(Acquire) != 0
    }

    /// Maps buffers again after [`Self::retire`], for another driver.
    pub(crate) fn revive(&self) {
        self.broken.store(false, Relaxed);
        self.plain.store(!self.isolated, Relaxed);
    }

    /// Gets references where there are no others than those in the cache.
    #[cold]
    fn alloc_last(&self, count: u32, error: Error) -> Result<References> {
        if let Some(references) = self.cache.take(count) {
            return Ok(references);
        }
        if let Some(references) = self.take_from_others(count) {
            return Ok(references);
        }

        let reserve = if References::alloc(1, self.limits.reserve).is_ok() {
            // There are enough, but not in a row. What devices keep may be in between.
            for other in DEVICES.lock().iter() {
                drop(other.cache.drain());
            }
            self.limits.reserve
        } else if self.cache.nr_idle() >= count {
            // As many as this device gives up it may have, as that takes none from the reserve.
            0
        } else {
            return Err(error);
        };

        // They may form a run with others.
        drop(self.cache.drain());
        self.alloc_others(count, reserve)
    }

    /// Gets references that another device keeps for itself, and does not use.
    fn take_from_others(&self, count: u32) -> Option<References> {
        let take = |count| {
            DEVICES
                .lock()
                .iter()
                .find_map(|other| other.cache.part_with(count))
        };

        // A block is worth more than a few of its references, which can't be put back into a cache.
        if self.cache.is_empty() {
            if let Some(block) = take(BLOCK) {
                self.fill_with(block);
                if let Some(references) = self.cache.take(count) {
                    return Some(references);
                }
            }
        }

        let references = take(count)?;

        self.others.add(i64::from(count), Relaxed);
        Some(references)
    }

    /// Gets references that are not from the cache.
    fn alloc_others(&self, count: u32, reserve: u32) -> Result<References> {
        let references = References::alloc(count, reserve)?;

        self.others.add(i64::from(count), Relaxed);
        Ok(references)
    }

    /// Gets references that are not from the cache, if there are any.
    #[inline]
    fn alloc(&self, count: u32) -> Result<References> {
        self.alloc_others(count, self.limits.reserve)
            .or_else(|error| self.alloc_last(count, error))
    }

    /// Gives references to others.
    #[cold]
    fn give_back(&self, references: References) {
        self.others.add(-i64::from(references.count()), Relaxed);
        drop(references);
    }

    /// Fills the cache if there is nothing that belongs there.
    #[cold]
    fn fill(&self) {
        if let Ok(block) = References::alloc(BLOCK, self.limits.reserve) {
            self.fill_with(block);
        }
    }

    /// Fills the cache with a block, if there is nothing that belongs there.
    fn fill_with(&self, block: References) {
        // What is not needed is given back without the lock.
        let rest = {
            let _guard = self.bounced.lock();

            self.cache.fill(block)
        };

        drop(rest);
    }

    /// Gets references for buffers that are being mapped.
    #[inline(always)]
    fn take(&self, count: u32) -> Result<References> {
        let references = if count == 1 {
            // What most buffers need.
            self.cache.take_one()
        } else {
            self.cache.take(count)
        };

        match references {
            Some(references) => Ok(references),
            None => self.take_slow(count),
        }
    }

    /// Does what [`Self::take`] does where it is not as simple.
    #[cold]
    fn take_slow(&self, count: u32) -> Result<References> {
        if count <= BLOCK && self.cache.is_empty() {
            self.fill();
            if let Some(references) = self.cache.take(count) {
                return Ok(references);
            }
        }
        self.alloc(count)
    }

    /// Puts back references that are not granted any more.
    #[inline]
    fn put(&self, references: References) {
        if let Some(references) = self.cache.put(references) {
            self.give_back(references);
        }
    }

    /// Checks whether the device is still in use.
    #[inline]
    fn check_broken(&self) -> Result {
        if self.broken.load(Relaxed) {
            return Err(EIO);
        }
        Ok(())
    }

    /// Whether some of a buffer is to be copied.
    fn bounces(&self, span: &Span) -> bool {
        self.isolated && (span.head().is_some() || span.tail().is_some())
    }

    /// Grants the backend access to a buffer.
    #[inline(always)]
    pub(crate) fn map(
        &self,
        owner: Owner<'_>,
        buffer: Buffer,
        transfer: Transfer,
    ) -> Result<Granted> {
        if self.plain.load(Relaxed) {
            self.map_frames(owner, buffer, transfer)
        } else {
            self.map_other(owner, buffer, transfer)
        }
    }

    /// Does what [`Self::map`] does for a device that is isolated or broken.
    #[cold]
    fn map_other(&self, owner: Owner<'_>, buffer: Buffer, transfer: Transfer) -> Result<Granted> {
        self.check_broken()?;
        if self.bounces(buffer.span()) {
            self.map_isolated(owner, buffer, transfer)
        } else {
            self.map_frames(owner, buffer, transfer)
        }
    }

    /// Grants the backend access to all of the frames that a buffer touches.
    #[inline(always)]
    fn map_frames(&self, owner: Owner<'_>, buffer: Buffer, transfer: Transfer) -> Result<Granted> {
        let references = self.take(buffer.span().frames())?;
        let granted = buffer.grant(references, self.backend, transfer.access());

        self.maps.add(1, Relaxed);
        owner.trace_map(&granted);
        Ok(granted)
    }

    /// Does what [`Self::map`] does, for one of many buffers.
    #[inline(never)]
    fn map_one(&self, owner: Owner<'_>, buffer: Buffer, transfer: Transfer) -> Result<Granted> {
        self.map(owner, buffer, transfer)
    }

    /// Grants the backend access to the bytes of a buffer, and to no others.
    fn map_isolated(
        &self,
        owner: Owner<'_>,
        buffer: Buffer,
        transfer: Transfer,
    ) -> Result<Granted> {
        let span = *buffer.span();
        let references = self.take(span.frames())?;
        let first = references.first();

        let copy = |part: Option<Part>| part.map(|part| Copied::new(buffer, part, transfer));
        let copies = match [copy(span.head()), copy(span.tail())].map(Option::transpose) {
            [Ok(head), Ok(tail)] => [head, tail],
            [Err(error), _] | [_, Err(error)] => {
                self.put(references);
                return Err(error);
            }
        };
        let count = copies.iter().flatten().count();
        let granted = grant_parts(
            &buffer,
            references,
            self.backend,
            transfer.access(),
            |frame| {
                copies
                    .iter()
                    .flatten()
                    .find(|copy| copy.frame == frame)
                    .map(|copy| &copy.bounce)
            },
        );

        {
            let mut bounced = self.bounced.lock();

            for copy in copies.into_iter().flatten() {
                let reference = first.following(copy.frame);

                bounced.insert(copy.place.into_node(reference, copy.bounce));
            }
        }
        self.maps.add(1, Relaxed);
        // CAST: There are at most two.
        self.counters.bounced.add(count as i64, Relaxed);
        owner.trace_map(&granted);
        Ok(granted)
    }

    /// Ends the access to a buffer.
    #[inline(always)]
    pub(crate) fn unmap(
        &self,
        owner: Owner<'_>,
        granted: Granted,
        span: &Span,
        transfer: Transfer,
    ) {
        owner.trace_unmap(&granted);
        if self.isolated {
            self.unmap_other(owner, granted, span, transfer);
        } else {
            self.unmap_frames(owner, granted, transfer);
        }
        self.maps.fetch_sub(1, Release);
    }

    /// Does what [`Self::unmap`] does for an isolated device.
    #[cold]
    fn unmap_other(&self, owner: Owner<'_>, granted: Granted, span: &Span, transfer: Transfer) {
        if self.bounces(span) {
            self.unmap_isolated(owner, granted, span, transfer);
        } else {
            self.unmap_frames(owner, granted, transfer);
        }
    }

    /// Ends the access to all of the frames that a buffer touches.
    #[inline(always)]
    fn unmap_frames(&self, owner: Owner<'_>, granted: Granted, transfer: Transfer) {
        match granted.end() {
            Ok(references) => self.put(references),
            Err(granted) => self.hold_buffer(owner, granted, [None, None], transfer),
        }
    }

    /// Does what [`Self::unmap`] does, for one of many buffers.
    #[inline(never)]
    fn unmap_one(&self, owner: Owner<'_>, granted: Granted, span: &Span, transfer: Transfer) {
        self.unmap(owner, granted, span, transfer);
    }

    /// Does what [`Self::unmap`] does for a buffer that was mapped by [`Self::map_isolated`].
    fn unmap_isolated(&self, owner: Owner<'_>, granted: Granted, span: &Span, transfer: Transfer) {
        let first = granted.first();
        let copies = {
            let mut bounced = self.bounced.lock();
            let mut remove = |part: Option<Part>| {
                let reference = first.following(part?.frame);

                Some((reference, bounced.remove(&reference)?))
            };

            [remove(span.head()), remove(span.tail())]
        };

        match granted.end() {
            Ok(references) => {
                if transfer.copies_out() {
                    for (_, copy) in copies.iter().flatten() {
                        copy.copy_out(0, usize::MAX);
                    }
                }
                self.put(references);
            }
            Err(granted) => self.hold_buffer(owner, granted, copies, transfer),
        }
    }

    /// Ends access to what the backend does not hold of a buffer, and keeps the rest back.
    #[cold]
    fn hold_buffer(
        &self,
        owner: Owner<'_>,
        granted: Granted,
        mut copies: [Option<(GrantRef, Bounce)>; 2],
        transfer: Transfer,
    ) {
        let mut next = Some(granted);

        while let Some(granted) = next {
            let (one, rest) = match granted.split_at(1) {
                Ok((one, rest)) => (one, Some(rest)),
                Err(one) => (one, None),
            };
            let copy = copies
                .iter_mut()
                .find(|copy| matches!(copy, Some((reference, _)) if *reference == one.first()))
                .and_then(Option::take)
                .map(|(_, copy)| copy);

            if transfer.copies_out() {
                if let Some(copy) = &copy {
                    copy.copy_out(0, usize::MAX);
                }
            }
            match one.end() {
                Ok(reference) => self.put(reference),
                Err(held) => {
                    let kept = match copy {
                        Some(copy) => Kept::Bounce(copy),
                        None => {
                            self.counters.exposed.add(1, Relaxed);
                            Kept::Streaming(Pinned::new(held.frame()))
                        }
                    };

                    self.hold(owner, held, kept);
                }
            }
            next = rest;
        }
    }

    /// Keeps references back until the backend lets go of them, and the device from being used.
    #[cold]
    fn hold(&self, owner: Owner<'_>, granted: Granted, kept: Kept) {
        let count = granted.count();

        owner.trace_quarantine(&granted);
        self.plain.store(false, Relaxed);
        if !self.broken.xchg(true, Relaxed) {
            owner.tell_broken();
        }
        if !self.cache.disown(granted.first(), count) {
            self.others.add(-i64::from(count), Relaxed);
        }
        self.counters.quarantined.add(count.into(), Relaxed);

        let held = HeldGrant {
            granted,
            kept,
            counters: self.counters.clone(),
        };

        match Quarantine::of(held, GFP_ATOMIC) {
            Ok(list) => {
                QUARANTINE.lock().append(list);
                super::queue_retry();
            }
            // Without a place to note it, it is not to be had back.
            Err(held) => mem::forget(held),
        }
    }

    /// Allocates memory to be shared with the backend for long.
    pub(crate) fn alloc_pages(
        &self,
        span: &Span,
        gfp: bindings::gfp_t,
    ) -> Result<(Pages, Granted)> {
        self.check_broken()?;
        if span.frames() > self.limits.longest {
            return Err(ENOMEM);
        }

        let pages = Pages::alloc(span, gfp)?;
        let granted = pages.grant(self.alloc(span.frames())?, self.backend);

        self.allocations.add(1, Relaxed);
        Ok((pages, granted))
    }

    /// Frees memory that was shared with the backend, when that lets go of it.
    pub(crate) fn free_pages(&self, owner: Owner<'_>, pages: Pages, granted: Granted) {
        match granted.end() {
            Ok(references) => {
                self.put(references);
                drop(pages);
            }
            Err(granted) => self.hold(owner, granted, Kept::Pages(pages)),
        }
        self.allocations.fetch_sub(1, Release);
    }

    /// Grants the backend access to all buffers of a list.
    pub(crate) fn map_list(&self, owner: Owner<'_>, list: List, transfer: Transfer) -> Result {
        self.check_broken()?;
        if list.len() == 0 {
            return Err(EINVAL);
        }

        let len = list.len();
        let mapped = if self.isolated {
            list.map(self.limits.longest, |buffer, _| {
                self.map_one(owner, buffer, transfer)
            })
        } else {
            let mut lent = self.lend(len);
            let mut others = Others {
                run: None,
                has_tried: false,
            };
            let mapped = list.map(self.limits.longest, |buffer, rest| {
                let count = buffer.span().frames();
                let references = match lent.take(count) {
                    Some(references) => references,
                    None => others.take(count, rest, self)?,
                };
                let granted = buffer.grant(references, self.backend, transfer.access());

                owner.trace_map(&granted);
                Ok(granted)
            });

            self.cache.put_all(lent);
            if let Some(rest) = others.run {
                self.give_back(rest);
            }
            // As many as there are to be unmapped, below or later.
            let done = mapped.as_ref().err().map_or(len, |(_, done)| done.len());
            self.maps.add(done.into(), Relaxed);
            mapped
        };

        mapped.map_err(|(error, done)| {
            let transfer = Transfer {
                sync: false,
                ..transfer
            };

            self.unmap_list(owner, done, transfer);
            error
        })
    }

    /// Gets references of the cache for `buffers` buffers of a list, as far as there are any.
    fn lend(&self, buffers: u32) -> CachePart {
        if self.cache.is_empty() {
            self.fill();
        }

        // Each buffer needs one or more.
        self.cache.lend(buffers)
    }

    /// Ends the access to all buffers of a list.
    pub(crate) fn unmap_list(&self, owner: Owner<'_>, list: MappedList, transfer: Transfer) {
        if self.isolated {
            return list.unmap(|granted, span| self.unmap_one(owner, granted, &span, transfer));
        }

        let mut returned = Returned {
            to_cache: self.cache.collector(),
            rest: None,
        };
        let mut run: Option<Granted> = None;
        let mut end = |granted: Granted| match granted.end() {
            Ok(references) => returned.put(references, self),
            Err(granted) => self.hold_buffer(owner, granted, [None, None], transfer),
        };

        let len = list.len();

        list.unmap(|granted, _| {
            owner.trace_unmap(&granted);

            // What has been mapped as a list has consecutive references mostly.
            let joined = match run.take() {
                Some(before) => before.join(granted),
                None => Ok(granted),
            };

            run = Some(joined.unwrap_or_else(|(before, granted)| {
                end(before);
                granted
            }));
        });
        if let Some(last) = run {
            end(last);
        }

        self.cache.put_all(returned.to_cache);
        if let Some(rest) = returned.rest {
            self.give_back(rest);
        }
        self.maps.fetch_sub(len.into(), Release);
    }

    /// Copies what lies in `span`, at references from `first` on, if it has been copied before.
    fn sync(&self, first: GrantRef, span: &Span, copy: impl Fn(&Bounce, Part)) {
        let bounced = self.bounced.lock();

        for part in span.parts() {
            if let Some(bounce) = bounced.get(&first.following(part.frame)) {
                copy(bounce, part);
            }
        }
    }

    /// Has the driver see what the device has written.
    pub(crate) fn sync_for_cpu(&self, first: GrantRef, span: &Span) {
        self.sync(first, span, |bounce, part| {
            bounce.copy_out(part.offset, part.offset + part.len)
        });
    }

    /// Has the device see what the driver has written.
    pub(crate) fn sync_for_device(&self, first: GrantRef, span: &Span) {
        self.sync(first, span, |bounce, part| {
            bounce.copy_in(part.offset, part.offset + part.len)
        });
    }
}

/// A part of a buffer that has been copied, and a place to note that.
struct Copied {
    frame: u32,
    bounce: Bounce,
    place: RBTreeNodeReservation<GrantRef, Bounce>,
}

impl Copied {
    /// Copies a part of a buffer to a page of its own.
    fn new(buffer: Buffer, part: Part, transfer: Transfer) -> Result<Self> {
        let place = RBTreeNodeReservation::new(GFP_ATOMIC)?;
        let bounce = Bounce::new(buffer, part)?;

        if transfer.copies_in() {
            bounce.copy_in(part.offset, part.offset + part.len);
        }
        Ok(Self {
            frame: part.frame,
            bounce,
            place,
        })
    }
}

/// Grants access to each frame of a buffer, or to what `copy` has for it.
fn grant_parts<'a>(
    buffer: &Buffer,
    references: References,
    to: DomId,
    access: Access,
    copy: impl Fn(u32) -> Option<&'a Bounce>,
) -> Granted {
    let count = references.count();
    let (mut frame, mut left) = (0, references);
    let mut done: Option<Granted> = None;

    loop {
        // A frame that has been copied, or all others in between.
        let len = if copy(frame).is_some() {
            1
        } else {
            let last = u32::from(copy(count - 1).is_some());

            count - frame - last
        };
        let (now, rest) = match left.split_at(len) {
            Ok((now, rest)) => (now, Some(rest)),
            Err(now) => (now, None),
        };
        let granted = match copy(frame) {
            Some(bounce) => bounce.grant(now, to, access),
            None => buffer.grant_from(frame, now, to, access),
        };
        let granted = match done {
            None => granted,
            // They are neighbours, as they were split.
            Some(before) => match before.join(granted) {
                Ok(both) | Err((both, _)) => both,
            },
        };

        frame += len;
        match rest {
            None => return granted,
            Some(rest) => left = rest,
        }
        done = Some(granted);
    }
}

/// References of the buffers of a list that are not granted any more.
struct Returned {
    to_cache: CachePart,
    /// Others, in one run.
    rest: Option<References>,
}

impl Returned {
    /// Takes some in a row.
    #[inline]
    fn put(&mut self, references: References, device: &Device) {
        if let Some(references) = self.to_cache.put(references) {
            self.put_slow(references, device);
        }
    }

    /// Does what [`Self::put`] does with those of which some or all are not of the cache.
    #[inline(never)]
    fn put_slow(&mut self, references: References, device: &Device) {
        let mut next = Some(references);

        while let Some(references) = next {
            let (one, rest) = match references.split_at(1) {
                Ok((one, rest)) => (one, Some(rest)),
                Err(one) => (one, None),
            };

            next = rest;
            if let Some(one) = self.to_cache.put(one) {
                // Neighbours are given back together.
                let joined = match self.rest.take() {
                    Some(before) => before.join(one),
                    None => Ok(one),
                };

                self.rest = Some(joined.unwrap_or_else(|(before, one)| {
                    device.give_back(before);
                    one
                }));
            }
        }
    }
}

/// References that are not from the cache, for the buffers of a list.
struct Others {
    /// Those for all buffers, in one run.
    run: Option<References>,
    /// Whether that run has been asked for. If there is none, then each buffer gets its own.
    has_tried: bool,
}

impl Others {
    /// Takes some in a row, for the first buffer of those that are left.
    #[inline(never)]
    fn take(&mut self, count: u32, rest: List, device: &Device) -> Result<References> {
        if !self.has_tried {
            self.has_tried = true;
            self.run = device
                .alloc_others(rest.frames(), device.limits.reserve)
                .ok();
        }
        match self.run.take().map(|run| run.split_at(count)) {
            Some(Ok((now, rest))) => {
                self.run = Some(rest);
                Ok(now)
            }
            Some(Err(run)) if run.count() == count => Ok(run),
            short => {
                self.run = short.and_then(Result::err);
                device.alloc(count)
            }
        }
    }
}
