// SPDX-License-Identifier: GPL-2.0
/*
 * What a DMA buffer takes from the domain while it lives, and for good: RAM,
 * CMA, and superpages in the tables that Xen has of the domain's memory.
 */

#include "xen_test.h"

#define BUFFER_KIB	8192L

/*
 * Struct pages for a buffer that the pool has no room for yet, and what the
 * kernel takes meanwhile for its own purposes.
 */
#define SLACK_KIB	512

struct usage {
	long ram;
	long cma;
	struct xt_p2m p2m;
};

static struct usage get_usage(void)
{
	struct usage usage;
	int ret;

	ret = xt_key_p2m(&usage.p2m);
	if (ret)
		xt_skip("Xen does not tell: %s", strerror(-ret));
	/* Twice, since reading takes memory the first time. */
	xt_free_kib();
	usage.ram = xt_free_kib();
	usage.cma = xt_meminfo("CmaFree");
	XT_CHECK(usage.ram >= 0, "no count of free memory");

	return usage;
}

static struct usage before, during, after;

static void use_buffer(enum xut_kind kind)
{
	uint32_t nr = xt_pages_in(BUFFER_KIB * 1024);
	int fd = xt_open(), run, ret;

	XT_CHECK(fd >= 0, "module: %s", strerror(-fd));
	run = xt_new(fd, nr);
	XT_CHECK(run >= 0, "make room: %s", strerror(-run));
	get_usage();
	before = get_usage();
	ret = xt_alloc(fd, run, kind, nr);
	XT_CHECK(!ret, "allocate: %s", strerror(-ret));
	during = get_usage();
	ret = xt_free(fd, run);
	XT_CHECK(!ret, "free: %s", strerror(-ret));
	after = get_usage();

	ksft_print_msg("RAM %ld KiB, CMA %ld KiB, shattered %ld, then %ld\n",
		       before.ram - during.ram, before.cma - during.cma,
		       during.p2m.shattered_2m - before.p2m.shattered_2m,
		       after.p2m.shattered_2m - before.p2m.shattered_2m);
}

static void no_ram(void)
{
	if (!access("/sys/kernel/debug/kmemleak", F_OK))
		xt_skip("kmemleak takes memory for each allocation");
	use_buffer(XUT_DMA_COHERENT);
	XT_CHECK(before.ram - during.ram <= SLACK_KIB, "%ld KiB of RAM gone",
		 before.ram - during.ram);
}

static void no_cma(void)
{
	if (xt_meminfo("CmaFree") < BUFFER_KIB)
		xt_skip("no CMA area of that size");
	use_buffer(XUT_DMA_COHERENT);
	XT_CHECK(before.cma == during.cma, "%ld KiB of CMA gone",
		 before.cma - during.cma);
}

static void no_superpage(void)
{
	use_buffer(XUT_DMA_COHERENT);
	XT_CHECK(before.p2m.shattered_2m == during.p2m.shattered_2m &&
		 before.p2m.mappings_2m == during.p2m.mappings_2m,
		 "%ld superpages shattered",
		 during.p2m.shattered_2m - before.p2m.shattered_2m);
	XT_CHECK(before.p2m.shattered_2m == after.p2m.shattered_2m,
		 "%ld superpages stay shattered",
		 after.p2m.shattered_2m - before.p2m.shattered_2m);
}

/*
 * The counts do move when there is something to count: a buffer of RAM.  In a
 * kernel that knows but one source it is this source that must be seen.
 */
static void counts_move(void)
{
	int ret;

	if (xt_is_rust_dma()) {
		ret = xt_set_param("xen_grant_dma_alloc", "source", "ram");
		XT_CHECK(!ret, "source=ram: %s", strerror(-ret));
	}
	use_buffer(XUT_DMA_COHERENT);
	if (xt_is_rust_dma())
		xt_set_param("xen_grant_dma_alloc", "source", "auto");

	XT_CHECK(before.ram - during.ram >= BUFFER_KIB - SLACK_KIB,
		 "only %ld KiB of RAM gone", before.ram - during.ram);
	/* Some of it may have lain on per-CPU lists, and was not counted. */
	if (before.cma >= BUFFER_KIB)
		XT_CHECK(before.cma - during.cma >= BUFFER_KIB / 2,
			 "only %ld KiB of CMA gone", before.cma - during.cma);
	XT_CHECK(before.p2m.mappings_4k != during.p2m.mappings_4k,
		 "Xen's mappings of 4 KiB did not change");
	XT_CHECK(after.ram - during.ram >= BUFFER_KIB - SLACK_KIB,
		 "only %ld KiB of RAM came back", after.ram - during.ram);
}

/* That none is shattered means something only if one can be. */
static void superpages_are_shattered(void)
{
	int ret;

	if (!xt_is_rust_dma())
		xt_skip("the first test has shown it");
	ret = xt_set_param("xen_grant_dma_alloc", "source", "ram");
	XT_CHECK(!ret, "source=ram: %s", strerror(-ret));
	use_buffer(XUT_DMA_COHERENT);
	xt_set_param("xen_grant_dma_alloc", "source", "auto");
	XT_CHECK(during.p2m.shattered_2m > before.p2m.shattered_2m,
		 "no superpage was shattered");
	XT_CHECK(after.p2m.shattered_2m >= during.p2m.shattered_2m,
		 "Xen has put superpages together again");
}

#define USES_RAM "it allocates RAM and gives that to Xen"

/* In this order: the first buffer of RAM since boot is the one that shatters. */
static const struct xt_test tests[] = {
	{ "a DMA buffer shatters no superpage in Xen",
	  no_superpage, NULL, XT_C_FAILS, USES_RAM, xt_is_rust_dma },
	{ "a DMA buffer takes no RAM",
	  no_ram, NULL, XT_C_FAILS, USES_RAM, xt_is_rust_dma },
	{ "a DMA buffer takes no CMA",
	  no_cma, NULL, XT_C_FAILS, USES_RAM, xt_is_rust_dma },
	{ "a buffer made of RAM shatters superpages in Xen, for good",
	  superpages_are_shattered },
	{ "a buffer made of RAM is seen in the counts of RAM and CMA",
	  counts_move },
};

int main(void)
{
	return xt_main(tests, ARRAY_SIZE(tests));
}
