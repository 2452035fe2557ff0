/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Runs of unpopulated pages, for kernels that do not have any: these do not
 * declare the functions, or as stubs that do the same as those in here.
 */
#ifndef XEN_TEST_CONTIGUOUS_H
#define XEN_TEST_CONTIGUOUS_H

#ifndef CONFIG_XEN_UNPOPULATED_ALLOC_RUST

#include <linux/errno.h>
#include <linux/types.h>

struct page;

static inline int no_run(unsigned int nr_pages, unsigned int align,
			 phys_addr_t max_addr, struct page **first)
{
	return -EOPNOTSUPP;
}

static inline void free_no_run(unsigned int nr_pages, struct page *first)
{
}

static inline bool is_no_page_of_a_pool(struct page *page)
{
	return false;
}

#define xen_alloc_unpopulated_contiguous_pages no_run
#define xen_free_unpopulated_contiguous_pages free_no_run
#define is_xen_unpopulated_page is_no_page_of_a_pool

#endif

#endif
