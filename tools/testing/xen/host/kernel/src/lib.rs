// SPDX-License-Identifier: GPL-2.0

//! A stand-in for the crate `kernel` on the machine that builds.
//!
//! It has what the Rust files of drivers/xen use of the kernel, and no more, with the same
//! signatures, and behaves as the kernel does as far as they can tell. What C does is in
//! [`bindings`], what tests can ask for in [`host`].

#![allow(
    non_camel_case_types,
    clippy::missing_safety_doc,
    clippy::new_without_default
)]

extern crate self as kernel;

pub mod alloc;
pub mod bindings;
pub mod error;
pub mod ffi;
pub mod host;
pub mod io;
pub mod jump_label;
pub mod list;
pub mod mm;
pub mod page;
pub mod prelude;
pub mod ptr;
pub mod rbtree;
pub mod sync;
pub mod time;
pub mod types;
pub mod xen;

pub use macros;

// The kernel's own `xen.rs` names its modules itself, if they are configured.
#[path = "../../../../../../rust/kernel/xen.rs"]
mod xen_base;

/// Prints a message.
#[macro_export]
macro_rules! pr_warn {
    ($($arg:tt)*) => { $crate::host::log(::core::format_args!($($arg)*)) };
}

/// Prints a message, each time.
#[macro_export]
macro_rules! pr_warn_once {
    ($($arg:tt)*) => { $crate::host::log(::core::format_args!($($arg)*)) };
}

/// Declares tracepoints, which nobody listens to.
#[macro_export]
macro_rules! declare_trace {
    ($(
        $(#[$meta:meta])*
        unsafe fn $name:ident($($arg:ident: $type:ty),* $(,)?);
    )*) => {$(
        $(#[$meta])*
        #[inline]
        unsafe fn $name($($arg: $type),*) {
            $(let _ = $arg;)*
        }
    )*};
}

/// Initializes a type that is pinned.
#[macro_export]
macro_rules! try_pin_init {
    (Self { $($body:tt)* }) => { $crate::try_pin_init!(@ [] $($body)*) };
    (@ [$($done:tt)*] $name:ident <- $value:expr, $($rest:tt)*) => {
        $crate::try_pin_init!(@ [$($done)* $name: $value,] $($rest)*)
    };
    (@ [$($done:tt)*] $name:ident: $value:expr, $($rest:tt)*) => {
        $crate::try_pin_init!(@ [$($done)* $name: $value,] $($rest)*)
    };
    (@ [$($done:tt)*] $name:ident, $($rest:tt)*) => {
        $crate::try_pin_init!(@ [$($done)* $name,] $($rest)*)
    };
    (@ [$($done:tt)*]) => { Self { $($done)* } };
}

/// Makes a lock.
#[macro_export]
macro_rules! new_spinlock_irq {
    ($value:expr) => {
        $crate::sync::SpinLockIrq::new($value)
    };
}
