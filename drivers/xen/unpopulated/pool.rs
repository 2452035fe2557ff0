// SPDX-License-Identifier: GPL-2.0

//! The pool: allocation and free, growth, give-back, and the fallback to ballooned pages.
//!
//! # Locking
//!
//! [`GROWTH`] is held by whoever changes which chunks there are, all the way through
//! `memremap_pages()` and `memunmap_pages()`, and who has it starts no I/O to get memory. [`POOL`]
//! protects the index and is never held across either, nor across an allocation of memory, so that
//! whatever can be served is served meanwhile. [`BALLOONED`] protects the record of the fallback.
//! `GROWTH` is taken before `POOL`; the others do not nest. All are mutexes: callers may sleep.

use super::{
    chunk::{
        self,
        Backing,
        PassedPage,
        PoolPage,
        Wanted,
        GRANULE, //
    },
    glue,
    growth::Limits,
    index::{
        Chunk,
        Index,
        Room,
        Totals, //
    },
    page_list::{
        address,
        fill,
        is_run,
        run_length, //
    },
    ready::{
        Ready,
        READY_PAGES, //
    },
    BALLOONED,
    GROWTH,
    POOL, //
};
use core::{
    mem::MaybeUninit,
    ptr::NonNull, //
};
use kernel::{
    alloc::NumaNode,
    bindings,
    io::{
        resource::{
            Reservation,
            Resource, //
        },
        PhysAddr, //
    },
    page::{
        PAGE_SHIFT,
        PAGE_SIZE, //
    },
    prelude::*,
    rbtree::RBTreeNodeReservation,
    sync::GlobalGuard,
    time::Jiffies, //
};

/// What the pool counts, besides the pages in its index.
#[derive(Clone, Copy, Default)]
pub(crate) struct Counts {
    /// Chunks added since boot.
    pub(crate) grown: usize,
    /// Chunks given back since boot.
    pub(crate) given_back: usize,
    /// Chunks that could not be given back when it was last tried, as a page was in use.
    pub(crate) pinned: usize,
    /// Pages refused at free since boot.
    pub(crate) refused: usize,
    /// Allocations that the fallback has served since boot.
    pub(crate) fallback: usize,
    /// Pages of the fallback that are handed out now.
    pub(crate) ballooned: usize,
}

/// What is protected by [`POOL`].
pub(crate) struct Pool {
    index: Index<Backing>,
    /// What small requests are served from. For the index these pages are handed out.
    ready: Ready,
    counts: Counts,
    /// Whether the work that gives back is on its way.
    give_back_queued: bool,
}

/// What is protected by [`GROWTH`].
pub(crate) struct Growth {
    /// Where address space comes from, if from anywhere.
    target: Option<&'static Resource>,
    /// Pages that the pool has from elsewhere.
    donated: usize,
    /// Ranges of `target` that are in use by others, kept so that they are not tried again.
    unusable: KVec<Reservation>,
    /// Where struct pages are to be.
    node: NumaNode,
}

impl Pool {
    /// Makes an empty pool.
    pub(crate) const fn new() -> Self {
        Self {
            index: Index::new(),
            ready: Ready::new(),
            counts: Counts {
                grown: 0,
                given_back: 0,
                pinned: 0,
                refused: 0,
                fallback: 0,
                ballooned: 0,
            },
            give_back_queued: false,
        }
    }

    /// Puts back the pages that are ready, after which the index has all free pages, and no page is
    /// known to be handed out.
    fn put_ready_back(&mut self) {
        if !self.ready.knows_any() {
            return;
        }

        let slot = self.ready.slot();

        while let Some((first, nr)) = self.ready.take_run() {
            let Some(chunk) = self.index.chunk(slot) else {
                // Cannot be: a chunk that is not wholly free is not removed.
                continue;
            };

            // If this makes the chunk wholly free, it counts from now on. That is late, but only
            // for one chunk, and mostly the one that is kept anyway: the first.
            let start = chunk.backing().place(first.addr());
            self.index.put(slot, start, nr, glue::now());
        }
    }

