// SPDX-License-Identifier: GPL-2.0

//! References that a device keeps, against sets of them, on one CPU and on several.

use crate::grant_dma_ops::cache::{Cache, BLOCK};
use kernel::{bindings::grants, xen::grant::References};

/// Gets `count` references from the table.
fn alloc(count: u32) -> References {
    References::alloc(count, 0).unwrap()
}

/// Empties a cache that has got everything back, and checks that nothing was lost.
fn finish(cache: &Cache) {
    assert_eq!(cache.nr_idle(), cache.nr_owned());
    drop(cache.drain());
    assert!(cache.is_empty());
    assert_eq!((cache.nr_idle(), grants::nr_allocated()), (0, 0));
}

#[cfg(not(loom))]
mod model {
    use super::*;
    use crate::{
        grant_dma_ops::run_map,
        tests::{check, number, Draws},
    };
    use kernel::host;
    use std::{
        collections::BTreeSet,
        sync::atomic::{AtomicBool, Ordering},
        time::{Duration, Instant},
    };

    #[derive(Clone, Debug)]
    enum Op {
        Fill,
        Take(u32),
        Put(usize),
        /// Splits what is out, so that it comes back in pieces.
        Split(usize, u32),
        PartWith(u32),
        Disown(usize),
        Drain,
        /// Takes so many in a row out of so many, and puts one of these back right away.
        Lend(u32, Vec<u32>, bool),
        /// Puts back what is out, all at once.
        Collect,
        Stranger(u32),
    }

    /// Which references are owned and which of them idle, by their numbers.
    #[derive(Default)]
    struct Model {
        base: u32,
        owned: BTreeSet<u32>,
        idle: BTreeSet<u32>,
        out: Vec<References>,
        strangers: Vec<References>,
    }

    impl Model {
        fn bits(&self, set: &BTreeSet<u32>) -> u64 {
            set.iter().fold(0, |bits, nr| bits | 1 << (nr - self.base))
        }

        /// The lowest run that is idle.
        fn take(&mut self, count: u32) -> Option<u32> {
            let (at, _) = run_map::find(self.bits(&self.idle), count)?;
            let first = self.base + at;

            for nr in first..first + count {
                assert!(self.idle.remove(&nr));
            }
            Some(first)
        }

        fn owns(&self, references: &References) -> bool {
            numbers(references).all(|nr| self.owned.contains(&nr))
        }
    }

    fn numbers(references: &References) -> impl Iterator<Item = u32> {
        let first = references.first().as_raw();

        first..first + references.count()
    }

