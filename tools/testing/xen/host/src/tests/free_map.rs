// SPDX-License-Identifier: GPL-2.0

//! The free pages of a chunk, against a set of them.

use super::{all_sequences, check, Draws};
use crate::unpopulated::free_map::{FreeMap, WORD_PAGES};
use std::{collections::BTreeSet, ops::Range};

/// What is done with a map.
#[derive(Clone, Debug)]
enum Op {
    TakeLowest(usize),
    TakeEach(usize),
    TakeRun {
        nr: usize,
        align: usize,
        offset: usize,
        end: usize,
    },
    Put(usize, usize),
    PutOne(usize),
    PutEach(Vec<usize>),
}

/// The same as a set.
struct Model {
    nr_pages: usize,
    free: BTreeSet<usize>,
}

impl Model {
    fn new(nr_pages: usize) -> Self {
        Self {
            nr_pages,
            free: (0..nr_pages).collect(),
        }
    }

    fn take(&mut self, run: Range<usize>) {
        for page in run {
            assert!(self.free.remove(&page));
        }
    }

    fn take_lowest(&mut self, max: usize) -> Range<usize> {
        let Some(&start) = self.free.first().filter(|_| max > 0) else {
            return 0..0;
        };
        let mut end = start;

        while end - start < max && self.free.contains(&end) {
            end += 1;
        }
        self.take(start..end);
        start..end
    }

    fn take_run(&mut self, nr: usize, align: usize, offset: usize, end: usize) -> Option<usize> {
        if nr == 0 {
            return None;
        }

        let highest = end.min(self.nr_pages).checked_sub(nr)?;
        let start = (0..=highest).rev().find(|&start| {
            (start + offset) % align == 0 && (start..start + nr).all(|at| self.free.contains(&at))
        })?;

        self.take(start..start + nr);
        Some(start)
    }

    fn put(&mut self, page: usize) -> bool {
        page < self.nr_pages && self.free.insert(page)
    }
}

/// Does the same with both.
fn apply(map: &mut FreeMap, model: &mut Model, op: &Op) {
    match *op {
        Op::TakeLowest(max) => assert_eq!(map.take_lowest(max), model.take_lowest(max)),
        Op::TakeEach(max) => {
            let mut pages = Vec::new();
            let expected: Vec<_> = model.free.iter().copied().take(max).collect();

            assert_eq!(map.take_each(max, |page| pages.push(page)), expected.len());
            assert_eq!(pages, expected);
            for page in pages {
                model.free.remove(&page);
            }
        }
        Op::TakeRun {
            nr,
            align,
            offset,
            end,
        } => assert_eq!(
            map.take_run(nr, align, offset, end),
            model.take_run(nr, align, offset, end)
        ),
        Op::Put(start, len) => {
            let added = (start..start + len).filter(|page| model.put(*page)).count();

            assert_eq!(map.put(start, len), added);
        }
        Op::PutOne(page) => assert_eq!(map.put_one(page), model.put(page)),
        Op::PutEach(ref pages) => {
            let added = pages.iter().filter(|page| model.put(**page)).count();

            assert_eq!(map.put_each(pages.iter().copied()), added);
        }
    }
    assert_eq!(map.nr_pages(), model.nr_pages);
    assert_eq!(map.nr_free(), model.free.len());
    assert_eq!(map.is_wholly_free(), model.free.len() == model.nr_pages);
}

/// Checks that the map has just the pages that the model has.
fn finish(mut map: FreeMap, mut model: Model) {
    while !model.free.is_empty() {
        assert_eq!(map.take_lowest(7), model.take_lowest(7));
    }
    assert_eq!(map.take_lowest(1), 0..0);
    assert_eq!(map.nr_free(), 0);
}