    /// Makes other pages ready, once all are handed out.
    fn refill(&mut self) {
        let Some((slot, nr_free)) = self.index.front() else {
            return;
        };
        let nr_pages = nr_free.min(READY_PAGES);
        let mut refill = self.ready.refill(slot, nr_pages);

        self.index
            .take_each(slot, nr_pages, |chunk, place| refill.add(chunk.page(place)));
        refill.finish();
        self.consider_give_back();
    }

    /// Fills `pages`, or takes none at all.
    fn take(&mut self, pages: &mut [MaybeUninit<*mut bindings::page>]) -> bool {
        if pages.len() <= READY_PAGES {
            return self.take_few(pages);
        }
        self.put_ready_back();

        let nr_pages = pages.len();
        let mut rest = pages;

        self.index.take(nr_pages, |backing, run| {
            // There is room for `nr_pages`, and no more are taken.
            let room = core::mem::take(&mut rest);
            let (now, later) = room.split_at_mut(run.len().min(room.len()));

            fill(now, PoolPage::ptr_or_null(backing.page(run.start)));
            rest = later;
        })
    }

    /// Fills `pages`, of which there are at most [`READY_PAGES`], or takes none at all.
    fn take_few(&mut self, pages: &mut [MaybeUninit<*mut bindings::page>]) -> bool {
        let mut rest = pages;

        if rest.len() > self.ready.len() + self.index.totals().free {
            return false;
        }
        loop {
            let (now, later) = rest.split_at_mut(rest.len().min(self.ready.len()));

            if !self.ready.take(now) {
                return false;
            }
            if later.is_empty() {
                return true;
            }
            self.refill();
            if self.ready.len() == 0 {
                // Cannot be, as there are that many free pages.
                return false;
            }
            rest = later;
        }
    }

    /// Takes a run, and returns its first page.
    fn take_run(&mut self, run: Run) -> Option<PoolPage> {
        let take = |index: &mut Index<Backing>| {
            let (backing, start) = index.take_run(run.nr, run.align, run.max_pfn)?;

            backing.page(start)
        };

        // Pages that are ready are in the way only if there is no room elsewhere.
        take(&mut self.index).or_else(|| {
            self.put_ready_back();
            take(&mut self.index)
        })
    }

    /// Makes a page free, or leaves it if there is anything unusual about that.
    #[inline]
    fn put_one(&mut self, page: &Option<PassedPage>) -> bool {
        let Some(page) = *page else {
            return false;
        };
        let Some(slot) = chunk::slot_of(page) else {
            return false;
        };

        if self.ready.has_one(page)
            || !self
                .index
                .put_one(slot, |chunk| chunk.place(page.addr()), glue::now)
        {
            return false;
        }
        self.consider_give_back();
        true
    }

    /// Makes the first pages of `pages` free, and returns how many these are; 0 if the first page
    /// is not one of the pool.
    #[inline]
    fn put(&mut self, pages: &[Option<PassedPage>]) -> usize {
        /// A shorter run is not worth an effort of its own.
        const SHORT: usize = 4;
        /// After so many pages it is seen again whether they are in a run.
        const STRIDE: usize = 64;

        let Some(page) = pages.first().copied().flatten() else {
            return 0;
        };
        let Some((slot, start, room)) = self.find(page) else {
            return 0;
        };

        if pages.get(..SHORT).is_some_and(is_run) {
            let len = run_length(pages, room);

            if !self.ready.overlaps(page, len) {
                self.put_run(slot, start, len);
                return len;
            }
        }
        self.put_each(slot, &pages[..pages.len().min(STRIDE)])
    }

    /// Makes pages free, in any order and of any chunks, of which that of the first page is in
    /// `slot`. Ends at a page that is not one of the pool, and returns how many there are before.
    #[inline]
    fn put_each(&mut self, slot: usize, pages: &[Option<PassedPage>]) -> usize {
        let Self { index, ready, .. } = self;
        let (mut low, mut high) = ready.span();
        let mut near = 0;

        let (done, added) = index.put_each(
            slot,
            pages,
            glue::now(),
            |page| chunk::slot_of((*page)?),
            |chunk, page| chunk.place(address(page)),
            |page| {
                let addr = address(page);

                if addr < low || addr > high {
                    return false;
                }
                let is_ready = ready.has(addr, &mut near);

                (low, high) = ready.span();
                is_ready
            },
        );

        if added != done {
            self.refuse(done - added);
        }
        self.consider_give_back();
        done
    }

