// SPDX-License-Identifier: GPL-2.0

//! The chunks of the pool, against a list of sets.

use super::{all_sequences, check, fail_each, Draws};
use crate::unpopulated::index::{Chunk, Index, Totals};
use kernel::time::Jiffies;
use std::collections::BTreeSet;

/// What is done with an index.
#[derive(Clone, Debug)]
enum Op {
    Insert { nr_pages: usize, removable: bool },
    InsertTwice,
    Take(usize),
    TakeFront(usize),
    TakeRun(usize, usize, usize),
    Put(usize, usize, usize),
    PutOne(usize, usize),
    PutEach(Vec<(usize, usize)>, Vec<(usize, usize)>),
    Remove(Jiffies),
    RemoveAndReturn(Jiffies),
}

/// A chunk as a set; what stands behind it is its number.
struct Part {
    number: usize,
    nr_pages: usize,
    removable: bool,
    free: BTreeSet<usize>,
    free_since: Jiffies,
}

/// The distance of two chunks.
const APART: usize = 1000;

impl Part {
    fn is_idle(&self) -> bool {
        self.free.len() == self.nr_pages
    }

    fn first_pfn(&self) -> usize {
        // So that chunks are not aligned to much.
        APART * self.number + 3
    }
}

#[derive(Default)]
struct Model {
    slots: Vec<Option<Part>>,
    inserted: usize,
    now: Jiffies,
}

impl Model {
    fn parts(&self) -> impl DoubleEndedIterator<Item = (usize, &Part)> {
        let slots = self.slots.iter().enumerate();

        slots.filter_map(|(slot, part)| Some((slot, part.as_ref()?)))
    }

    fn totals(&self) -> Totals {
        let parts = || self.parts().map(|(_, part)| part);

        Totals {
            pages: parts().map(|part| part.nr_pages).sum(),
            free: parts().map(|part| part.free.len()).sum(),
            chunks: parts().count(),
            idle: parts().filter(|part| part.is_idle()).count(),
        }
    }

    /// The first `nr` pages, as the numbers of their chunks and their places.
    fn first(&self, nr: usize) -> Vec<(usize, usize)> {
        self.parts()
            .flat_map(|(_, part)| part.free.iter().map(|place| (part.number, *place)))
            .take(nr)
            .collect()
    }

    fn remove(&mut self, (number, place): (usize, usize)) {
        let mut parts = self.slots.iter_mut().flatten();
        let part = parts.find(|part| part.number == number).unwrap();

        assert!(part.free.remove(&place));
    }

    /// Returns whether the page was out.
    fn put(&mut self, slot: usize, place: usize) -> bool {
        let now = self.now;
        let Some(Some(part)) = self.slots.get_mut(slot) else {
            return false;
        };

        if place >= part.nr_pages || !part.free.insert(place) {
            return false;
        }
        if part.is_idle() {
            part.free_since = now;
        }
        true
    }

    /// The slots of the chunks that could go, the first of the smallest excepted.
    fn spare(&self) -> Vec<usize> {
        let mut slots: Vec<_> = self
            .parts()
            .filter(|(_, part)| part.removable && part.is_idle())
            .map(|(slot, part)| (part.nr_pages, slot))
            .collect();

        slots.sort();
        slots.drain(..slots.len().min(1));

        let mut slots: Vec<_> = slots.into_iter().map(|(_, slot)| slot).collect();

        slots.sort();
        slots
    }

    fn idle_for(&self, slot: usize) -> Jiffies {
        self.now
            .wrapping_sub(self.slots[slot].as_ref().unwrap().free_since)
    }
}

