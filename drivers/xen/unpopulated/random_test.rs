// SPDX-License-Identifier: GPL-2.0

//! A million random operations on an index, beside a table of which pages are free.
//!
//! If one does not do what the table says, the sequence that led to it is made shorter, as long as
//! it still fails, and printed, with the seed that it was drawn from.

#[kernel::macros::kunit_tests(xen_unpopulated_random)]
mod tests {
    use crate::index::{
        Chunk,
        Index, //
    };
    use kernel::{
        prelude::*,
        time::{
            Instant,
            Monotonic, //
        },
    };

    const SEQUENCES: u64 = 4000;
    const LENGTH: usize = 250;

    /// The number of pages of the chunk in each slot: less than a word of a bitmap, and more.
    const SIZES: [usize; 4] = [64, 130, 20, 100];
    const LARGEST: usize = 130;

    /// The frame number of the first page in `slot`; these differ in what they are aligned to.
    fn first_pfn(slot: usize) -> usize {
        1000 * slot + 3
    }

    #[derive(Clone, Copy, Debug)]
    enum Operation {
        /// Makes a chunk for the first slot that has none.
        Insert,
        Remove,
        Take(usize),
        TakeRun {
            nr: usize,
            align: usize,
            max_pfn: usize,
        },
        Put {
            slot: usize,
            start: usize,
            len: usize,
        },
    }

    /// Random numbers (xorshift).
    struct Draws(u64);

    impl Draws {
        fn new(seed: u64) -> Self {
            // Spreads numbers that are near each other; 0 would give nothing but 0.
            Self((seed << 1 | 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
        }

        fn below(&mut self, end: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            // The upper bits are the better ones.
            (self.0 >> 33) as usize % end
        }

        /// A number below a power of two below `1 << bits`, so that small ones are likely.
        fn small(&mut self, bits: usize) -> usize {
            let end = 1 << self.below(bits);

            self.below(end)
        }

        fn operation(&mut self) -> Operation {
            match self.below(16) {
                0 => Operation::Insert,
                1 => Operation::Remove,
                2..5 => Operation::Take(self.small(9)),
                5..8 => Operation::TakeRun {
                    nr: 1 + self.small(8),
                    align: 1 << self.below(6),
                    max_pfn: self.below(first_pfn(SIZES.len())),
                },
                _ => Operation::Put {
                    slot: self.below(SIZES.len() + 1),
                    start: self.below(LARGEST),
                    len: 1 + self.small(8),
                },
            }
        }
    }

    /// Which pages of the chunk in each slot are free; `None` where there is no chunk.
    #[derive(Default)]
    struct Table([Option<[bool; LARGEST]>; SIZES.len()]);

    impl Table {
        /// The pages of the chunk in `slot`.
        fn pages(&mut self, slot: usize) -> Option<&mut [bool]> {
            let pages = self.0.get_mut(slot)?.as_mut()?;

            pages.get_mut(..SIZES[slot])
        }

        fn nr_free(&mut self, slot: usize) -> usize {
            self.pages(slot)
                .map_or(0, |pages| pages.iter().filter(|free| **free).count())
        }

        fn is_idle(&mut self, slot: usize) -> bool {
            self.nr_free(slot) == SIZES[slot]
        }

        /// The free pages, as slots and places, the first ones first.
        fn free(&self) -> impl Iterator<Item = (usize, usize)> + use<'_> {
            self.0.iter().enumerate().flat_map(|(slot, pages)| {
                let pages = pages.iter().flatten().take(SIZES[slot]);

                pages
                    .enumerate()
                    .filter_map(move |(place, free)| free.then_some((slot, place)))
            })
        }

        /// Takes the first `nr` free pages.
        fn take(&mut self, nr: usize) {
            let chunks = self.0.iter_mut().zip(SIZES);
            let pages = chunks.flat_map(|(pages, size)| pages.iter_mut().flatten().take(size));

            for free in pages.filter(|free| **free).take(nr) {
                *free = false;
            }
        }

        /// The last place for a run, where there is one.
        fn run(&mut self, nr: usize, align: usize, max_pfn: usize) -> Option<(usize, usize)> {
            (0..SIZES.len()).rev().find_map(|slot| {
                let pages = self.pages(slot)?;

                (0..(pages.len() + 1).saturating_sub(nr))
                    .rev()
                    .find(|start| {
                        let pfn = first_pfn(slot) + start;

                        pfn % align == 0
                            && pfn + nr - 1 <= max_pfn
                            && pages[*start..start + nr].iter().all(|free| *free)
                    })
                    .map(|start| (slot, start))
            })
        }

        /// The first chunk that may go: of those that are wholly free the smallest stays.
        fn spare(&mut self) -> Option<usize> {
            let kept = (0..SIZES.len())
                .filter(|slot| self.is_idle(*slot))
                .min_by_key(|slot| SIZES[*slot]);

            (0..SIZES.len()).find(|slot| self.is_idle(*slot) && kept != Some(*slot))
        }
    }

