// SPDX-License-Identifier: GPL-2.0

//! What backends have not let go of.

use kernel::prelude::*;

/// Something that can be released once a backend does not hold it any more.
pub(crate) trait Held: Sized {
    /// Releases it, or returns it if it is still held.
    fn release(self) -> Result<(), Self>;
}

/// An element of the list.
struct Node<T> {
    /// There is one, but while it is being tried to release it.
    held: Option<T>,
    next: Option<KBox<Node<T>>>,
}

/// A list of things that are still held.
///
/// Memory is needed to put something on it, but not to try again.
pub(crate) struct Quarantine<T: Held> {
    head: Option<KBox<Node<T>>>,
}

impl<T: Held> Quarantine<T> {
    /// A list without elements.
    pub(crate) const fn new() -> Self {
        Self { head: None }
    }

    /// Returns whether there is nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.head.is_none()
    }

    /// Makes a list of one element, or returns it if there is no memory for that.
    pub(crate) fn of(held: T, flags: kernel::alloc::Flags) -> Result<Self, T> {
        match KBox::new_uninit(flags) {
            Ok(node) => Ok(Self {
                head: Some(node.write(Node {
                    held: Some(held),
                    next: None,
                })),
            }),
            Err(_) => Err(held),
        }
    }

    /// Takes all elements away.
    pub(crate) fn take(&mut self) -> Self {
        Self {
            head: self.head.take(),
        }
    }

    /// Adds all elements of another list.
    pub(crate) fn append(&mut self, mut other: Self) {
        while let Some(mut node) = other.head {
            other.head = node.next.take();
            node.next = self.head.take();
            self.head = Some(node);
        }
    }

    /// Releases what is not held any more, and returns the rest.
    pub(crate) fn retry(mut self) -> Self {
        let mut rest = Self::new();

        while let Some(mut node) = self.head.take() {
            self.head = node.next.take();
            if let Some(Err(held)) = node.held.take().map(Held::release) {
                node.held = Some(held);
                node.next = rest.head.take();
                rest.head = Some(node);
            }
        }
        rest
    }
}

#[kunit_tests(xen_grant_dma_quarantine)]
mod tests {
    use super::*;

    /// Is held until it has been tried to release it so many times.
    struct Stubborn(u32);

    impl Held for Stubborn {
        fn release(self) -> Result<(), Self> {
            match self.0.checked_sub(1) {
                Some(left) => Err(Self(left)),
                None => Ok(()),
            }
        }
    }

    /// How many elements there are.
    fn len(list: &Quarantine<Stubborn>) -> usize {
        let mut node = &list.head;
        let mut len = 0;

        while let Some(at) = node {
            len += 1;
            node = &at.next;
        }
        len
    }

    /// A list of such elements.
    fn list(times: &[u32]) -> Result<Quarantine<Stubborn>> {
        let mut list = Quarantine::new();

        for &times in times {
            list.append(Quarantine::of(Stubborn(times), GFP_KERNEL).map_err(|_| ENOMEM)?);
        }
        Ok(list)
    }

    #[test]
    fn things_stay_until_they_are_let_go() -> Result {
        let mut list = list(&[0, 2, 1, 0, 2])?;

        for left in [3, 2, 0] {
            list = list.retry();
            assert_eq!(len(&list), left);
        }
        assert!(list.is_empty());
        assert!(list.retry().is_empty());
        Ok(())
    }

    #[test]
    fn nothing_is_lost_where_lists_are_joined() -> Result {
        let mut all = list(&[1, 1])?;
        let mut other = list(&[1, 1, 1])?;

        all.append(other.take());
        assert!(other.is_empty());
        assert_eq!(len(&all), 5);
        all.append(other);
        assert_eq!(len(&all), 5);
        Ok(())
    }
}