    fn apply(cache: &Cache, model: &mut Model, op: &Op) {
        match op {
            Op::Fill => {
                let block = alloc(BLOCK);
                let first = block.first().as_raw();

                match cache.fill(block) {
                    Some(_) => assert!(!model.owned.is_empty()),
                    None => {
                        assert!(model.owned.is_empty());
                        model.base = first;
                        model.owned = (first..first + BLOCK).collect();
                        model.idle = model.owned.clone();
                    }
                }
                assert!(cache.fill(alloc(BLOCK - 1)).is_some());
            }
            Op::Take(count) => {
                let taken = cache.take(*count);

                assert_eq!(
                    taken.as_ref().map(|taken| taken.first().as_raw()),
                    model.take(*count)
                );
                assert!(taken.as_ref().is_none_or(|taken| taken.count() == *count));
                model.out.extend(taken);
            }
            Op::Put(at) if !model.out.is_empty() => {
                let references = model.out.swap_remove(at % model.out.len());
                let its: Vec<_> = numbers(&references).collect();

                assert!(cache.put(references).is_none());
                model.idle.extend(its);
            }
            Op::Split(at, count) if !model.out.is_empty() => {
                let references = model.out.swap_remove(at % model.out.len());

                match references.split_at(*count) {
                    Ok((one, other)) => model.out.extend([one, other]),
                    Err(references) => model.out.push(references),
                }
            }
            Op::PartWith(count) => {
                let taken = cache.part_with(*count);

                assert_eq!(
                    taken.as_ref().map(|taken| taken.first().as_raw()),
                    model.take(*count)
                );
                for nr in taken.iter().flat_map(numbers) {
                    model.owned.remove(&nr);
                }
                model.strangers.extend(taken);
            }
            Op::Disown(at) if !model.out.is_empty() => {
                let references = model.out.swap_remove(at % model.out.len());

                assert!(cache.disown(references.first(), references.count()));
                assert!(!cache.disown(references.first(), references.count()));
                for nr in numbers(&references) {
                    model.owned.remove(&nr);
                }
                model.strangers.push(references);
            }
            Op::Drain => {
                let before = grants::nr_allocated();

                drop(cache.drain());
                assert_eq!(grants::nr_allocated(), before - model.idle.len());
                for nr in std::mem::take(&mut model.idle) {
                    model.owned.remove(&nr);
                }
            }
            Op::Lend(count, runs, keep) => {
                let lowest: BTreeSet<_> =
                    model.idle.iter().copied().take(*count as usize).collect();
                let mut map = run_map::RunMap::lent(model.bits(&lowest));
                let mut part = cache.lend(*count);

                assert_eq!(cache.nr_idle() as usize, model.idle.len() - lowest.len());
                for run in runs {
                    let taken = part.take(*run);
                    let place = taken
                        .as_ref()
                        .map(|taken| taken.first().as_raw() - model.base);

                    assert_eq!(place, map.take(*run));
                    let Some(taken) = taken else {
                        continue;
                    };
                    if *keep {
                        numbers(&taken).for_each(|nr| assert!(model.idle.remove(&nr)));
                        model.out.push(taken);
                    } else {
                        let _ = map.put(place.unwrap(), taken.count());

                        assert!(part.put(taken).is_none());
                    }
                }
                if let Some(stranger) = model.strangers.pop() {
                    model.strangers.extend(part.put(stranger));
                    assert!(!model.strangers.is_empty());
                }
                cache.put_all(part);
            }
            Op::Collect => {
                let mut part = cache.collector();

                for references in model.out.drain(..) {
                    model.idle.extend(numbers(&references));
                    assert!(part.put(references).is_none());
                }
                if let Some(stranger) = model.strangers.pop() {
                    model.strangers.extend(part.put(stranger));
                    assert!(!model.strangers.is_empty());
                }
                cache.put_all(part);
            }
            Op::Stranger(count) => {
                let references = alloc(*count);

                assert!(!model.owns(&references));
                assert!(!cache.disown(references.first(), *count));
                model.strangers.extend(cache.put(references));
                assert!(!model.strangers.is_empty());
                if let Some(stranger) = cache.put(model.strangers.swap_remove(0)) {
                    // In half of the cases it is not kept.
                    if count % 2 == 0 {
                        model.strangers.push(stranger);
                    }
                } else {
                    panic!("a stranger is put into the cache");
                }
            }
            _ => {}
        }
        assert_eq!(cache.nr_owned() as usize, model.owned.len());
        assert_eq!(cache.nr_idle() as usize, model.idle.len());
        assert_eq!(cache.is_empty(), model.owned.is_empty());

        let others = model.strangers.iter().map(|one| one.count() as usize);

        assert_eq!(
            grants::nr_allocated(),
            model.owned.len() + others.sum::<usize>()
        );
    }

    fn operation(draws: &mut Draws) -> Op {
        let count = |draws: &mut Draws| {
            let most = [6, 6, 6, BLOCK as usize + 2][draws.below(4)];

            draws.below(most) as u32
        };

        match draws.weighted(&[2, 5, 4, 2, 1, 1, 1, 2, 1, 1]) {
            0 => Op::Fill,
            1 => Op::Take(count(draws)),
            2 => Op::Put(draws.draw()),
            3 => Op::Split(draws.draw(), draws.below(5) as u32),
            4 => Op::PartWith(count(draws)),
            5 => Op::Disown(draws.draw()),
            6 => Op::Drain,
            7 => {
                let count = count(draws);

                Op::Lend(
                    count,
                    draws.list(6, |draws| draws.below(5) as u32),
                    draws.flag(),
                )
            }
            8 => Op::Collect,
            _ => Op::Stranger(draws.within(1..9) as u32),
        }
    }

    fn run(ops: &[Op]) {
        let cache = Cache::empty();
        let mut model = Model::default();
        let logged = host::logged();

        grants::reset(2000);
        for op in ops {
            apply(&cache, &mut model, op);
        }
        apply(&cache, &mut model, &Op::Collect);
        model.strangers.clear();
        finish(&cache);
        // Nothing was taken for what is put back twice.
        assert_eq!(host::logged(), logged);
    }

    #[test]
    fn random_operations() {
        let operations = |_: &mut Draws, steps: Vec<Draws>| -> Vec<_> {
            steps
                .into_iter()
                .map(|mut draws| operation(&mut draws))
                .collect()
        };

        check(80, operations, |ops| run(ops));
    }

