// SPDX-License-Identifier: GPL-2.0
/*
 * When there is no address space left: pages come from the balloon, runs are
 * refused, and all is well again when something was freed.
 */

#include "xen_test.h"

#define STEP		(16UL << 20)	/* bytes */
#define MAX_STEPS	128
#define NR		64

static struct xut_page pages[NR];
static int steps[MAX_STEPS];
static int nr_steps;

/*
 * Takes all.  With a pool that can be told not to grow that is less than all
 * address space; the other one fails, at a section's end, for good.
 */
static void exhaust(int fd)
{
	uint32_t step = xt_pages_in(STEP);
	char text[32];
	long free;

	nr_steps = 0;
	if (!xt_is_rust()) {
		do {
			steps[nr_steps] = xt_new_alloc(fd, XUT_SCATTERED, step);
		} while (steps[nr_steps] >= 0 && ++nr_steps < MAX_STEPS);
		XT_CHECK(nr_steps < MAX_STEPS, "there is no end of it");
		return;
	}

	XT_CHECK(!xt_set_param("xen_unpopulated", "give_back", "0"),
		 "keep what there is");
	/* There has to be something to take. */
	steps[nr_steps] = xt_new_alloc(fd, XUT_SCATTERED, step);
	XT_CHECK(steps[nr_steps++] >= 0, "allocate");
	snprintf(text, sizeof(text), "%ld", xt_stat("total"));
	XT_CHECK(!xt_set_param("xen_unpopulated", "max_pages", text),
		 "set a ceiling");
	while ((free = xt_stat("free")) > 0 && nr_steps < MAX_STEPS) {
		if (free > XUT_MAX_PAGES)
			free = XUT_MAX_PAGES;
		steps[nr_steps] = xt_new_alloc(fd, XUT_SCATTERED, free);
		XT_CHECK(steps[nr_steps] >= 0, "allocate the %ld left", free);
		nr_steps++;
	}
	XT_CHECK(!xt_stat("ballooned"), "%ld pages came from the balloon",
		 xt_stat("ballooned"));
}

static void free_all(int fd)
{
	while (nr_steps--)
		XT_CHECK(!xt_free(fd, steps[nr_steps]), "free");
}

static void what_is_freed_can_be_had_again(void)
{
	uint32_t step = xt_pages_in(STEP);
	int fd = xt_open(), i, had;

	XT_CHECK(fd >= 0, "module: %s", strerror(-fd));
	exhaust(fd);
	had = nr_steps;
	free_all(fd);
	for (i = 0; i < had; i++)
		XT_CHECK(xt_new_alloc(fd, XUT_SCATTERED, step) >= 0 || i,
			 "not even %u pages are to be had again", step);
	if (xt_is_rust())
		XT_CHECK(!xt_stat("ballooned") || xt_stat("free") < step,
			 "the balloon was asked, with %ld pages free",
			 xt_stat("free"));
}

static void pages_come_from_the_balloon(void)
{
	int fd = xt_open(), run, i;
	long fallback;

	XT_CHECK(fd >= 0, "module: %s", strerror(-fd));
	exhaust(fd);
	fallback = xt_stat("fallback");
	run = xt_new_alloc(fd, XUT_SCATTERED, NR);
	XT_CHECK(run >= 0, "allocate: %s", strerror(-run));
	XT_CHECK(!xt_pages(fd, run, 0, NR, pages), "look at pages");
	for (i = 0; i < NR; i++)
		XT_CHECK(!(pages[i].flags & XUT_PAGE_POOL),
			 "page %d is not the balloon's", i);
	XT_CHECK(xt_stat("ballooned") == NR && xt_stat("fallback") == fallback + 1,
		 "%ld pages in %ld allocations are counted",
		 xt_stat("ballooned"), xt_stat("fallback") - fallback);
	xt_run_carries_data(fd, run, NR);

	/* They are told from the others when they come back. */
	XT_CHECK(!xt_free(fd, run), "free");
	XT_CHECK(!xt_stat("ballooned"), "%ld are still counted",
		 xt_stat("ballooned"));
	XT_CHECK(!xt_stat("free"), "%ld were taken for the pool's",
		 xt_stat("free"));
}

static void both_can_be_freed_in_one_call(void)
{
	struct xut_ref refs[2 * NR];
	int fd = xt_open(), own, run, i;
	long refused = xt_stat("refused");

	XT_CHECK(fd >= 0, "module: %s", strerror(-fd));
	own = xt_new_alloc(fd, XUT_SCATTERED, NR);
	XT_CHECK(own >= 0, "allocate: %s", strerror(-own));
	exhaust(fd);
	run = xt_new_alloc(fd, XUT_SCATTERED, NR);
	XT_CHECK(run >= 0, "allocate: %s", strerror(-run));
	XT_CHECK(xt_stat("ballooned") == NR, "%ld pages from the balloon",
		 xt_stat("ballooned"));
	for (i = 0; i < 2 * NR; i++) {
		refs[i].id = i % 2 ? own : run;
		refs[i].index = i / 2;
	}
	XT_CHECK(!xt_free_pages(fd, refs, 2 * NR, 0), "free");
	XT_CHECK(!xt_stat("ballooned") && xt_stat("free") == NR,
		 "%ld are the balloon's, %ld free", xt_stat("ballooned"),
		 xt_stat("free"));
	XT_CHECK(xt_stat("refused") == refused, "%ld were refused",
		 xt_stat("refused") - refused);
}

