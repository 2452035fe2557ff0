// SPDX-License-Identifier: GPL-2.0

//! Locks, atomics and counted references.

pub mod atomic;

use crate::alloc::{allocate, AllocError, Flags};
use core::cell::UnsafeCell;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicBool, Ordering};

/// A lock that is made of an atomic alone, so that ThreadSanitizer sees what it orders.
pub struct Lock<T> {
    taken: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: One thread at a time gets at the value.
unsafe impl<T: Send> Sync for Lock<T> {}

/// The lock, taken.
pub struct Guard<'a, T>(&'a Lock<T>);

impl<T> Lock<T> {
    pub const fn new(value: T) -> Self {
        Self {
            taken: AtomicBool::new(false),
            value: UnsafeCell::new(value),
        }
    }

    pub fn lock(&self) -> Guard<'_, T> {
        while self.taken.swap(true, Ordering::Acquire) {
            std::thread::yield_now();
        }
        Guard(self)
    }
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: The lock is taken.
        unsafe { &*self.0.value.get() }
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: The lock is taken.
        unsafe { &mut *self.0.value.get() }
    }
}

impl<T> Drop for Guard<'_, T> {
    fn drop(&mut self) {
        self.0.taken.store(false, Ordering::Release);
    }
}

/// A lock that interrupts are off under, of which there are none.
pub type SpinLockIrq<T> = Lock<T>;

/// What is behind a lock that is a static variable.
pub trait GlobalLockBackend {
    type Item;

    /// What it is before anything has been done.
    fn initial() -> Self::Item;
}

/// A lock that is a static variable.
pub struct GlobalLock<B: GlobalLockBackend>(Lock<B::Item>);

/// Such a lock, taken.
pub struct GlobalGuard<B: GlobalLockBackend + 'static>(Guard<'static, B::Item>);

impl<B: GlobalLockBackend> GlobalLock<B> {
    pub const fn new(value: B::Item) -> Self {
        Self(Lock::new(value))
    }

    /// Begins anew: each test wants to be the first.
    pub unsafe fn init(&'static self) {
        *self.0.lock() = B::initial();
    }

    pub fn lock(&'static self) -> GlobalGuard<B> {
        GlobalGuard(self.0.lock())
    }
}

impl<B: GlobalLockBackend> Deref for GlobalGuard<B> {
    type Target = B::Item;

    fn deref(&self) -> &B::Item {
        &self.0
    }
}

impl<B: GlobalLockBackend> DerefMut for GlobalGuard<B> {
    fn deref_mut(&mut self) -> &mut B::Item {
        &mut self.0
    }
}

/// Makes a lock that is a static variable.
#[macro_export]
macro_rules! global_lock {
    {
        $(#[$meta:meta])* $pub:vis
        unsafe(uninit) static $name:ident: $kind:ident<$valuety:ty> = $value:expr;
    } => {
        #[allow(non_camel_case_types, clippy::upper_case_acronyms)]
        $pub enum $name {}

        impl $crate::sync::GlobalLockBackend for $name {
            type Item = $valuety;

            fn initial() -> $valuety {
                $value
            }
        }

        $(#[$meta])*
        $pub static $name: $crate::sync::GlobalLock<$name> =
            $crate::sync::GlobalLock::new($value);
    };
}
pub use global_lock;

/// A counted reference.
pub struct Arc<T>(std::sync::Arc<T>);

impl<T> Arc<T> {
    pub fn new(value: T, _: Flags) -> Result<Self, AllocError> {
        allocate()?;
        Ok(Self(std::sync::Arc::new(value)))
    }

    pub fn into_raw(this: Self) -> *const T {
        std::sync::Arc::into_raw(this.0)
    }

    pub unsafe fn from_raw(ptr: *const T) -> Self {
        // SAFETY: As required from the caller.
        Self(unsafe { std::sync::Arc::from_raw(ptr) })
    }
}

impl<T> Clone for Arc<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Deref for Arc<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}
