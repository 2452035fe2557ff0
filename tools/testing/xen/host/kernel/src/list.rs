// SPDX-License-Identifier: GPL-2.0

//! Lists of counted references.

use crate::alloc::Flags;
use crate::error::Error;
use crate::sync::Arc;

/// A link, of which the stand-in has no need.
#[derive(Default)]
pub struct ListLinks;

impl ListLinks {
    pub fn new() -> Self {
        Self
    }
}

/// A reference that can be put on a list.
pub struct ListArc<T>(Arc<T>);

impl<T> ListArc<T> {
    pub fn pin_init(value: T, flags: Flags) -> Result<Self, Error> {
        Ok(Self(Arc::new(value, flags)?))
    }

    pub fn clone_arc(&self) -> Arc<T> {
        self.0.clone()
    }
}

/// A list.
pub struct List<T>(Vec<ListArc<T>>);

impl<T> List<T> {
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    pub fn push_back(&mut self, item: ListArc<T>) {
        self.0.push(item);
    }

    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|item| &*item.0)
    }

    pub unsafe fn remove(&mut self, item: &T) -> Option<ListArc<T>> {
        let at = self
            .0
            .iter()
            .position(|other| core::ptr::eq(&*other.0, item))?;

        Some(self.0.remove(at))
    }
}

/// There is nothing to implement.
#[macro_export]
macro_rules! impl_list_arc_safe {
    ($($tokens:tt)*) => {};
}

/// There is nothing to implement.
#[macro_export]
macro_rules! impl_list_item {
    ($($tokens:tt)*) => {};
}

pub use impl_list_arc_safe;
pub use impl_list_item;
