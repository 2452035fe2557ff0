// SPDX-License-Identifier: GPL-2.0

//! Atomics, as the processor has them or as loom has.

use core::cell::UnsafeCell;
use core::sync::atomic::Ordering as Order;

/// How operations are ordered.
pub mod ordering {
    use super::Order;

    /// Of what changes a value: the ordering if it is changed.
    pub trait Ordering {
        const RMW: Order;
    }

    /// Of what reads.
    pub trait AcquireOrRelaxed: Ordering {}

    /// Of what writes.
    pub trait ReleaseOrRelaxed: Ordering {}

    pub struct Relaxed;
    pub struct Acquire;
    pub struct Release;
    pub struct Full;

    impl Ordering for Relaxed {
        const RMW: Order = Order::Relaxed;
    }

    impl Ordering for Acquire {
        const RMW: Order = Order::Acquire;
    }

    impl Ordering for Release {
        const RMW: Order = Order::Release;
    }

    impl Ordering for Full {
        const RMW: Order = Order::SeqCst;
    }

    impl AcquireOrRelaxed for Relaxed {}
    impl AcquireOrRelaxed for Acquire {}
    impl ReleaseOrRelaxed for Relaxed {}
    impl ReleaseOrRelaxed for Release {}
}

pub use ordering::{Acquire, Full, Relaxed, Release};

/// What there are atomics of.
pub trait AtomicType: Copy {
    #[doc(hidden)]
    type Inner: Inner<Self>;

    /// The atomic that a value is. It must be one for as long as the reference is used.
    #[cfg(not(loom))]
    #[doc(hidden)]
    unsafe fn inner<'a>(value: *mut Self) -> &'a Self::Inner;
}

/// The operations of what stands behind them.
#[doc(hidden)]
pub trait Inner<T>: Sized {
    #[cfg(loom)]
    fn new(value: T) -> Self;
    fn load(&self, order: Order) -> T;
    fn store(&self, value: T, order: Order);
    fn swap(&self, value: T, order: Order) -> T;
    fn compare_exchange(&self, old: T, new: T, order: Order) -> Result<T, T>;
    fn fetch_add(&self, value: T, order: Order) -> T;
    fn fetch_sub(&self, value: T, order: Order) -> T;
}

macro_rules! inner {
    ($($type:ty => $std:ident),*) => {$(
        impl AtomicType for $type {
            #[cfg(not(loom))]
            type Inner = core::sync::atomic::$std;
            #[cfg(loom)]
            type Inner = loom::sync::atomic::$std;

            #[cfg(not(loom))]
            unsafe fn inner<'a>(value: *mut Self) -> &'a Self::Inner {
                // SAFETY: As required from the caller.
                unsafe { Self::Inner::from_ptr(value) }
            }
        }

        impl Inner<$type> for <$type as AtomicType>::Inner {
            #[cfg(loom)]
            fn new(value: $type) -> Self {
                Self::new(value)
            }

            fn load(&self, order: Order) -> $type {
                self.load(order)
            }

            fn store(&self, value: $type, order: Order) {
                self.store(value, order)
            }

            fn swap(&self, value: $type, order: Order) -> $type {
                self.swap(value, order)
            }

            fn compare_exchange(
                &self,
                old: $type,
                new: $type,
                order: Order,
            ) -> Result<$type, $type> {
                self.compare_exchange(old, new, order, Order::Relaxed)
            }

            fn fetch_add(&self, value: $type, order: Order) -> $type {
                self.fetch_add(value, order)
            }

            fn fetch_sub(&self, value: $type, order: Order) -> $type {
                self.fetch_sub(value, order)
            }
        }
    )*};
}

inner!(u32 => AtomicU32, u64 => AtomicU64, i64 => AtomicI64, usize => AtomicUsize);

/// An atomic. That of loom comes into existence when it is first used, as loom has none in statics.
pub struct Atomic<T: AtomicType> {
    value: UnsafeCell<T>,
    #[cfg(loom)]
    inner: std::sync::OnceLock<T::Inner>,
}

// SAFETY: The value is accessed by atomic operations only.
unsafe impl<T: AtomicType + Send> Sync for Atomic<T> {}

impl<T: AtomicType> Atomic<T> {
    pub const fn new(initial: T) -> Self {
        Self {
            value: UnsafeCell::new(initial),
            #[cfg(loom)]
            inner: std::sync::OnceLock::new(),
        }
    }

    #[cfg(not(loom))]
    fn inner(&self) -> &T::Inner {
        // SAFETY: There are no other accesses.
        unsafe { T::inner(self.value.get()) }
    }

    #[cfg(loom)]
    fn inner(&self) -> &T::Inner {
        self.inner.get_or_init(|| {
            // SAFETY: Nobody writes to it.
            T::Inner::new(unsafe { *self.value.get() })
        })
    }

    pub fn load<O: ordering::AcquireOrRelaxed>(&self, _: O) -> T {
        self.inner().load(O::RMW)
    }

    pub fn store<O: ordering::ReleaseOrRelaxed>(&self, value: T, _: O) {
        self.inner().store(value, O::RMW)
    }

    pub fn xchg<O: ordering::Ordering>(&self, value: T, _: O) -> T {
        self.inner().swap(value, O::RMW)
    }

    pub fn cmpxchg<O: ordering::Ordering>(&self, old: T, new: T, _: O) -> Result<T, T> {
        self.inner().compare_exchange(old, new, O::RMW)
    }

    pub fn add(&self, value: T, _: Relaxed) {
        self.inner().fetch_add(value, Order::Relaxed);
    }

    pub fn fetch_sub<O: ordering::Ordering>(&self, value: T, _: O) -> T {
        self.inner().fetch_sub(value, O::RMW)
    }
}

/// A flag.
pub struct AtomicFlag(Atomic<u32>);

impl AtomicFlag {
    pub const fn new(value: bool) -> Self {
        Self(Atomic::new(value as u32))
    }

    pub fn load<O: ordering::AcquireOrRelaxed>(&self, order: O) -> bool {
        self.0.load(order) != 0
    }

    pub fn store<O: ordering::ReleaseOrRelaxed>(&self, value: bool, order: O) {
        self.0.store(value.into(), order);
    }

    pub fn xchg<O: ordering::Ordering>(&self, value: bool, order: O) -> bool {
        self.0.xchg(value.into(), order) != 0
    }
}