/// Does the same with both.
fn apply(index: &mut Index<usize>, model: &mut Model, op: &Op) {
    model.now = model.now.wrapping_add(10);

    match *op {
        Op::Insert {
            nr_pages,
            removable,
        } => {
            let room = index.vacancy().make_room().unwrap();
            let slot = model.slots.iter().position(Option::is_none);
            let slot = slot.unwrap_or(model.slots.len());
            let part = Part {
                number: model.inserted,
                nr_pages,
                removable,
                free: (0..nr_pages).collect(),
                free_since: model.now,
            };
            let chunk = Chunk::new(part.first_pfn(), nr_pages, removable, part.number).unwrap();

            assert_eq!(room.slot(), slot);
            assert!(index.insert(chunk, room, model.now).is_ok());
            if slot == model.slots.len() {
                model.slots.push(None);
            }
            model.slots[slot] = Some(part);
            model.inserted += 1;
        }
        Op::InsertTwice => {
            let rooms = [0, 1].map(|_| index.vacancy().make_room().unwrap());
            let [first, second] = rooms;

            // The slot is filled when the second comes.
            apply(
                index,
                model,
                &Op::Insert {
                    nr_pages: 3,
                    removable: true,
                },
            );
            for room in [first, second] {
                let chunk = Chunk::new(9, 1, true, usize::MAX).unwrap();

                assert!(index.insert(chunk, room, model.now).is_err());
            }
        }
        Op::Take(nr) => {
            let mut pages = Vec::new();
            let expected = model.first(nr);
            let is_taken = index.take(nr, |number, run| {
                assert!(!run.is_empty());
                pages.extend(run.map(|place| (*number, place)));
            });

            assert_eq!(is_taken, expected.len() == nr);
            if is_taken {
                assert_eq!(pages, expected);
                pages.into_iter().for_each(|page| model.remove(page));
            } else {
                assert!(pages.is_empty());
            }
        }
        Op::TakeFront(nr) => {
            let front = model.parts().find(|(_, part)| !part.free.is_empty());
            let front = front.map(|(slot, part)| (slot, part.free.len()));

            assert_eq!(index.front(), front);
            if let Some((slot, nr_free)) = front {
                let nr = nr.min(nr_free);
                let mut pages = Vec::new();
                let expected = model.first(nr);

                index.take_each(slot, nr, |number, place| pages.push((*number, place)));
                assert_eq!(pages, expected);
                pages.into_iter().for_each(|page| model.remove(page));
            }
        }
        Op::TakeRun(nr, align, max_pfn) => {
            let expected = model.parts().rev().find_map(|(_, part)| {
                let end = (max_pfn + 1)
                    .checked_sub(part.first_pfn())?
                    .min(part.nr_pages);
                let starts = 0..=end.checked_sub(nr)?;
                let start = starts.rev().find(|&start| {
                    (part.first_pfn() + start) % align == 0
                        && (start..start + nr).all(|place| part.free.contains(&place))
                })?;

                part.removable.then_some((part.number, start))
            });
            let taken = index.take_run(nr, align, max_pfn);

            assert_eq!(taken.map(|(number, start)| (*number, start)), expected);
            if let Some((number, start)) = expected {
                (start..start + nr).for_each(|place| model.remove((number, place)));
            }
        }
        Op::Put(slot, start, len) => {
            let room = match model.slots.get(slot) {
                Some(Some(part)) => part.nr_pages.saturating_sub(start),
                _ => len,
            };
            let len = len.min(room);
            let added = (start..start + len)
                .filter(|place| model.put(slot, *place))
                .count();

            assert_eq!(index.put(slot, start, len, model.now), added);
        }
        Op::PutOne(slot, place) => {
            let now = model.now;

            assert_eq!(
                index.put_one(slot, |_| place, || now),
                model.put(slot, place)
            );
        }
        Op::PutEach(ref pages, ref skipped) => {
            // Pages are given as slots and places, and only those of chunks have a place.
            let number = |slot: usize| model.slots.get(slot)?.as_ref().map(|part| part.number);
            let known: Vec<_> = pages
                .iter()
                .map(|page| (page.0, page.1, number(page.0)))
                .collect();
            let done = known
                .iter()
                .take_while(|(slot, place, number)| {
                    number.is_some() && *place < model.slots[*slot].as_ref().unwrap().nr_pages
                })
                .count();
            let result = index.put_each(
                known.first().map_or(0, |page| page.0),
                &known,
                model.now,
                |page| page.2.map(|_| page.0),
                |number, page| {
                    if page.2 == Some(*number) {
                        page.1
                    } else {
                        usize::MAX
                    }
                },
                |page| skipped.contains(&(page.0, page.1)),
            );
            let added = pages[..done]
                .iter()
                .filter(|page| !skipped.contains(page) && model.put(page.0, page.1))
                .count();

            assert_eq!(result, (done, added));
        }
        Op::Remove(age) | Op::RemoveAndReturn(age) => {
            let spare = model.spare();
            let longest = spare.iter().map(|slot| model.idle_for(*slot)).max();
            let slot = spare.into_iter().find(|slot| model.idle_for(*slot) >= age);

            assert_eq!(index.longest_idle(model.now), longest);

            let removed = index.remove_idle(model.now, age);

            assert_eq!(removed.is_some(), slot.is_some());
            let (Some(removed), Some(slot)) = (removed, slot) else {
                return;
            };
            let part = model.slots[slot].take().unwrap();
            let (removed, number) = removed.split();

            assert_eq!(number, part.number);
            assert_eq!(removed.first_pfn(), part.first_pfn());
            assert_eq!(removed.nr_pages(), part.nr_pages);
            assert_eq!(index.totals(), model.totals());
            if let Op::RemoveAndReturn(_) = op {
                let (chunk, room) = removed.join(number);

                assert_eq!(room.slot(), slot);
                assert!(index.insert(chunk, room, model.now).is_ok());
                model.slots[slot] = Some(Part {
                    free_since: model.now,
                    ..part
                });
            }
        }
    }
}