    /// Makes pages of one chunk free.
    #[inline]
    fn put_run(&mut self, slot: usize, start: usize, len: usize) {
        let added = self.index.put(slot, start, len, glue::now());

        if added != len {
            self.refuse(len - added);
        }
        self.consider_give_back();
    }

    /// Sees to it that chunks are given back one day, if more than one is wholly free, or can be
    /// once the pages that are ready are put back.
    #[inline]
    fn consider_give_back(&mut self) {
        if self.index.totals().idle + usize::from(self.ready.knows_any()) > 1 {
            self.queue_give_back();
        }
    }

    /// Sees to it that chunks are given back one day.
    #[inline]
    fn queue_give_back(&mut self) {
        if self.give_back_queued {
            return;
        }
        if let Some(age) = glue::idle_time() {
            self.give_back_queued = true;
            glue::queue_give_back(age);
        }
    }

    /// The slot of the chunk that `page` is in, its place in there, and how many pages follow.
    #[inline]
    fn find(&self, page: PassedPage) -> Option<(usize, usize, usize)> {
        let Some(slot) = chunk::slot_of(page) else {
            return self.find_donated(page);
        };
        let chunk = self.index.chunk(slot)?;
        let start = chunk.backing().place(page.addr());
        let room = chunk.nr_pages().checked_sub(start)?;

        (room > 0).then_some((slot, start, room))
    }

    /// The same for pages that architecture code donated, of which there are few ranges.
    #[cold]
    fn find_donated(&self, page: PassedPage) -> Option<(usize, usize, usize)> {
        let (slot, start) = self.index.locate(|chunk| chunk.place(page.addr()))?;
        let chunk = self.index.chunk(slot)?;

        Some((slot, start, chunk.nr_pages() - start))
    }

    /// Counts pages that were not out, or were never handed out, and stay where they are.
    #[cold]
    fn refuse(&mut self, nr_pages: usize) {
        self.counts.refused += nr_pages;
        glue::warn_refused(nr_pages);
    }

    /// Adds a chunk that was just mapped.
    fn add(&mut self, chunk: Chunk<Backing>, room: Room<Backing>) -> Result {
        // Whoever holds `GROWTH` is the only one to add chunks, so that there is still room.
        self.index
            .insert(chunk, room, glue::now())
            .map_err(|_| ENOMEM)?;
        self.counts.grown += 1;
        Ok(())
    }
}

/// A request for pages with consecutive frame numbers.
#[derive(Clone, Copy)]
pub(crate) struct Run {
    /// How many.
    pub(crate) nr: usize,
    /// What the first number must be a multiple of, a power of two.
    pub(crate) align: usize,
    /// The highest number.
    pub(crate) max_pfn: usize,
}

impl Growth {
    /// Makes the state of a pool that cannot grow.
    pub(crate) const fn new() -> Self {
        Self {
            target: None,
            donated: 0,
            unusable: KVec::new(),
            node: NumaNode::NO_NODE,
        }
    }

    /// The limits of a step.
    fn limits() -> Limits {
        Limits {
            granule: GRANULE,
            largest: (bindings::PAGES_PER_SECTION as usize).max(GRANULE),
            ceiling: glue::ceiling(),
        }
    }

    /// Adds a chunk for pages that may lie anywhere, as large as can be had.
    fn add_pages(&mut self, total: usize, missing: usize) -> Result<NewChunk> {
        let target = self.target.ok_or(EOPNOTSUPP)?;
        let mut error = EBUSY;

        // What cannot be met must not use up all address space before that is found out.
        if missing > chunk::pages_in(target).saturating_sub(total - self.donated) {
            return Err(ENOMEM);
        }

        for nr_pages in Self::limits().steps(total, missing) {
            // Several smaller steps take as much memory as the one for which there was none.
            if error != EBUSY && nr_pages < missing {
                break;
            }
            match self.map(Wanted {
                nr_pages,
                align: 1,
                max_addr: PhysAddr::MAX,
            }) {
                Ok(chunk) => return Ok(chunk),
                Err(cause) => error = cause,
            }
        }
        Err(refusal(error))
    }