    /// Does the same with both, and returns whether the outcome is.
    fn agree(index: &mut Index<usize>, table: &mut Table, operation: Operation) -> Result<bool> {
        let same = match operation {
            Operation::Insert => match table.0.iter().position(Option::is_none) {
                Some(slot) => {
                    let room = index.vacancy().make_room()?;
                    let chunk = Chunk::new(first_pfn(slot), SIZES[slot], true, slot)?;

                    table.0[slot] = Some([true; LARGEST]);
                    room.slot() == slot && index.insert(chunk, room, 0).is_ok()
                }
                None => true,
            },
            Operation::Remove => {
                let removed = index.remove_idle(0, 0).map(|removed| removed.split().1);
                let expected = table.spare();

                if let Some(slot) = expected {
                    table.0[slot] = None;
                }
                removed == expected
            }
            Operation::Take(nr) => {
                let enough = table.free().take(nr).count() == nr;
                let mut expected = table.free().take(if enough { nr } else { 0 });
                let mut same = true;
                let taken = index.take(nr, |slot, run| {
                    for place in run {
                        same &= expected.next() == Some((*slot, place));
                    }
                });

                same &= taken == enough && expected.next().is_none();
                drop(expected);
                if enough {
                    table.take(nr);
                }
                same
            }
            Operation::TakeRun { nr, align, max_pfn } => {
                let run = index
                    .take_run(nr, align, max_pfn)
                    .map(|(slot, start)| (*slot, start));
                let expected = table.run(nr, align, max_pfn);

                if let Some((slot, start)) = expected {
                    if let Some(pages) = table.pages(slot) {
                        pages[start..start + nr].fill(false);
                    }
                }
                run == expected
            }
            Operation::Put { slot, start, len } => {
                let pages = table.pages(slot).and_then(|pages| pages.get_mut(start..));
                let pages = pages.unwrap_or_default();
                let len = len.min(pages.len());
                let mut nr = 0;

                for free in &mut pages[..len] {
                    nr += usize::from(!*free);
                    *free = true;
                }
                index.put(slot, start, len, 0) == nr
            }
        };
        let totals = index.totals();

        Ok(same
            && totals.free == table.free().count()
            && totals.chunks == table.0.iter().flatten().count()
            && totals.idle == (0..SIZES.len()).filter(|slot| table.is_idle(*slot)).count())
    }

    /// How many operations lead to the first that does something else than it should.
    fn failing(operations: &[Operation]) -> Result<Option<usize>> {
        let mut index = Index::new();
        let mut table = Table::default();

        for (nr, operation) in operations.iter().enumerate() {
            if !agree(&mut index, &mut table, *operation)? {
                return Ok(Some(nr + 1));
            }
        }
        Ok(None)
    }

    /// Leaves out what is not needed to fail: halves first, single operations in the end.
    fn shrink(mut operations: KVec<Operation>) -> Result<KVec<Operation>> {
        let mut size = operations.len() / 2;

        while size > 0 {
            let mut start = 0;

            while start < operations.len() {
                let end = operations.len().min(start + size);
                let mut fewer = KVec::with_capacity(operations.len(), GFP_KERNEL)?;

                fewer.extend_from_slice(&operations[..start], GFP_KERNEL)?;
                fewer.extend_from_slice(&operations[end..], GFP_KERNEL)?;
                if failing(&fewer)?.is_some() {
                    operations = fewer;
                } else {
                    start = end;
                }
            }
            size /= 2;
        }
        Ok(operations)
    }

    #[test]
    fn a_million_random_operations_do_what_a_table_says() -> Result {
        let started = Instant::<Monotonic>::now();
        let mut operations = KVec::with_capacity(LENGTH, GFP_KERNEL)?;

        // How long an allocation takes differs each time.
        let seed = started.elapsed().as_nanos() as u64;

        pr_info!("random operations from seed {}\n", seed);
        for sequence in 0..SEQUENCES {
            let mut draws = Draws::new(seed << 32 | sequence);

            operations.clear();
            for _ in 0..LENGTH {
                operations.push(draws.operation(), GFP_KERNEL)?;
            }
            if let Some(nr) = failing(&operations)? {
                operations.truncate(nr);
                operations = shrink(operations)?;
                pr_err!("sequence {} of seed {} fails:\n", sequence, seed);
                for operation in &operations {
                    pr_err!("  {:?}\n", operation);
                }
            }
            assert!(failing(&operations)?.is_none());
        }
        Ok(())
    }
}
