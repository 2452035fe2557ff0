// SPDX-License-Identifier: GPL-2.0

//! Alignments.

/// A power of two.
#[derive(Clone, Copy)]
pub struct Alignment(usize);

impl Alignment {
    pub const fn new_checked(align: usize) -> Option<Self> {
        if align.is_power_of_two() {
            Some(Self(align))
        } else {
            None
        }
    }

    pub const fn as_usize(self) -> usize {
        self.0
    }
}
