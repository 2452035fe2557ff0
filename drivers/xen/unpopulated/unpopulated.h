/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the two halves of the allocator for unpopulated pages know of each
 * other: the pool, which is in Rust, and what the pool needs that Rust cannot
 * express, or that only C can get at.
 */
#ifndef _XEN_UNPOPULATED_H
#define _XEN_UNPOPULATED_H

#include <linux/jump_label.h>
#include <linux/types.h>

struct page;
struct resource;

/**
 * struct xen_unpopulated_statistics - what the pool has and has done
 * @total: pages that the pool has, handed out or not
 * @free: those of them that are not handed out
 * @chunks: ranges that they form
 * @ballooned: pages of RAM that the fallback has handed out
 * @grown: chunks added since boot
 * @given_back: chunks given back since boot
 * @refused: pages refused at free since boot
 * @pinned: chunks that could not be given back when it was last tried
 * @fallback: allocations that the fallback has served since boot
 */
struct xen_unpopulated_statistics {
	unsigned long total;
	unsigned long free;
	unsigned long chunks;
	unsigned long ballooned;
	unsigned long grown;
	unsigned long given_back;
	unsigned long refused;
	unsigned long pinned;
	unsigned long fallback;
};

/**
 * struct xen_unpopulated_chunk - one range of the pool
 * @first_pfn: its first frame number
 * @nr_pages: its pages
 * @nr_free: those of them that are not handed out
 */
struct xen_unpopulated_chunk {
	unsigned long first_pfn;
	unsigned long nr_pages;
	unsigned long nr_free;
};

/*
 * In Rust, see xen_unpopulated.rs. Nothing but the first may be called before
 * that has been. All of them may sleep.
 */
void xen_unpopulated_start(struct resource *target, struct page *donated);
unsigned long xen_unpopulated_give_back(void);
void xen_unpopulated_get_statistics(struct xen_unpopulated_statistics *stats);
bool xen_unpopulated_get_chunk(unsigned int slot,
			       struct xen_unpopulated_chunk *chunk);

/**
 * struct xen_unpopulated_key - the type of a static key, for Rust's sake
 * @key: the key
 */
struct xen_unpopulated_key {
	struct static_key_false key;
};

/* In C, see glue.c. */
extern struct xen_unpopulated_key xen_unpopulated_ready;
extern unsigned int xen_unpopulated_idle_seconds;
extern unsigned long xen_unpopulated_max_pages;

int xen_unpopulated_alloc_early(unsigned int nr_pages, struct page **pages);
void xen_unpopulated_free_early(unsigned int nr_pages, struct page **pages);
void xen_unpopulated_queue_give_back(unsigned long delay);
void xen_unpopulated_refused(unsigned long nr_pages);
void xen_unpopulated_fell_back(int cause, unsigned long nr_pages);
void xen_unpopulated_exhausted(int cause, unsigned long nr_pages);
unsigned long xen_unpopulated_balloonable(void);
unsigned int xen_unpopulated_noio_save(void);
void xen_unpopulated_noio_restore(unsigned int flags);
bool xen_unpopulated_is_pv(void);
phys_addr_t xen_unpopulated_past_ram(phys_addr_t start, phys_addr_t end);
int xen_unpopulated_prepare_range(phys_addr_t start, unsigned long nr_pages);
int xen_unpopulated_prepare_pages(unsigned int nr_pages, struct page **pages);

#endif /* _XEN_UNPOPULATED_H */