    /// Adds a chunk for a run.
    fn add_run(&mut self, total: usize, run: Run) -> Result<NewChunk> {
        let nr_pages = Self::limits().whole(total, run.nr).ok_or(ENOMEM)?;
        // The run will begin where the chunk does; what the chunk is larger by may lie above.
        let last = run.max_pfn.saturating_add(nr_pages - run.nr);
        let end = PhysAddr::try_from(last)?.saturating_add(1);

        self.map(Wanted {
            nr_pages,
            align: run.align,
            max_addr: end.saturating_mul(PAGE_SIZE as PhysAddr).saturating_sub(1),
        })
        .map_err(refusal)
    }

    /// Makes a chunk.
    fn map(&mut self, wanted: Wanted) -> Result<NewChunk> {
        let target = self.target.ok_or(EOPNOTSUPP)?;
        let vacancy = POOL.lock().index.vacancy();
        let room = vacancy.make_room()?;
        let map = chunk::map(target, wanted, room.slot(), self.node, &mut self.unusable)?;
        let first_pfn = map.first_pfn();

        glue::trace_grow(first_pfn, wanted.nr_pages);
        Ok(NewChunk {
            chunk: Chunk::new(first_pfn, wanted.nr_pages, true, Backing::mapped(map))?,
            room,
        })
    }
}

/// What a request is refused with if a chunk cannot be made.
fn refusal(error: Error) -> Error {
    if error == EBUSY {
        ENOMEM
    } else {
        error
    }
}

/// A chunk that is not in the index yet, and room for it.
struct NewChunk {
    chunk: Chunk<Backing>,
    room: Room<Backing>,
}

/// Starts the pool.
///
/// Address space comes from `target`; without one there are ballooned pages only. `donated` are
/// runs of pages that the pool may have.
pub(crate) fn start(
    target: Option<&'static Resource>,
    donated: impl Iterator<Item = (NonNull<bindings::page>, usize, usize)>,
) {
    let _no_io = glue::NoIo::new();
    let mut growth = GROWTH.lock();

    growth.target = target;
    for (first, first_pfn, nr_pages) in donated {
        match add_donated(first, first_pfn, nr_pages) {
            Ok(()) => growth.donated += nr_pages,
            Err(_) => pr_warn!("no memory to keep {nr_pages} donated pages, they are lost\n"),
        }
    }
}

/// Adds a chunk of pages that architecture code had no use for.
fn add_donated(first: NonNull<bindings::page>, first_pfn: usize, nr_pages: usize) -> Result {
    let vacancy = POOL.lock().index.vacancy();
    let room = vacancy.make_room()?;
    let chunk = Chunk::new(first_pfn, nr_pages, false, Backing::donated(first))?;

    POOL.lock().add(chunk, room)
}

/// Has a request served by the pool, which grows if it must.
///
/// `take` tries to serve it, and `add` makes another chunk, given what there is.
fn serve<T>(
    mut take: impl FnMut(&mut Pool) -> Option<T>,
    mut add: impl FnMut(&mut Growth, Totals) -> Result<NewChunk>,
) -> Result<T> {
    if let Some(taken) = take(&mut POOL.lock()) {
        return Ok(taken);
    }

    let _no_io = glue::NoIo::new();
    let mut growth = GROWTH.lock();
    loop {
        // While this one waited for its turn another may have grown, or pages may have come back.
        let totals = {
            let mut pool = POOL.lock();
            if let Some(taken) = take(&mut pool) {
                return Ok(taken);
            }
            pool.put_ready_back();
            pool.index.totals()
        };
        let new = match add(&mut growth, totals) {
            Ok(new) => new,
            Err(error) => {
                // What was added before in vain is given back like all that is idle.
                POOL.lock().consider_give_back();
                return Err(error);
            }
        };

        // Nobody else gets at the new pages before this request does.
        let mut pool = POOL.lock();
        pool.add(new.chunk, new.room)?;
        if let Some(taken) = take(&mut pool) {
            return Ok(taken);
        }
    }
}

/// Fills `entry` with a page.
#[inline]
pub(crate) fn alloc_one(entry: &mut MaybeUninit<*mut bindings::page>) -> Result {
    let mut pool = POOL.lock();

    if pool.ready.take_one(entry) {
        return Ok(());
    }
    alloc_more(pool, core::slice::from_mut(entry))
}

