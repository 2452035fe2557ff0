// SPDX-License-Identifier: GPL-2.0

//! The pool of unpopulated pages.

#[path = "../../../../../drivers/xen/unpopulated/ballooned.rs"]
pub(crate) mod ballooned;
#[path = "../../../../../drivers/xen/unpopulated/chunk.rs"]
pub(crate) mod chunk;
#[path = "../../../../../drivers/xen/unpopulated/free_map.rs"]
pub(crate) mod free_map;
#[path = "../../../../../drivers/xen/unpopulated/glue.rs"]
pub(crate) mod glue;
#[path = "../../../../../drivers/xen/unpopulated/growth.rs"]
pub(crate) mod growth;
#[path = "../../../../../drivers/xen/unpopulated/index.rs"]
pub(crate) mod index;
#[path = "../../../../../drivers/xen/unpopulated/page_list.rs"]
pub(crate) mod page_list;
#[path = "../../../../../drivers/xen/unpopulated/pool.rs"]
pub(crate) mod pool;
#[path = "../../../../../drivers/xen/unpopulated/ready.rs"]
pub(crate) mod ready;

kernel::sync::global_lock! {
    pub(crate) unsafe(uninit) static POOL: Mutex<pool::Pool> = pool::Pool::new();
}

kernel::sync::global_lock! {
    pub(crate) unsafe(uninit) static GROWTH: Mutex<pool::Growth> = pool::Growth::new();
}

kernel::sync::global_lock! {
    pub(crate) unsafe(uninit) static BALLOONED: Mutex<ballooned::Ballooned> =
        ballooned::Ballooned::new();
}
