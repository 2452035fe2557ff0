// SPDX-License-Identifier: GPL-2.0

//! The pages that are ready, against a list of them.

use super::{
    check,
    page_list::{passed, pool_page},
    Draws,
};
use crate::unpopulated::ready::{Ready, READY_PAGES};
use kernel::bindings::memory;
use std::mem::MaybeUninit;

#[derive(Clone, Debug)]
enum Op {
    /// With pages that are so far from one another.
    Refill(Vec<usize>),
    Take(usize),
    TakeOne,
    /// What was handed out last, or, with another number, what was not.
    Put(usize, usize),
    PutOne(usize),
    Has(usize),
    HasOne(usize),
    TakeRun,
}

/// Those that are known, and from where on they are ready.
#[derive(Default)]
struct Model {
    known: Vec<usize>,
    next: usize,
    slot: usize,
}

impl Model {
    fn len(&self) -> usize {
        self.known.len() - self.next
    }

    /// Forgets pages up to one that was taken back by others, and tells whether it is ready.
    fn has(&mut self, page: usize) -> bool {
        match self.known.iter().position(|known| *known == page) {
            Some(at) if at >= self.next => true,
            Some(at) => {
                self.known.drain(..=at);
                self.next -= at + 1;
                false
            }
            None => false,
        }
    }
}

fn apply(ready: &mut Ready, model: &mut Model, near: &mut usize, op: &Op) {
    match *op {
        Op::Refill(ref distances) => {
            if model.len() > 0 {
                return;
            }

            let mut page = 5;

            model.slot += 1;
            model.known.clear();

            let mut refill = ready.refill(model.slot, distances.len());

            for distance in distances {
                page += distance;
                model.known.push(page);
                refill.add(pool_page(page));
            }
            refill.finish();
            model.next = 0;
        }
        Op::Take(nr) => {
            let mut pages = vec![MaybeUninit::new(std::ptr::null_mut()); nr];
            let is_taken = ready.take(&mut pages);

            assert_eq!(is_taken, nr <= model.len());
            if is_taken {
                for (page, nr) in pages.iter().zip(&model.known[model.next..]) {
                    // SAFETY: It was written to when the array was made.
                    assert_eq!(unsafe { page.assume_init() }, memory::page(*nr));
                }
                model.next += nr;
            }
        }
        Op::TakeOne => {
            let mut page = MaybeUninit::new(std::ptr::null_mut());
            let is_taken = ready.take_one(&mut page);

            assert_eq!(is_taken, model.len() > 0);
            if is_taken {
                // SAFETY: As above.
                assert_eq!(
                    unsafe { page.assume_init() },
                    memory::page(model.known[model.next])
                );
                model.next += 1;
            }
        }
        Op::Put(nr, back) => {
            let end = model.next.saturating_sub(back);
            let out = &model.known[end.saturating_sub(nr)..end];
            let pages: Vec<_> = out.iter().map(|nr| passed(Some(*nr))).collect();
            let is_last = out.is_empty() || back == 0;

            assert_eq!(ready.put(&pages), is_last);
            if is_last {
                model.next -= pages.len();
            }

            // More than are known.
            assert!(!ready.put(&vec![None; model.next + 1]));
        }
        Op::PutOne(back) => {
            let at = model.next.checked_sub(back + 1);
            let page = at.map(|at| model.known[at]);
            let is_last = page.is_some() && back == 0;

            assert_eq!(ready.put_one(&passed(page)), is_last);
            if is_last {
                model.next -= 1;
            }
        }
        Op::Has(page) => {
            let address = passed(Some(page)).unwrap();
            let (low, high) = ready.span();
            let span = (low <= high).then(|| {
                let first = model.known.first().unwrap();

                (
                    memory::page(*first).addr(),
                    memory::page(*model.known.last().unwrap()).addr(),
                )
            });

            assert_eq!(span.is_some(), !model.known.is_empty());
            assert_eq!(ready.knows_any(), !model.known.is_empty());
            if let Some(span) = span {
                assert_eq!((low, high), span);
                if address.addr() >= low && address.addr() <= high {
                    assert_eq!(ready.has(address.addr(), near), model.has(page));
                }
            }
        }
        Op::HasOne(page) => {
            assert_eq!(ready.has_one(passed(Some(page)).unwrap()), model.has(page));
        }
        Op::TakeRun => {
            let ready_pages = model.known.split_off(model.next);
            let run = ready.take_run().map(|(page, nr)| (page.as_ptr(), nr));
            let len = (1..ready_pages.len())
                .take_while(|at| ready_pages[*at] == ready_pages[0] + at)
                .count()
                + 1;

            assert_eq!(
                run,
                ready_pages.first().map(|page| (memory::page(*page), len))
            );
            model.known = ready_pages.get(len..).unwrap_or(&[]).into();
            model.next = 0;
        }
    }
    assert_eq!(ready.len(), model.len());
    if !model.known.is_empty() {
        assert_eq!(ready.slot(), model.slot);
    }
    assert_eq!(ready.knows_any(), !model.known.is_empty());
    for page in 0..40 {
        // SAFETY: No page is looked at.
        let page = passed(Some(page)).unwrap();
        let (first, last) = (model.known.first(), model.known.last());
        let number = memory::pfn(page.as_ptr());

        for nr in [1, 3] {
            let overlaps = first.is_some_and(|first| number + nr > *first)
                && last.is_some_and(|last| number <= *last);

            assert_eq!(ready.overlaps(page, nr), overlaps);
        }
    }
}

fn operation(draws: &mut Draws) -> Op {
    let nr = |draws: &mut Draws| {
        let most = [5, READY_PAGES + 2][draws.below(2)];

        draws.below(most)
    };
    let back = |draws: &mut Draws| {
        let back = draws.below(4);

        back * usize::from(draws.below(3) == 2)
    };

    match draws.weighted(&[2, 3, 4, 3, 3, 3, 3, 1]) {
        0 => Op::TakeOne,
        1 => Op::Refill(draws.list(READY_PAGES, |draws| {
            let distance = draws.within(1..5);

            if draws.below(4) < 3 {
                1
            } else {
                distance
            }
        })),
        2 => Op::Take(nr(draws)),
        3 => Op::Put(nr(draws), back(draws)),
        4 => Op::PutOne(back(draws)),
        5 => Op::Has(draws.below(150)),
        6 => Op::HasOne(draws.below(150)),
        _ => Op::TakeRun,
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

    check(100, operations, |ops| {
        let mut ready = Ready::new();
        let mut model = Model::default();
        let mut near = 0;

        for op in ops {
            apply(&mut ready, &mut model, &mut near, op);
        }
    });
}

#[test]
fn all_short_sequences() {
    let ops = [
        Op::Refill(vec![]),
        Op::Refill(vec![1, 1, 2]),
        Op::Refill(vec![1; READY_PAGES]),
        Op::Take(0),
        Op::Take(1),
        Op::Take(2),
        Op::TakeOne,
        Op::Put(1, 0),
        Op::Put(2, 0),
        Op::Put(1, 1),
        Op::PutOne(0),
        Op::PutOne(1),
        Op::Has(6),
        Op::HasOne(7),
        Op::HasOne(9),
        Op::TakeRun,
    ];

    super::all_sequences(&ops, 3, &mut |ops| {
        let mut ready = Ready::new();
        let mut model = Model::default();
        let mut near = 0;

        for op in ops {
            apply(&mut ready, &mut model, &mut near, op);
        }
    });
}
