// SPDX-License-Identifier: GPL-2.0

//! The pages that the fallback has handed out.
//!
//! Nothing in their `struct page` tells such pages from any other RAM, so they are written down:
//! a page that is freed and was never handed out is found out.

use kernel::{
    prelude::*,
    rbtree::{
        RBTree,
        RBTreeNodeReservation, //
    }, //
};

/// The pages of RAM that are handed out, by their frame numbers.
pub(crate) struct Ballooned(Option<RBTree<usize, ()>>);

impl Ballooned {
    /// Makes an empty set.
    pub(crate) const fn new() -> Self {
        Self(None)
    }

    /// Adds a page, for which memory was got while the set was not locked.
    pub(crate) fn insert(&mut self, pfn: usize, node: RBTreeNodeReservation<usize, ()>) {
        self.0
            .get_or_insert_with(RBTree::new)
            .insert(node.into_node(pfn, ()));
    }

    /// Removes a page, and returns whether it was there.
    pub(crate) fn remove(&mut self, pfn: usize) -> bool {
        self.0
            .as_mut()
            .is_some_and(|pages| pages.remove(&pfn).is_some())
    }
}

#[kunit_tests(xen_unpopulated_ballooned)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_known_from_insert_to_remove() -> Result {
        let mut pages = Ballooned::new();

        assert!(!pages.remove(1));
        for pfn in [3, 1, 2] {
            pages.insert(pfn, RBTreeNodeReservation::new(GFP_KERNEL)?);
        }
        for pfn in [2, 3, 1] {
            assert!(pages.remove(pfn));
            assert!(!pages.remove(pfn));
        }
        Ok(())
    }
}