    #[test]
    fn what_is_put_back_twice_is_told_and_not_owned_twice() {
        grants::reset(2000);

        let cache = Cache::empty();

        assert!(cache.fill(alloc(BLOCK)).is_none());

        let one = cache.take(2).unwrap();
        let (first, count) = one.into_raw();
        // SAFETY: It is what a buffer that is unmapped twice amounts to. Nobody uses them.
        let again = || unsafe { References::from_raw(first, count) };
        let mut logged = host::logged();
        let mut expect = |more| {
            logged += more;
            assert_eq!(host::logged(), logged);
        };

        assert!(cache.put(again()).is_none());
        expect(0);
        assert!(cache.put(again()).is_none());
        expect(1);

        // Of two at once too, and of those in a part.
        let mut part = cache.lend(BLOCK);

        assert!(part.put(again()).is_none());
        expect(1);
        cache.put_all(part);
        expect(0);

        let (mut one, mut other) = (cache.collector(), cache.take(3).unwrap().into_raw());

        assert!(one.put(again()).is_some_and(|strangers| {
            let _ = strangers.into_raw();
            true
        }));
        other.1 = 3;
        one = cache.collector();
        // SAFETY: As above.
        assert!(one
            .put(unsafe { References::from_raw(other.0, other.1) })
            .is_none());
        // SAFETY: As above.
        assert!(cache
            .put(unsafe { References::from_raw(other.0, other.1) })
            .is_none());
        expect(0);
        cache.put_all(one);
        expect(1);
        finish(&cache);
    }

    #[test]
    fn several_threads() {
        const THREADS: usize = 4;
        const ROUNDS: u32 = 3000;

        grants::reset(1000);

        let end = Instant::now() + Duration::from_secs(number("XEN_HOST_SECONDS").unwrap_or(0));
        let cache = &Cache::empty();
        let filling = &AtomicBool::new(false);

        std::thread::scope(|scope| {
            for thread in 0..THREADS as u32 {
                scope.spawn(move || {
                    let mut random = thread + 1;
                    let mut below = |limit| {
                        random = random.wrapping_mul(1_103_515_245).wrapping_add(12345);
                        (random >> 16) % limit
                    };
                    let mut out = Vec::new();
                    let mut round = 0;

                    while round < ROUNDS || Instant::now() < end {
                        round += 1;
                        match below(16) {
                            0..5 => out.extend(cache.take(1 + below(4))),
                            5..9 if !out.is_empty() => {
                                let at = below(out.len() as u32) as usize;

                                // What is not of the cache goes back to the table.
                                drop(cache.put(out.swap_remove(at)));
                            }
                            9 => drop(cache.drain()),
                            10 => out.extend(References::alloc(1 + below(4), 0).ok()),
                            11 => {
                                let mut part = cache.lend(below(20));

                                if let Some(taken) = part.take(1 + below(3)) {
                                    if below(2) == 0 {
                                        assert!(part.put(taken).is_none());
                                    } else {
                                        out.push(taken);
                                    }
                                }
                                cache.put_all(part);
                            }
                            12 => {
                                // So that the block stays meanwhile.
                                if let Some(one) = cache.take(1) {
                                    let mut part = cache.collector();

                                    for references in out.drain(..) {
                                        drop(part.put(references));
                                    }
                                    assert!(part.put(one).is_none());
                                    cache.put_all(part);
                                }
                            }
                            13 => out.extend(cache.part_with(1 + below(3))),
                            14 if !out.is_empty() => {
                                let at = below(out.len() as u32) as usize;
                                let references = out.swap_remove(at);

                                cache.disown(references.first(), references.count());
                                drop(references);
                            }
                            _ => {
                                if !filling.swap(true, Ordering::Acquire) {
                                    if let Ok(block) = References::alloc(BLOCK, 0) {
                                        drop(cache.fill(block));
                                    }
                                    filling.store(false, Ordering::Release);
                                }
                            }
                        }
                        if out.len() > 40 {
                            out.drain(..).for_each(|one| drop(cache.put(one)));
                        }
                    }
                    out.drain(..).for_each(|one| drop(cache.put(one)));
                });
            }
        });
        finish(cache);
    }
}

/// All that several CPUs can see of each other's doing, by loom.
#[cfg(loom)]
mod interleavings {
    use super::*;
    use loom::{sync::Arc, thread};

    /// A cache that had a block, which it gave up but for so many references.
    fn cache(left: u32) -> Arc<Cache> {
        grants::reset(200);

        let cache = Arc::new(Cache::empty());

        assert!(cache.fill(alloc(BLOCK)).is_none());

        let rest = cache.take(left);

        drop(cache.drain());
        if let Some(rest) = rest {
            assert!(cache.put(rest).is_none());
        }
        cache
    }

