// SPDX-License-Identifier: GPL-2.0

//! Static keys, which are plain variables.

/// Returns whether a key is set.
#[macro_export]
macro_rules! static_branch_unlikely {
    ($key:path, $keytyp:ty, $field:ident) => {{
        let key: *const $keytyp = &raw const $key;

        (*key).$field
    }};
}
pub use static_branch_unlikely;