static void runs_are_refused_until_there_is_room(void)
{
	int fd = xt_open(), run, ret;

	XT_CHECK(fd >= 0, "module: %s", strerror(-fd));
	exhaust(fd);
	run = xt_new(fd, NR);
	ret = xt_alloc_run(fd, run, NR, 1, UINT64_MAX);
	XT_CHECK(ret == -ENOMEM, "a run: %d", ret);
	ret = xt_alloc_run(fd, run, 1, 1, UINT64_MAX);
	XT_CHECK(ret == -ENOMEM, "a run of one page: %d", ret);
	free_all(fd);
	ret = xt_alloc_run(fd, run, NR, 1, UINT64_MAX);
	XT_CHECK(!ret, "a run, with all free: %s", strerror(-ret));
	xt_run_carries_data(fd, run, NR);
}

static void buffers_come_from_ram(void)
{
	int fd = xt_open(), run;

	XT_CHECK(fd >= 0, "module: %s", strerror(-fd));
	exhaust(fd);
	run = xt_new_alloc(fd, XUT_DMA_COHERENT, NR);
	XT_CHECK(run >= 0, "allocate: %s", strerror(-run));
	XT_CHECK(!xt_pages(fd, run, 0, NR, pages), "look at pages");
	XT_CHECK(!(pages[0].flags & XUT_PAGE_DEVICE), "it is not RAM");
	xt_run_carries_data(fd, run, NR);
	XT_CHECK(!xt_free(fd, run), "free");
}

static void buffers_are_refused_if_ram_is_not_wanted(void)
{
	int fd = xt_open(), run;

	XT_CHECK(fd >= 0, "module: %s", strerror(-fd));
	exhaust(fd);
	XT_CHECK(!xt_set_param("xen_grant_dma_alloc", "source", "unpopulated"),
		 "source=unpopulated");
	run = xt_new_alloc(fd, XUT_DMA_COHERENT, NR);
	XT_CHECK(run == -ENOMEM, "it returned %d", run);
	free_all(fd);
	run = xt_new_alloc(fd, XUT_DMA_COHERENT, NR);
	XT_CHECK(run >= 0, "allocate, with all free: %s", strerror(-run));
}

/* Or RAM would be lost each time: so often that there is not as much. */
static void balloon_pages_go_back(void)
{
	const long size_kib = 8192;
	uint32_t nr = size_kib * 1024 / xt_page_size();
	int fd = xt_open(), run, i;
	long before;

	XT_CHECK(fd >= 0, "module: %s", strerror(-fd));
	exhaust(fd);
	run = xt_new(fd, nr);
	XT_CHECK(run >= 0, "make room: %s", strerror(-run));
	xt_free_kib();
	before = xt_free_kib();
	for (i = 0; i < 16; i++) {
		XT_CHECK(!xt_alloc(fd, run, XUT_SCATTERED, nr), "allocate");
		XT_CHECK(xt_stat("ballooned") == nr, "%ld are ballooned ones",
			 xt_stat("ballooned"));
		XT_CHECK(!xt_free(fd, run), "free");
	}
	XT_CHECK(before - xt_free_kib() < 4 * size_kib, "%ld KiB are lost",
		 before - xt_free_kib());
}

static void the_ceiling_holds(void)
{
	int fd = xt_open(), run;
	long total;

	XT_CHECK(fd >= 0, "module: %s", strerror(-fd));
	exhaust(fd);
	total = xt_stat("total");
	run = xt_new_alloc(fd, XUT_SCATTERED, NR);
	XT_CHECK(run >= 0, "allocate: %s", strerror(-run));
	XT_CHECK(xt_stat("total") == total, "%ld pages, then %ld", total,
		 xt_stat("total"));
	XT_CHECK(!xt_set_param("xen_unpopulated", "max_pages", "0"),
		 "no ceiling");
	run = xt_new_alloc(fd, XUT_CONTIGUOUS, NR);
	XT_CHECK(run >= 0, "without a ceiling: %s", strerror(-run));
	XT_CHECK(xt_stat("total") > total, "it did not grow");
}

static const struct xt_test tests[] = {
	{ "after exhaustion what is freed can be had again",
	  what_is_freed_can_be_had_again },
	{ "an exhausted pool hands out ballooned pages",
	  pages_come_from_the_balloon, NULL, XT_C_FAILS,
	  "it fails where a region is used up" },
	{ "pages of the balloon and of the pool can be freed in one call",
	  both_can_be_freed_in_one_call, NULL, XT_C_FAILS,
	  "it fails where a region is used up" },
	{ "pages that the balloon gave go back to it",
	  balloon_pages_go_back, NULL, XT_C_FAILS,
	  "it fails where a region is used up" },
	{ "an exhausted pool refuses runs until there is room",
	  runs_are_refused_until_there_is_room, NULL, XT_C_FAILS,
	  "it hands out no contiguous runs" },
	{ "with an exhausted pool DMA buffers come from RAM",
	  buffers_come_from_ram },
	{ "with an exhausted pool DMA buffers are refused if RAM is not wanted",
	  buffers_are_refused_if_ram_is_not_wanted, NULL, XT_C_FAILS,
	  "it knows RAM only", xt_is_rust_dma },
	{ "the pool grows up to its ceiling and not beyond",
	  the_ceiling_holds, NULL, XT_C_FAILS, "it has no ceiling" },
};

int main(void)
{
	return xt_main(tests, ARRAY_SIZE(tests));
}