    /// Looks at all interleavings of what two threads do with a cache, each with something of its
    /// own, and at what is left in the end.
    ///
    /// To save time loom leaves out what makes no difference, but it only knows of the last access
    /// to a variable. What it misses where the one thread runs first is seen where the other does.
    fn race<A: 'static, B: 'static>(
        make: fn() -> (Arc<Cache>, A, B),
        one: fn(&Cache, A),
        other: fn(&Cache, B),
    ) {
        loom::model(move || {
            let (cache, first, second) = make();
            let shared = cache.clone();
            let thread = thread::spawn(move || one(&shared, first));

            other(&cache, second);
            thread.join().unwrap();
            finish(&cache);
        });
        loom::model(move || {
            let (cache, first, second) = make();
            let shared = cache.clone();
            let thread = thread::spawn(move || other(&shared, second));

            one(&cache, first);
            thread.join().unwrap();
            finish(&cache);
        });
    }

    fn fill(cache: &Cache, block: References) {
        assert!(cache.fill(block).is_none());
    }

    #[test]
    fn a_reference_of_an_old_block_is_a_stranger() {
        race(
            // It has the number that the first of the old block had.
            || (cache(0), alloc(1), alloc(BLOCK)),
            |cache, stranger| assert!(cache.put(stranger).is_some()),
            fill,
        );
    }

    #[test]
    fn what_is_no_longer_of_the_block_is_not_disowned() {
        race(
            || (cache(0), alloc(1), alloc(BLOCK)),
            |cache, stranger| assert!(!cache.disown(stranger.first(), 1)),
            fill,
        );
    }

    #[test]
    fn what_is_taken_is_of_the_block_that_is_there() {
        race(
            || (cache(0), alloc(1), alloc(BLOCK)),
            |cache, other| {
                if let Some(taken) = cache.take(1) {
                    assert!(taken.first() > other.first());
                    assert!(cache.put(taken).is_none());
                }
            },
            fill,
        );
    }

    #[test]
    fn what_is_lent_is_of_the_block_that_is_there() {
        race(
            || (cache(0), alloc(1), alloc(BLOCK)),
            |cache, other| {
                // Where nothing is idle nothing is replaced by nothing, which loom takes for
                // something that may come after what the other thread stores.
                if cache.nr_idle() == 0 {
                    return;
                }

                let mut part = cache.lend(2);

                if let Some(taken) = part.take(1) {
                    assert!(taken.first() > other.first());
                    assert!(part.put(taken).is_none());
                }
                cache.put_all(part);
            },
            fill,
        );
    }

    #[test]
    fn what_is_given_up_is_of_the_block_that_is_there() {
        race(
            || (cache(0), alloc(1), alloc(BLOCK)),
            |cache, other| {
                // As above.
                if cache.nr_idle() > 0 {
                    drop(cache.drain());
                }
                drop(other);
            },
            fill,
        );
    }

    #[test]
    fn a_collector_takes_no_stranger() {
        race(
            || (cache(0), alloc(1), alloc(BLOCK)),
            |cache, stranger| {
                // With a reference of the block it is there to stay.
                let taken = cache.take(1);
                let mut part = cache.collector();

                if let Some(taken) = taken {
                    assert!(part.put(stranger).is_some());
                    assert!(part.put(taken).is_none());
                }
                cache.put_all(part);
            },
            fill,
        );
    }

    #[test]
    fn nothing_is_lost_where_a_block_is_drained_while_it_is_used() {
        race(
            || (cache(2), (), ()),
            |cache, ()| {
                if let Some(taken) = cache.take(1) {
                    drop(cache.put(taken));
                }
            },
            |cache, ()| drop(cache.drain()),
        );
    }

    #[test]
    fn nothing_is_lost_where_blocks_are_exchanged_while_one_is_used() {
        race(
            || (cache(1), (), alloc(BLOCK)),
            |cache, ()| {
                if let Some(taken) = cache.take(1) {
                    assert!(cache.put(taken).is_none());
                }
            },
            |cache, block| {
                drop(cache.drain());
                drop(cache.fill(block));
            },
        );
    }

    #[test]
    fn a_part_is_collected_while_others_take() {
        race(
            || {
                let cache = cache(3);
                let taken = cache.take(1).unwrap();

                (cache, taken, ())
            },
            |cache, taken| {
                let mut part = cache.collector();

                assert!(part.put(taken).is_none());
                cache.put_all(part);
            },
            |cache, ()| {
                let part = cache.lend(1);

                cache.put_all(part);
            },
        );
    }
}
