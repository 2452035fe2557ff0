// SPDX-License-Identifier: GPL-2.0

//! Memory, of which there may be none.

use crate::host;
use core::mem::MaybeUninit;
use core::ops::{Deref, DerefMut};

/// There is no memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllocError;

/// How memory is got.
#[derive(Clone, Copy, Debug)]
pub struct Flags;

/// The ways in which it is.
pub mod flags {
    pub const GFP_KERNEL: super::Flags = super::Flags;
    pub const GFP_ATOMIC: super::Flags = super::Flags;
}

/// A node of a machine.
#[derive(Clone, Copy)]
pub struct NumaNode;

impl NumaNode {
    pub const NO_NODE: Self = Self;
}

/// Returns an error if this allocation is the one that is to fail.
pub(crate) fn allocate() -> Result<(), AllocError> {
    host::succeeds().then_some(()).ok_or(AllocError)
}

/// Something in memory of its own.
pub struct KBox<T>(Box<T>);

impl<T> KBox<T> {
    pub fn new(value: T, _: Flags) -> Result<Self, AllocError> {
        allocate()?;
        Ok(Self(Box::new(value)))
    }

    pub fn new_uninit(_: Flags) -> Result<KBox<MaybeUninit<T>>, AllocError> {
        allocate()?;
        Ok(KBox(Box::new(MaybeUninit::uninit())))
    }

    pub fn into_inner(this: Self) -> T {
        *this.0
    }
}

impl<T> KBox<MaybeUninit<T>> {
    pub fn write(self, value: T) -> KBox<T> {
        // Moving it there is as good.
        KBox(Box::new(value))
    }
}

impl<T> Deref for KBox<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for KBox<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

/// An array that has room for as much as was asked for, and no more.
#[derive(Debug)]
pub struct KVec<T>(Vec<T>);

/// The same where it may be large.
pub type KVVec<T> = KVec<T>;

/// There is no room, so the value comes back.
#[derive(Debug)]
pub struct PushError<T>(pub T);

impl<T> KVec<T> {
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    pub fn with_capacity(capacity: usize, flags: Flags) -> Result<Self, AllocError> {
        let mut this = Self::new();

        this.reserve(capacity, flags)?;
        Ok(this)
    }

    pub fn from_elem(value: T, n: usize, flags: Flags) -> Result<Self, AllocError>
    where
        T: Clone,
    {
        let mut this = Self::with_capacity(n, flags)?;

        this.0.resize(n, value);
        Ok(this)
    }

    pub fn capacity(&self) -> usize {
        self.0.capacity()
    }

    pub fn reserve(&mut self, additional: usize, _: Flags) -> Result<(), AllocError> {
        if self.0.capacity() - self.0.len() >= additional {
            return Ok(());
        }
        allocate()?;

        let more = additional.max(2 * self.0.capacity() - self.0.len());

        self.0.try_reserve_exact(more).map_err(|_| AllocError)
    }

    pub fn push(&mut self, value: T, flags: Flags) -> Result<(), AllocError> {
        self.reserve(1, flags)?;
        self.0.push(value);
        Ok(())
    }

    pub fn push_within_capacity(&mut self, value: T) -> Result<(), PushError<T>> {
        if self.0.len() == self.0.capacity() {
            return Err(PushError(value));
        }
        self.0.push(value);
        Ok(())
    }

    pub fn drain_all(&mut self) -> std::vec::Drain<'_, T> {
        self.0.drain(..)
    }

    pub fn as_mut_slice(&mut self) -> &mut [T] {
        &mut self.0
    }
}

impl<T> Deref for KVec<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T> DerefMut for KVec<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.0
    }
}

impl<T> IntoIterator for KVec<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}