/// Fills `pages` with pages, wherever they are.
#[inline]
pub(crate) fn alloc(pages: &mut [MaybeUninit<*mut bindings::page>]) -> Result {
    let mut pool = POOL.lock();

    if pool.ready.take(pages) {
        return Ok(());
    }
    alloc_more(pool, pages)
}

/// Does what [`alloc`] does where not enough pages are ready.
#[inline(never)]
fn alloc_more(
    mut pool: GlobalGuard<POOL>,
    pages: &mut [MaybeUninit<*mut bindings::page>],
) -> Result {
    if pool.take(pages) {
        return Ok(());
    }
    drop(pool);
    alloc_new(pages)
}

/// Does what [`alloc`] does where not enough pages are free.
#[cold]
fn alloc_new(pages: &mut [MaybeUninit<*mut bindings::page>]) -> Result {
    let nr_pages = pages.len();

    serve(
        |pool| pool.take(pages).then_some(()),
        |growth, totals| growth.add_pages(totals.pages, nr_pages - totals.free),
    )
    .or_else(|cause| alloc_ballooned(pages, cause))
}

/// Fills `pages` with RAM that is ballooned out.
fn alloc_ballooned(pages: &mut [MaybeUninit<*mut bindings::page>], cause: Error) -> Result {
    // What there is no RAM for is not worth a place for each page: the balloon would refuse it.
    if pages.len() > glue::balloonable_pages() {
        glue::tell_exhausted(cause, pages.len());
        return Err(cause);
    }

    let no_io = glue::NoIo::new();
    let mut nodes = KVVec::with_capacity(pages.len(), GFP_KERNEL)?;
    for _ in 0..pages.len() {
        nodes.push(RBTreeNodeReservation::new(GFP_KERNEL)?, GFP_KERNEL)?;
    }
    drop(no_io);

    let pages = glue::alloc_ballooned(pages)?;
    {
        let mut ballooned = BALLOONED.lock();
        for (page, node) in pages.iter().zip(nodes) {
            ballooned.insert(page.addr(), node);
        }
    }

    let mut pool = POOL.lock();
    pool.counts.ballooned += pages.len();
    pool.counts.fallback += 1;
    drop(pool);

    glue::tell_fallback(cause, pages.len());
    Ok(())
}

/// Takes `run.nr` pages with consecutive numbers, and returns the first of them.
pub(crate) fn alloc_run(run: Run) -> Result<PoolPage> {
    let mut steps = 0;

    let first = serve(
        |pool| pool.take_run(run),
        |growth, totals| {
            // A chunk is made for this run. Where the run is not in it, it is in none.
            steps += 1;
            if steps > 1 {
                return Err(ENOMEM);
            }
            growth.add_run(totals.pages, run)
        },
    )?;

    glue::trace_alloc_run(first, run.nr);
    Ok(first)
}

/// Takes a page back.
#[inline]
pub(crate) fn free_one(page: &Option<PassedPage>) {
    let mut pool = POOL.lock();

    if !pool.ready.put_one(page) {
        free_other(pool, page);
    }
}

/// Does what [`free_one`] does where it is not the page that was handed out last.
#[inline(never)]
fn free_other(mut pool: GlobalGuard<POOL>, page: &Option<PassedPage>) {
    if !pool.put_one(page) {
        free_more(pool, core::slice::from_ref(page));
    }
}

/// Takes pages back, in any order, of any chunk or of the fallback.
#[inline]
pub(crate) fn free(pages: &[Option<PassedPage>]) {
    let mut pool = POOL.lock();

    if !pool.ready.put(pages) {
        free_more(pool, pages);
    }
}

/// Does what [`free`] does where these are not the pages that were handed out last.
#[inline(never)]
fn free_more(mut pool: GlobalGuard<POOL>, pages: &[Option<PassedPage>]) {
    let mut rest = pages;

    while !rest.is_empty() {
        match pool.put(rest) {
            0 => {
                drop(pool);
                rest = free_foreign(rest);
                pool = POOL.lock();
            }
            len => rest = &rest[len..],
        }
    }
}

