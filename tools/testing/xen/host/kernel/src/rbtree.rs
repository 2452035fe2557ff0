// SPDX-License-Identifier: GPL-2.0

//! Trees, with memory that is got beforehand.

use crate::alloc::{allocate, Flags};
use crate::error::Result;
use core::marker::PhantomData;
use std::collections::BTreeMap;

/// A tree.
pub struct RBTree<K, V>(BTreeMap<K, V>);

/// Memory for a node.
pub struct RBTreeNodeReservation<K, V>(PhantomData<fn() -> (K, V)>);

/// A node that is in no tree.
pub struct RBTreeNode<K, V>(K, V);

impl<K: Ord, V> RBTree<K, V> {
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        Self(BTreeMap::new())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn insert(&mut self, node: RBTreeNode<K, V>) -> Option<RBTreeNode<K, V>> {
        let RBTreeNode(key, value) = node;
        let old = self.0.remove_entry(&key);

        self.0.insert(key, value);
        old.map(|(key, value)| RBTreeNode(key, value))
    }

    pub fn get(&self, key: &K) -> Option<&V> {
        self.0.get(key)
    }

    pub fn remove(&mut self, key: &K) -> Option<V> {
        self.0.remove(key)
    }
}

impl<K: Ord, V> Default for RBTree<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K, V> RBTreeNodeReservation<K, V> {
    pub fn new(_: Flags) -> Result<Self> {
        allocate()?;
        Ok(Self(PhantomData))
    }

    pub fn into_node(self, key: K, value: V) -> RBTreeNode<K, V> {
        RBTreeNode(key, value)
    }
}