fn operation(draws: &mut Draws, nr_pages: usize) -> Op {
    match draws.weighted(&[1; 9]) {
        0 => Op::TakeLowest(draws.below(9)),
        1 => Op::TakeLowest(draws.below(nr_pages + 2)),
        2 => Op::TakeEach(draws.below(9)),
        3 => Op::TakeEach(draws.below(nr_pages + 2)),
        4 => {
            let align = 1 << draws.below(8);

            Op::TakeRun {
                nr: draws.below(40),
                align,
                offset: draws.below(align),
                end: draws.below(nr_pages + 9),
            }
        }
        5 => Op::TakeRun {
            nr: draws.below(nr_pages + 2),
            align: 1,
            offset: 0,
            end: usize::MAX,
        },
        6 => {
            let start = draws.below(nr_pages + 1);
            let most = (nr_pages - start).min(WORD_PAGES * 2 + 2);

            Op::Put(start, draws.below(most + 1))
        }
        7 => Op::PutOne(draws.below(nr_pages + 70)),
        _ => Op::PutEach(draws.list(20, |draws| draws.below(nr_pages))),
    }
}

#[test]
fn random_operations() {
    let make = |first: &mut Draws, steps: Vec<Draws>| {
        let nr_pages = first.within(1..400);
        let operations = steps.into_iter();

        (
            nr_pages,
            operations
                .map(|mut draws| operation(&mut draws, nr_pages))
                .collect::<Vec<_>>(),
        )
    };

    check(120, make, |(nr_pages, ops)| {
        let mut map = FreeMap::new(*nr_pages).unwrap();
        let mut model = Model::new(*nr_pages);

        for op in ops {
            apply(&mut map, &mut model, op);
        }
        finish(map, model);
    });
}

/// All there is to do with a map of so many pages.
fn all_operations(nr_pages: usize) -> Vec<Op> {
    let mut ops = Vec::new();

    for nr in 0..=nr_pages + 1 {
        ops.extend([Op::TakeLowest(nr), Op::TakeEach(nr), Op::PutOne(nr)]);
        for (align, offset) in [(1, 0), (2, 0), (2, 1), (4, 3)] {
            for end in [nr_pages - 1, usize::MAX] {
                ops.push(Op::TakeRun {
                    nr,
                    align,
                    offset,
                    end,
                });
            }
        }
    }
    for start in 0..nr_pages {
        for len in 1..=nr_pages - start {
            ops.push(Op::Put(start, len));
        }
    }
    ops
}

#[test]
fn all_short_sequences() {
    for nr_pages in 1..=4 {
        all_sequences(&all_operations(nr_pages), 2, &mut |ops| {
            let mut map = FreeMap::new(nr_pages).unwrap();
            let mut model = Model::new(nr_pages);

            for op in ops {
                apply(&mut map, &mut model, op);
            }
            finish(map, model);
        });
    }
}

#[test]
fn all_short_sequences_across_words() {
    const NR_PAGES: usize = 2 * WORD_PAGES + 2;

    let mut ops: Vec<_> = [0, 63, 64, 127, 128, 129].map(Op::PutOne).into();

    ops.extend([1, 2, 3].map(Op::TakeLowest));
    ops.extend([1, 2].map(Op::TakeEach));
    for (start, len) in [(63, 2), (62, 66), (60, 70), (64, 64), (127, 3)] {
        ops.push(Op::Put(start, len));
    }
    for (nr, align, end) in [
        (1, 1, 64),
        (2, 1, 66),
        (2, 64, 129),
        (66, 1, 999),
        (1, 64, 999),
    ] {
        ops.push(Op::TakeRun {
            nr,
            align,
            offset: 0,
            end,
        });
    }

    all_sequences(&ops, 3, &mut |ops| {
        let mut map = FreeMap::new(NR_PAGES).unwrap();
        let mut model = Model::new(NR_PAGES);

        apply(&mut map, &mut model, &Op::TakeEach(NR_PAGES));
        for op in ops {
            apply(&mut map, &mut model, op);
        }
        finish(map, model);
    });
}

#[test]
fn a_map_needs_memory() {
    assert_eq!(super::fail_each(|_| FreeMap::new(100).is_ok()), 1);
}
