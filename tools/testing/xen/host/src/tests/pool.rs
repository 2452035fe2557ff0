// SPDX-License-Identifier: GPL-2.0

//! The pool as a whole, against what is handed out.

use super::{all_sequences, check, number, Draws};
use crate::unpopulated::{chunk::PassedPage, pool, BALLOONED, GROWTH, POOL};
use kernel::{
    bindings::{self, balloon, memory},
    error::code::{ENOMEM, EOPNOTSUPP},
    host,
    io::{resource::Resource, PhysAddr},
    mm::pagemap::{GRANULE, PINNED},
    page::PAGE_SIZE,
};
use std::{
    collections::BTreeSet,
    mem::MaybeUninit,
    ptr::NonNull,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

/// The pages of the smallest step.
const STEP: usize = GRANULE / PAGE_SIZE;
/// The first page that there can be.
const START: usize = 1 << 20;
/// The pages of a pageblock.
const BLOCK: usize = 4 * STEP;
/// After how many jiffies a chunk is given back.
const AGE: usize = 250;

/// How a pool is made.
#[derive(Clone, Debug)]
struct Setup {
    /// The pages that there can be, in steps.
    steps: usize,
    ceiling: Option<usize>,
    balloonable: usize,
    /// Pages that are donated, of those numbers that RAM has.
    donated: Vec<usize>,
    /// Steps whose address space is someone else's.
    used: Vec<usize>,
    /// Pageblocks that have RAM in them.
    ram: Vec<usize>,
}

#[derive(Clone, Debug)]
enum Op {
    Alloc(usize),
    AllocRun(usize, usize, usize),
    /// Those of what is out that are chosen, in that order.
    Free(Vec<usize>),
    /// What was handed out last, so many of them, as they were handed out.
    FreeLast(usize),
    /// The same from the other end.
    FreeOldest(usize),
    FreeReversed(usize),
    FreeRun(usize),
    FreeAll,
    /// Pages that are not out.
    Refused(Vec<usize>),
    /// Pages in a row, of which some may be out.
    FreeRow(usize, usize),
    RefusedRun(usize, usize),
    Wait(usize),
    GiveBack,
    Pin(usize),
    Statistics,
    /// Before the next allocation, so many others succeed.
    Fail(usize),
}

/// What is known from outside.
#[derive(Default)]
struct Model {
    /// In the order in which they were handed out.
    out: Vec<usize>,
    runs: Vec<(usize, usize)>,
    refused: usize,
    grown: usize,
    given_back: usize,
    fails: bool,
}

/// A pool that is made anew.
struct World {
    setup: Setup,
    target: &'static Resource,
    /// What is known of the address space of the system besides.
    others: usize,
    model: Model,
}

impl World {
    fn new(setup: &Setup) -> Self {
        let bytes = |pages: usize| (pages * PAGE_SIZE) as PhysAddr;
        let target = Resource::new(bytes(START), bytes(STEP * setup.steps));
        let target: &'static Resource = Box::leak(Box::new(target));

        host::fail_nth(None);
        memory::reset(0);
        PINNED.lock().clear();
        // SAFETY: There is one thread.
        unsafe {
            POOL.init();
            GROWTH.init();
            BALLOONED.init();
            bindings::jiffies = usize::MAX - 1000;
            bindings::xen_unpopulated_idle_seconds = 1;
            bindings::xen_unpopulated_max_pages = setup.ceiling.unwrap_or(0);
            bindings::xen_unpopulated_ready.key = true;
        }
        *balloon::STATE.lock() = balloon::State {
            balloonable: setup.balloonable,
            pageblock: bytes(BLOCK),
            ram: setup
                .ram
                .iter()
                .map(|nr| bytes(START + BLOCK * nr))
                .collect(),
            ..balloon::State::default()
        };

        for &step in &setup.used {
            let space = kernel::io::resource::Reservation::request(
                Resource::iomem(),
                bytes(START + STEP * step),
                bytes(STEP),
                c"other",
                kernel::io::resource::Flags::IORESOURCE_BUSY,
            );

            std::mem::forget(space);
        }

        let runs = setup.donated.iter().map(|&pfn| (pfn, 3));
        let runs = runs.map(|(pfn, nr)| (NonNull::new(memory::page(pfn)).unwrap(), pfn, nr));

        pool::start((setup.steps > 0).then_some(target), runs);
        Self {
            setup: setup.clone(),
            target,
            others: Resource::iomem().nr_reserved(),
            model: Model::default(),
        }
    }

    /// The ranges of pages that exist.
    fn ranges(&self) -> Vec<(usize, usize)> {
        let chunks = (0..).map_while(|slot| (slot < 64).then(|| pool::describe(slot)));

        chunks.flatten().map(|(first, nr, _)| (first, nr)).collect()
    }

    fn alloc(&mut self, nr: usize) {
        let mut pages = vec![MaybeUninit::new(std::ptr::null_mut()); nr];
        let is_done = match &mut pages[..] {
            [] => true,
            [one] => pool::alloc_one(one).is_ok(),
            more => pool::alloc(more).is_ok(),
        };
        let had_to = !self.has_failed();

        if !is_done {
            let (totals, _) = pool::statistics();
            let missing = nr - totals.free.min(nr);
            let needed = missing.next_multiple_of(STEP);
            let room = self.setup.ceiling.map_or(usize::MAX, |ceiling| {
                ceiling.saturating_sub(totals.pages) / STEP * STEP
            });
            let donated = 3 * self.setup.donated.len();
            let space =
                STEP * (self.setup.steps - self.setup.used.len()) - (totals.pages - donated);

            assert!(missing > 0, "{nr} pages of {totals:?}");
            assert!(
                !had_to
                    || !self.setup.used.is_empty()
                    || !self.setup.ram.is_empty()
                    || needed > room.min(space),
                "{nr} pages of {totals:?} where {space} can be had"
            );
            return;
        }
        for page in pages {
            // SAFETY: All were written to when the array was made.
            let pfn = memory::pfn(unsafe { page.assume_init() });

            assert!(!self.model.out.contains(&pfn), "page {pfn} is out twice");
            self.model.out.push(pfn);
        }
    }

    fn alloc_run(&mut self, nr: usize, align: usize, max_pfn: usize) {
        let run = pool::Run { nr, align, max_pfn };
        let Ok(page) = pool::alloc_run(run) else {
            self.has_failed();
            return;
        };
        let first = memory::pfn(page.as_ptr());

        self.has_failed();
        assert!(first % align == 0 && first + nr - 1 <= max_pfn);
        assert!(self
            .model
            .out
            .iter()
            .all(|pfn| *pfn < first || *pfn >= first + nr));
        self.model.out.extend(first..first + nr);
        self.model.runs.push((first, nr));
        // In one chunk, that can be given back.
        assert!(self
            .ranges()
            .iter()
            .any(|(start, len)| *start >= START && *start <= first && first + nr <= start + len));
    }

    /// Returns whether something was to fail, which it is not from now on.
    fn has_failed(&mut self) -> bool {
        host::fail_nth(None);
        std::mem::take(&mut self.model.fails)
    }

    /// Frees pages that are out.
    fn free(&mut self, pfns: &[usize]) {
        free(pfns);
        self.model.out.retain(|pfn| !pfns.contains(pfn));
        self.model
            .runs
            .retain(|(first, nr)| pfns.iter().all(|pfn| pfn < first || *pfn >= first + nr));
    }

    fn apply(&mut self, op: &Op) {
        let nr_out = self.model.out.len();

        match *op {
            Op::Alloc(nr) => self.alloc(nr),
            Op::AllocRun(nr, align, above) => {
                let max_pfn = if above == 0 {
                    usize::MAX >> 13
                } else {
                    START + above - 1
                };

                self.alloc_run(nr.max(1), align, max_pfn);
            }
            Op::Free(ref chosen) => {
                let mut pfns: Vec<_> = chosen
                    .iter()
                    .filter(|_| nr_out > 0)
                    .map(|at| self.model.out[at % nr_out])
                    .collect();
                let mut seen = BTreeSet::new();

                pfns.retain(|pfn| seen.insert(*pfn));
                self.free(&pfns);
            }
            Op::FreeLast(nr) => {
                let pfns = self.model.out[nr_out - nr.min(nr_out)..].to_vec();

                self.free(&pfns);
            }
            Op::FreeOldest(nr) => {
                let pfns = self.model.out[..nr.min(nr_out)].to_vec();

                self.free(&pfns);
            }
            Op::FreeReversed(nr) => {
                let mut pfns = self.model.out[nr_out - nr.min(nr_out)..].to_vec();

                pfns.reverse();
                self.free(&pfns);
            }
            Op::FreeRun(at) => {
                if self.model.runs.is_empty() {
                    return;
                }

                let (first, nr) = self.model.runs[at % self.model.runs.len()];

                pool::free_run(passed(first).unwrap(), nr);
                self.model.runs.retain(|run| run.0 != first);
                self.model
                    .out
                    .retain(|pfn| *pfn < first || *pfn >= first + nr);
            }
            Op::FreeAll => {
                let pfns = self.model.out.clone();

                self.free(&pfns);
            }
            Op::Refused(ref places) => {
                let pfns: Vec<_> = places
                    .iter()
                    .map(|place| START + place)
                    .filter(|pfn| !self.model.out.contains(pfn))
                    .collect();

                free(&pfns);
                self.model.refused += pfns.len();
            }
            Op::FreeRow(place, nr) => {
                let pfns: Vec<_> = (START + place..START + place + nr).collect();
                let before = self.model.out.len();

                self.free(&pfns);
                self.model.refused += nr - (before - self.model.out.len());
            }
            Op::RefusedRun(place, nr) => {
                let first = START + place;
                let run = first..first + nr;
                let ranges = self.ranges();
                let chunk = ranges
                    .iter()
                    .find(|(start, len)| *start <= first && first < start + len);
                // What is behind the end of the chunk is none of this call's.
                let end = chunk.map_or(first, |(start, len)| (start + len).min(run.end));
                let valid = self
                    .model
                    .out
                    .iter()
                    .filter(|pfn| (first..end).contains(pfn))
                    .count();

                pool::free_run(passed(first).unwrap(), nr);
                self.model.refused += nr - valid;
                self.model.out.retain(|pfn| !(first..end).contains(pfn));
                self.model
                    .runs
                    .retain(|(start, len)| start + len <= first || *start >= end);
            }
            // SAFETY: There is one thread.
            Op::Wait(time) => unsafe { bindings::jiffies = bindings::jiffies.wrapping_add(time) },
            Op::GiveBack => self.give_back(),
            Op::Pin(at) => {
                let ranges = self.ranges();
                let mut pinned = PINNED.lock();

                pinned.clear();
                if !ranges.is_empty() {
                    pinned.insert(ranges[at % ranges.len()].0);
                }
            }
            Op::Statistics => self.compare(),
            Op::Fail(nth) => {
                host::fail_nth(Some(nth));
                self.model.fails = true;
            }
        }
    }

    fn give_back(&mut self) {
        self.has_failed();
        self.compare();

        let before = self.ranges();
        let next = pool::give_back();
        let after = self.ranges();
        let gone: Vec<_> = before
            .iter()
            .filter(|range| !after.contains(range))
            .collect();

        assert_eq!(after.len() + gone.len(), before.len());
        for (first, nr) in &gone {
            let run = *first..first + nr;

            assert!(*first >= START, "donated pages are given back");
            assert!(self.model.out.iter().all(|pfn| !run.contains(pfn)));
            assert!(PINNED.lock().range(run).next().is_none());
        }
        self.model.given_back += gone.len();

        // One that is idle stays, and none that could go is forgotten.
        assert!(self.nr_idle(&before) == 0 || self.nr_idle(&after) > 0);
        assert_eq!(next.is_some(), self.nr_idle(&after) > 1);
        assert!(next.is_none_or(|next| next > 0 && next <= AGE));
        balloon::STATE.lock().queued = next;
    }

    /// Compares what the pool says with what is out.
    fn compare(&mut self) {
        self.has_failed();

        let (totals, counts) = pool::statistics();
        let ranges = self.ranges();
        let state = balloon::STATE.lock();
        let ballooned = self
            .model
            .out
            .iter()
            .filter(|pfn| state.out.contains(pfn))
            .count();

        assert_eq!(totals.chunks, ranges.len());
        assert_eq!(totals.pages, ranges.iter().map(|(_, nr)| nr).sum::<usize>());
        assert_eq!(
            totals.free,
            totals.pages - (self.model.out.len() - ballooned)
        );
        assert_eq!((counts.ballooned, state.out.len()), (ballooned, ballooned));
        assert_eq!(state.refused, self.model.refused);
        assert_eq!(counts.refused, self.model.refused);
        assert_eq!(counts.given_back, self.model.given_back);
        assert_eq!(counts.grown, totals.chunks + counts.given_back);
        assert!(self.model.grown <= counts.grown);
        self.model.grown = counts.grown;
        for pfn in &self.model.out {
            assert!(
                state.out.contains(pfn)
                    || ranges
                        .iter()
                        .any(|(first, nr)| first <= pfn && *pfn < first + nr)
            );
        }
        if let Some(ceiling) = self.setup.ceiling {
            assert!(totals.pages <= ceiling.max(3 * self.setup.donated.len()));
        }
        for block in self.setup.ram.iter().map(|nr| START + BLOCK * nr) {
            assert!(ranges
                .iter()
                .all(|(first, nr)| first + nr <= block || block + BLOCK <= *first));
        }
        // Someone is to look after what could be given back.
        assert!(self.nr_idle(&ranges) < 2 || state.queued.is_some());
    }

    /// How many chunks that can be given back have no page out.
    fn nr_idle(&self, ranges: &[(usize, usize)]) -> usize {
        let is_idle = |(first, nr): &&(usize, usize)| {
            *first >= START
                && self
                    .model
                    .out
                    .iter()
                    .all(|pfn| pfn < first || *pfn >= first + nr)
        };

        ranges.iter().filter(is_idle).count()
    }

    /// Takes everything down, and checks that nothing is left.
    fn end(mut self) {
        self.compare();
        self.apply(&Op::FreeAll);
        self.compare();

        let (totals, _) = pool::statistics();

        assert_eq!(totals.free, totals.pages);
        PINNED.lock().clear();
        for _ in 0..2 {
            self.apply(&Op::Wait(AGE));
            self.give_back();
        }

        let (totals, _) = pool::statistics();

        assert!(totals.chunks <= self.setup.donated.len() + 1);
        // SAFETY: There is one thread.
        unsafe {
            POOL.init();
            GROWTH.init();
        }
        assert_eq!(self.target.nr_reserved(), 0);
        assert_eq!(Resource::iomem().nr_reserved(), self.setup.used.len());
        assert_eq!(self.others, self.setup.used.len());
        Resource::iomem().clear();
    }
}

/// A page as callers pass it.
fn passed(pfn: usize) -> Option<PassedPage> {
    // SAFETY: No page is looked at.
    unsafe { PassedPage::new(memory::page(pfn)) }
}

/// Has the pool take pages.
fn free(pfns: &[usize]) {
    let pages: Vec<_> = pfns.iter().map(|pfn| passed(*pfn)).collect();

    match &pages[..] {
        [] => {}
        [one] => pool::free_one(one),
        more => pool::free(more),
    }
}

fn run(setup: &Setup, ops: &[Op]) {
    let mut world = World::new(setup);

    for op in ops {
        world.apply(op);
    }
    world.end();
}

fn operation(draws: &mut Draws) -> Op {
    let few = |draws: &mut Draws| {
        let most = [9, 9, 9, 9, 70, 70, 300][draws.below(7)];

        draws.below(most)
    };

    match draws.weighted(&[8, 3, 2, 2, 4, 2, 2, 2, 1, 1, 1, 1, 2, 1, 2, 1, 1]) {
        0 => Op::Alloc(few(draws)),
        1 => {
            let above = draws.below(600);

            Op::AllocRun(few(draws), 1 << draws.below(7), above * draws.below(2))
        }
        2 => Op::Free(draws.list(90, Draws::draw)),
        3 => Op::Free(draws.list(2, Draws::draw)),
        4 => Op::FreeLast(few(draws)),
        5 => Op::FreeOldest(few(draws)),
        6 => Op::FreeReversed(few(draws)),
        7 => Op::FreeRun(draws.draw()),
        8 => Op::FreeAll,
        9 => Op::Refused(draws.list(9, |draws| draws.below(500))),
        10 => Op::RefusedRun(draws.below(500), draws.within(1..9)),
        11 => Op::Wait(draws.below(2 * AGE)),
        12 => Op::GiveBack,
        13 => Op::Pin(draws.draw()),
        14 => Op::Statistics,
        15 => Op::Fail(draws.below(7)),
        _ => Op::FreeRow(draws.below(90), draws.within(1..70)),
    }
}

fn setup(draws: &mut Draws) -> Setup {
    let steps = match draws.below(9) {
        0 => 0,
        1..5 => draws.within(1..8),
        _ => draws.within(8..200),
    };
    let ceiling = draws.within(1..700);
    let mut donated = draws.list(2, |draws| 40 * draws.below(9) + 7);
    let mut used = if draws.flag() {
        draws.list(3, |draws| draws.below(steps + 1))
    } else {
        Vec::new()
    };

    let ram = if draws.below(3) == 2 {
        draws.list(3, |draws| draws.below(steps * STEP / BLOCK + 1))
    } else {
        Vec::new()
    };

    donated.sort();
    donated.dedup();
    used.sort();
    used.dedup();
    used.retain(|step| *step < steps);
    Setup {
        steps,
        ceiling: (draws.below(3) == 2).then_some(ceiling),
        balloonable: draws.below(100) * draws.below(2),
        donated,
        used,
        ram,
    }
}

#[test]
fn random_operations() {
    let make = |first: &mut Draws, steps: Vec<Draws>| {
        let ops: Vec<_> = steps
            .into_iter()
            .map(|mut draws| operation(&mut draws))
            .collect();

        (setup(first), ops)
    };

    check(100, make, |(setup, ops)| run(setup, ops));
}

#[test]
fn all_short_sequences() {
    let ops = [
        Op::Alloc(1),
        Op::Alloc(3),
        Op::AllocRun(2, 2, 0),
        Op::AllocRun(4, 1, 8),
        Op::FreeLast(1),
        Op::FreeLast(4),
        Op::FreeOldest(1),
        Op::FreeReversed(3),
        Op::FreeRun(0),
        Op::Refused(vec![0]),
        Op::RefusedRun(1, 2),
        Op::FreeRow(0, 6),
        Op::GiveBack,
        Op::Wait(AGE),
    ];

    // Each size, up to that of a few chunks.
    for steps in 0..4 {
        for ceiling in [None, Some(STEP)] {
            let setup = Setup {
                steps,
                ceiling,
                balloonable: 2,
                donated: Vec::new(),
                used: Vec::new(),
                ram: Vec::new(),
            };

            all_sequences(&ops, 3, &mut |ops| run(&setup, ops));
        }
    }
}

/// A pool that has room for so many steps, of which it has one, with a page out.
fn small(steps: usize) -> World {
    let mut world = World::new(&Setup {
        steps,
        ceiling: None,
        balloonable: 10,
        donated: Vec::new(),
        used: Vec::new(),
        ram: Vec::new(),
    });

    world.apply(&Op::Alloc(1));
    world
}

#[test]
fn an_allocation_that_fails_changes_nothing() {
    for (steps, nr) in [(40, 70), (40, 9), (1, 5), (1, 12)] {
        let mut nr_failures = 0;

        // Each failure is on the way of a pool that is made anew.
        for nth in 0.. {
            let mut world = small(steps);
            let before = world.model.out.len();
            let (totals, _) = pool::statistics();

            world.apply(&Op::Fail(nth));
            if nth % 2 == 0 {
                world.apply(&Op::Alloc(nr));
            } else {
                world.apply(&Op::AllocRun(nr, 1, 0));
            }

            let is_done = world.model.out.len() > before;

            if !is_done {
                let (now, _) = pool::statistics();

                assert_eq!(now.pages - now.free, totals.pages - totals.free);
            }
            world.end();
            if nth > 60 {
                break;
            }
            nr_failures += usize::from(!is_done);
        }
        assert!(nr_failures > 0);
    }
}

#[test]
fn what_the_ceiling_does_not_permit_adds_nothing() {
    let mut world = World::new(&Setup {
        steps: 9,
        ceiling: Some(3 * STEP),
        balloonable: 0,
        donated: Vec::new(),
        used: Vec::new(),
        ram: Vec::new(),
    });

    world.apply(&Op::Alloc(1));
    world.apply(&Op::Alloc(3 * STEP));
    assert_eq!(world.ranges().len(), 1);
    world.apply(&Op::Alloc(3 * STEP - 1));
    assert_eq!(world.model.out.len(), 3 * STEP);
    world.end();
}

#[test]
fn pageblocks_with_ram_are_passed_over() {
    // At the beginning, in between, and at the end, where not all of it can be had anyway.
    let mut world = World::new(&Setup {
        steps: 22,
        ceiling: None,
        balloonable: 0,
        donated: Vec::new(),
        used: Vec::new(),
        ram: vec![0, 3, 5],
    });

    // Past the second, as there is not enough before, and where one that begins in the first, but
    // not at its beginning, would not end before the second.
    world.apply(&Op::AllocRun(2 * BLOCK + 1, 1, 0));
    assert!(world.model.out.is_empty());
    world.apply(&Op::AllocRun(2 * BLOCK, 1, 0));
    assert_eq!(world.model.out.first(), Some(&(START + BLOCK)));
    world.apply(&Op::AllocRun(BLOCK, 1, 0));
    assert_eq!(world.model.out.last(), Some(&(START + 5 * BLOCK - 1)));
    world.apply(&Op::FreeAll);
    world.apply(&Op::Wait(AGE));
    world.apply(&Op::GiveBack);

    // All else, page by page.
    for _ in 0..3 * BLOCK {
        world.apply(&Op::Alloc(1));
    }
    assert_eq!(world.model.out.len(), 3 * BLOCK);
    world.apply(&Op::Alloc(1));
    assert_eq!(world.model.out.len(), 3 * BLOCK);
    world.end();
}

#[test]
fn what_lies_beyond_a_chunk_is_refused() {
    let mut world = small(1);

    world.apply(&Op::Alloc(STEP - 1));
    assert_eq!(world.model.out.len(), STEP);
    world.apply(&Op::RefusedRun(STEP - 2, 5));
    assert_eq!((world.model.out.len(), world.model.refused), (STEP - 2, 3));
    world.apply(&Op::Statistics);
    world.end();
}

#[test]
fn what_cannot_be_had_says_why() {
    let run = |nr| pool::Run {
        nr,
        align: 1,
        max_pfn: usize::MAX >> 13,
    };
    let world = small(1);

    assert!(matches!(pool::alloc_run(run(STEP + 1)), Err(ENOMEM)));
    world.end();

    let world = small(2);

    host::fail_nth(Some(0));
    assert!(matches!(pool::alloc_run(run(STEP + 1)), Err(ENOMEM)));
    host::fail_nth(None);
    world.end();

    // There are no regions at all.
    let world = small(0);

    assert!(matches!(pool::alloc_run(run(1)), Err(EOPNOTSUPP)));
    world.end();
}

#[test]
fn the_ends_of_the_address_space() {
    assert_eq!(pool::max_pfn(PhysAddr::MAX), Some(usize::MAX >> 12));
    assert_eq!(pool::max_pfn(PAGE_SIZE as PhysAddr - 1), Some(0));
    assert_eq!(pool::max_pfn(PAGE_SIZE as PhysAddr - 2), None);
}

#[test]
fn several_threads() {
    const THREADS: usize = 4;
    const ROUNDS: usize = 3000;
    const STEPS: usize = 300;

    let end = Instant::now() + Duration::from_secs(number("XEN_HOST_SECONDS").unwrap_or(0));
    let world = World::new(&Setup {
        steps: STEPS,
        ceiling: None,
        balloonable: 0,
        donated: Vec::new(),
        used: Vec::new(),
        ram: Vec::new(),
    });
    // Whose each page is, so that none is two threads'.
    let taken: Vec<_> = (0..STEP * STEPS).map(|_| AtomicBool::new(false)).collect();
    let taken = &taken;

    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || {
                let mut random = thread as u32 + 1;
                let mut below = |limit: usize| {
                    random = random.wrapping_mul(1_103_515_245).wrapping_add(12345);
                    (random >> 12) as usize % limit
                };
                let mut out = Vec::new();
                let own = |pfn: usize| assert!(!taken[pfn - START].swap(true, Ordering::Relaxed));
                let disown =
                    |pfn: usize| assert!(taken[pfn - START].swap(false, Ordering::Relaxed));
                let mut round = 0;

                while round < ROUNDS || Instant::now() < end {
                    round += 1;
                    match below(8) {
                        0..3 => {
                            let most = if below(8) == 0 { 100 } else { 8 };
                            let nr = 1 + below(most);
                            let mut pages = vec![MaybeUninit::new(std::ptr::null_mut()); nr];

                            if pool::alloc(&mut pages).is_ok() {
                                for page in pages {
                                    // SAFETY: All were written to when the array was made.
                                    let pfn = memory::pfn(unsafe { page.assume_init() });

                                    own(pfn);
                                    out.push(pfn);
                                }
                            }
                        }
                        3 => {
                            let nr = 1 + below(20);
                            let run = pool::Run {
                                nr,
                                align: 1,
                                max_pfn: usize::MAX >> 13,
                            };

                            if let Ok(page) = pool::alloc_run(run) {
                                let first = memory::pfn(page.as_ptr());

                                (first..first + nr).for_each(own);
                                out.extend(first..first + nr);
                            }
                        }
                        4 => drop(pool::give_back()),
                        _ => {
                            let nr = below(40).min(out.len());
                            let at = below(out.len() - nr + 1);
                            let pfns: Vec<_> = out.drain(at..at + nr).collect();

                            pfns.iter().copied().for_each(disown);
                            free(&pfns);
                        }
                    }
                    if out.len() > 200 {
                        out.iter().copied().for_each(disown);
                        free(&out);
                        out.clear();
                    }
                }
                out.iter().copied().for_each(disown);
                free(&out);
            });
        }
    });

    let (totals, counts) = pool::statistics();

    assert_eq!((totals.free, counts.refused), (totals.pages, 0));
    drop(world);
}
