// SPDX-License-Identifier: GPL-2.0

//! The pages that the fallback has handed out.
//!
//! Nothing in their `struct page` tells such pages from any other RAM, so they are written down:
//! a page that is freed and was never handed out is found out.

use super::chunk::PassedPage;
use kernel::{
    prelude::*,
    rbtree::{
        RBTree,
        RBTreeNodeReservation, //
    }, //
};

/// The pages of RAM that are handed out, by the addresses of their `struct page`.
pub(crate) struct Ballooned(Option<RBTree<usize, ()>>);

/// Pages that the fallback had handed out, and that have come back.
///
/// # Invariants
///
/// None of the entries is `None`. Each page was in the set, and is not any more.
pub(crate) struct Returned<'a>(&'a [Option<PassedPage>]);

impl Returned<'_> {
    /// The pages.
    pub(crate) fn pages(&self) -> &[Option<PassedPage>] {
        self.0
    }
}

impl Ballooned {
    /// Makes an empty set.
    pub(crate) const fn new() -> Self {
        Self(None)
    }

    /// Adds the page with a `struct page` at `addr`, for which memory was got while the set was not
    /// locked.
    pub(crate) fn insert(&mut self, addr: usize, node: RBTreeNodeReservation<usize, ()>) {
        self.0
            .get_or_insert_with(RBTree::new)
            .insert(node.into_node(addr, ()));
    }

    /// Removes a page, and returns whether it was there.
    fn remove(&mut self, page: PassedPage) -> bool {
        self.0
            .as_mut()
            .is_some_and(|pages| pages.remove(&page.addr()).is_some())
    }

    /// Removes those of `pages` that precede the first that is not in the set.
    pub(crate) fn remove_first<'a>(&mut self, pages: &'a [Option<PassedPage>]) -> Returned<'a> {
        let is_removed = |page: &Option<PassedPage>| page.is_some_and(|page| self.remove(page));
        let nr = pages.iter().copied().take_while(is_removed).count();

        // INVARIANT: These were removed just now.
        Returned(&pages[..nr])
    }
}

#[kunit_tests(xen_unpopulated_ballooned)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_known_from_insert_to_remove() -> Result {
        let mut set = Ballooned::new();
        let [one, two, three] = [1, 2, 3].map(|nr| Some(PassedPage::nth(nr)));

        assert!(set.remove_first(&[one]).pages().is_empty());
        for page in [three, one, two].into_iter().flatten() {
            set.insert(page.addr(), RBTreeNodeReservation::new(GFP_KERNEL)?);
        }

        // None is removed that follows one that is not there.
        assert!(set.remove_first(&[None, two]).pages().is_empty());
        assert_eq!(set.remove_first(&[two, one, two, three]).pages().len(), 2);
        assert_eq!(set.remove_first(&[three]).pages().len(), 1);
        assert!(set.remove_first(&[three]).pages().is_empty());
        assert!(set.remove_first(&[]).pages().is_empty());
        Ok(())
    }
}
