// SPDX-License-Identifier: GPL-2.0

//! The attributes of the kernel's macros that the files under test use.

use proc_macro::{Delimiter, Group, TokenStream, TokenTree};

/// A suite of KUnit tests is a module of tests.
#[proc_macro_attribute]
pub fn kunit_tests(_name: TokenStream, module: TokenStream) -> TokenStream {
    let mut out: TokenStream = "#[cfg(test)]".parse().unwrap();

    out.extend(module);
    out
}

/// Nothing is moved that must stay in its place: the stand-in keeps such things in boxes.
#[proc_macro_attribute]
pub fn pin_data(_: TokenStream, item: TokenStream) -> TokenStream {
    without_pin(item)
}

/// Removes `#[pin]`.
fn without_pin(tokens: TokenStream) -> TokenStream {
    let mut out = Vec::new();

    for token in tokens {
        match token {
            TokenTree::Group(group) if group.to_string().replace(' ', "") == "[pin]" => {
                out.pop();
            }
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => {
                let inner = without_pin(group.stream());

                out.push(TokenTree::Group(Group::new(Delimiter::Brace, inner)));
            }
            other => out.push(other),
        }
    }
    out.into_iter().collect()
}
