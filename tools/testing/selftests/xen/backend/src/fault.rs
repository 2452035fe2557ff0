// SPDX-License-Identifier: GPL-2.0

//! How a hostile backend behaves.

#[derive(Clone, Copy, PartialEq)]
pub enum Fault {
    /// Serves requests and never says so.
    Drops,
    /// Ends with a request served but not completed, and its memory mapped.
    Dies,
    /// Says that it wrote more than there is room for.
    Length,
    /// Completes a request that was never made.
    Id,
    /// Completes a request twice.
    Twice,
    /// Keeps mappings of all memory that it was given.
    Keeps,
}

impl Fault {
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "drops" => Self::Drops,
            "dies" => Self::Dies,
            "length" => Self::Length,
            "id" => Self::Id,
            "twice" => Self::Twice,
            "keeps" => Self::Keeps,
            _ => return None,
        })
    }
}