/// Takes back what the fallback has handed out of the first of `pages`, which is not one of the
/// pool, and those that follow. Returns the others.
#[cold]
fn free_foreign(pages: &[Option<PassedPage>]) -> &[Option<PassedPage>] {
    let returned = BALLOONED.lock().remove_first(pages);
    let nr = returned.pages().len();

    if nr == 0 {
        POOL.lock().refuse(1);
        return pages.get(1..).unwrap_or_default();
    }

    let mut pool = POOL.lock();

    // Not counted yet if someone frees what they have not been told of.
    pool.counts.ballooned = pool.counts.ballooned.saturating_sub(nr);
    drop(pool);

    // All at once: where only some are back, the balloon adds memory for the others.
    glue::free_ballooned(returned);
    &pages[nr..]
}

/// Takes back `nr` pages with consecutive numbers from `first` on.
pub(crate) fn free_run(first: PassedPage, nr: usize) {
    glue::trace_free_run(first, nr);

    let mut pool = POOL.lock();
    match pool.find(first) {
        Some((slot, start, room)) => {
            let len = nr.min(room);

            if pool.ready.overlaps(first, len) {
                pool.put_ready_back();
            }
            pool.put_run(slot, start, len);
            if len < nr {
                pool.refuse(nr - len);
            }
        }
        None => pool.refuse(nr),
    }
}

/// Gives back chunks that have been wholly free for long.
///
/// Returns after which time to look again, if that makes sense.
pub(crate) fn give_back() -> Option<Jiffies> {
    let _no_io = glue::NoIo::new();
    let _growth = GROWTH.lock();
    let mut pinned = 0;

    POOL.lock().put_ready_back();
    while let Some(age) = glue::idle_time() {
        let Some(removed) = POOL.lock().index.remove_idle(glue::now(), age) else {
            break;
        };

        // No one can be handed a page of this chunk any more, so that one that is referenced now
        // was freed too early: then the chunk returns to the index, and is tried again later.
        let (removed, backing) = removed.split();
        let Err(backing) = backing.try_unmap() else {
            glue::trace_give_back(removed.first_pfn(), removed.nr_pages());
            POOL.lock().counts.given_back += 1;
            continue;
        };

        pinned += 1;
        let (chunk, room) = removed.join(backing);
        if let Err(chunk) = POOL.lock().index.insert(chunk, room, glue::now()) {
            // Cannot be: the slot was left a moment ago, and only the holder of `GROWTH` fills one.
            core::mem::forget(chunk);
        }
    }

    let mut pool = POOL.lock();
    pool.put_ready_back();
    pool.counts.pinned = pinned;

    let next = glue::idle_time().and_then(|age| {
        let idle = pool.index.longest_idle(glue::now())?;

        Some(age.saturating_sub(idle).max(1))
    });
    pool.give_back_queued = next.is_some();
    next
}

/// What the pool has and has done.
pub(crate) fn statistics() -> (Totals, Counts) {
    let mut pool = POOL.lock();

    pool.put_ready_back();
    (pool.index.totals(), pool.counts)
}

/// The first frame number of the chunk in `slot`, its pages and how many of them are free.
pub(crate) fn describe(slot: usize) -> Option<(usize, usize, usize)> {
    let mut pool = POOL.lock();
    pool.put_ready_back();
    let chunk = pool.index.chunk(slot)?;

    Some((chunk.first_pfn(), chunk.nr_pages(), chunk.nr_free()))
}

/// The highest frame number of a page that ends at or below `max_addr`.
pub(crate) fn max_pfn(max_addr: PhysAddr) -> Option<usize> {
    let pages = match max_addr.checked_add(1) {
        Some(end) => end >> PAGE_SHIFT,
        None => 1 << (PhysAddr::BITS as usize - PAGE_SHIFT),
    };

    usize::try_from(pages).ok()?.checked_sub(1)
}

#[kunit_tests(xen_unpopulated_pool)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_frame_ends_at_the_limit() {
        assert_eq!(max_pfn(0), None);
        assert_eq!(max_pfn(PAGE_SIZE as PhysAddr - 2), None);
        assert_eq!(max_pfn(PAGE_SIZE as PhysAddr - 1), Some(0));
        assert_eq!(max_pfn(2 * PAGE_SIZE as PhysAddr - 2), Some(0));
        assert_eq!(max_pfn(PhysAddr::MAX), Some(usize::MAX >> PAGE_SHIFT));
    }
}
