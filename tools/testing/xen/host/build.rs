// SPDX-License-Identifier: GPL-2.0

//! The kernel's configuration.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-cfg=CONFIG_KUNIT=\"y\"");
}