/// Compares what can be seen without changing anything.
fn compare(index: &Index<usize>, model: &Model) {
    assert_eq!(index.totals(), model.totals());
    assert_eq!(index.chunks().count(), model.totals().chunks);
    for slot in 0..model.slots.len() + 1 {
        let chunk = index.chunk(slot).map(|chunk| {
            (
                *chunk.backing(),
                chunk.first_pfn(),
                chunk.nr_pages(),
                chunk.nr_free(),
            )
        });
        let part = model.slots.get(slot).and_then(Option::as_ref);

        assert_eq!(
            chunk,
            part.map(|part| (
                part.number,
                part.first_pfn(),
                part.nr_pages,
                part.free.len()
            ))
        );
    }
    for (slot, part) in model.parts() {
        for place in [0, part.nr_pages - 1] {
            let pfn = part.first_pfn() + place;
            let located = index.locate(|number| pfn.wrapping_sub(APART * *number + 3));

            assert_eq!(located, Some((slot, place)));
        }
        let behind = part.first_pfn() + part.nr_pages;

        assert_eq!(
            index.locate(|number| behind.wrapping_sub(APART * *number + 3)),
            None
        );
    }
}

fn run(ops: &[Op]) {
    let mut index = Index::new();
    let mut model = Model::default();

    for op in ops {
        apply(&mut index, &mut model, op);
        compare(&index, &model);
    }

    let rest = Op::Take(model.totals().free);

    apply(&mut index, &mut model, &rest);
    compare(&index, &model);
}

fn operation(draws: &mut Draws) -> Op {
    let page = |draws: &mut Draws| (draws.below(6), draws.below(150));

    match draws.weighted(&[4, 2, 3, 2, 6, 3, 2, 2, 1, 1, 1]) {
        0 => Op::Take(draws.below(200)),
        1 => Op::Insert {
            nr_pages: draws.within(1..140),
            removable: draws.below(5) > 0,
        },
        2 => Op::TakeRun(draws.within(1..80), 1 << draws.below(6), draws.below(6000)),
        3 => Op::TakeFront(draws.within(1..70)),
        4 => Op::Put(draws.below(6), draws.below(140), draws.within(1..150)),
        5 => Op::Put(draws.below(6), draws.below(2), draws.within(1..150)),
        6 => Op::PutOne(draws.below(6), draws.below(150)),
        7 => {
            let mut pages = draws.list(30, page);

            pages.push(page(draws));
            Op::PutEach(pages, draws.list(30, page))
        }
        8 => Op::Remove(draws.below(60)),
        9 => Op::RemoveAndReturn(draws.below(60)),
        _ => Op::InsertTwice,
    }
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
fn all_short_sequences() {
    let mut ops = vec![Op::InsertTwice, Op::Remove(11), Op::RemoveAndReturn(11)];

    for removable in [false, true] {
        for nr_pages in 1..=2 {
            ops.push(Op::Insert {
                nr_pages,
                removable,
            });
        }
    }
    for nr in 1..=3 {
        ops.extend([Op::Take(nr), Op::TakeFront(nr)]);
    }
    ops.extend([Op::TakeRun(1, 1, usize::MAX - 1), Op::TakeRun(2, 2, 5000)]);
    for slot in 0..2 {
        ops.extend([
            Op::Put(slot, 0, 2),
            Op::Put(slot, 1, 1),
            Op::PutOne(slot, 0),
        ]);
    }
    ops.push(Op::PutEach(vec![(1, 0), (0, 0), (0, 1)], vec![(0, 1)]));
    all_sequences(&ops, 3, &mut run);
}

#[test]
fn an_index_that_cannot_grow_is_unchanged() {
    let mut index = Index::new();

    for number in 0..20 {
        let before = index.totals();

        fail_each(|_| {
            let Ok(room) = index.vacancy().make_room() else {
                assert_eq!(index.totals(), before);
                return false;
            };
            let Ok(chunk) = Chunk::new(APART * number, 9, true, number) else {
                assert_eq!(index.totals(), before);
                return false;
            };

            assert!(index.insert(chunk, room, 0).is_ok());
            true
        });
        assert_eq!(index.totals().chunks, number + 1);
    }
}
