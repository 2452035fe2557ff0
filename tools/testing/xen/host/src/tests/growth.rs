// SPDX-License-Identifier: GPL-2.0

//! How much the pool grows by.

use super::check_one;
use crate::unpopulated::growth::Limits;

#[test]
fn steps_keep_to_the_limits() {
    check_one(
        |draws| {
            let ceiling = draws.flag().then(|| draws.below(3000));

            (
                (draws.below(6), draws.below(40), ceiling),
                draws.below(3000),
                draws.below(3000),
            )
        },
        |&((log, largest, ceiling), total, missing)| {
            let granule = 1 << log;
            let limits = Limits {
                granule,
                largest: largest * granule,
                ceiling,
            };
            let room = ceiling.map_or(usize::MAX, |ceiling| ceiling.saturating_sub(total));
            let needed = missing.next_multiple_of(granule);
            let steps: Vec<_> = limits.steps(total, missing).collect();
            let double = total.min(largest * granule) / granule * granule;
            let best = needed.max(double).min(room / granule * granule);

            assert_eq!(
                steps.first(),
                Some(&best).filter(|best| **best > 0 && **best >= needed)
            );
            for step in &steps {
                assert!(*step > 0 && step % granule == 0 && *step <= room);
            }
            for both in steps.windows(2) {
                // Half, but for what makes it a multiple.
                assert!(both[1] <= both[0] / 2 && both[0] / 2 - both[1] < granule);
            }
            assert!(steps.last().is_none_or(|last| *last < 2 * granule));
            assert_eq!(
                limits.whole(total, missing),
                (needed <= room / granule * granule).then_some(needed)
            );
        },
    );
}
