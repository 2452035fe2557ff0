// SPDX-License-Identifier: GPL-2.0
/*
 * Contiguous runs: consecutive frame numbers, aligned, below a limit, all in
 * one memremap_pages() range, and known to is_xen_unpopulated_page().
 */

#include "xen_test.h"

#define MAX_NR	16384

static struct xut_page pages[MAX_NR];
static struct xt_range ranges[XT_MAX_RANGES];

static bool in_one_range(uint64_t first, uint64_t last)
{
	int i, nr = xt_iomem("Xen scratch", ranges, XT_MAX_RANGES);

	for (i = 0; i < nr; i++)
		if (first >= ranges[i].start && last <= ranges[i].end)
			return true;

	return false;
}

/* Looks at all that must hold of a run of @nr pages. */
static void check_run(int fd, int run, uint32_t nr, uint32_t align,
		      uint64_t max_addr)
{
	uint64_t shift = __builtin_ctzl(xt_page_size()), first, last;
	uint32_t i;
	int ret;

	ret = xt_pages(fd, run, 0, nr, pages);
	XT_CHECK(!ret, "look at pages: %s", strerror(-ret));
	first = pages[0].pfn << shift;
	last = ((pages[0].pfn + nr) << shift) - 1;

	for (i = 0; i < nr; i++) {
		XT_CHECK(pages[i].pfn == pages[0].pfn + i,
			 "page %u of %u has frame %#llx, the first %#llx", i,
			 nr, (unsigned long long)pages[i].pfn,
			 (unsigned long long)pages[0].pfn);
		XT_CHECK(pages[i].flags & XUT_PAGE_POOL,
			 "is_xen_unpopulated_page() denies page %u", i);
		XT_CHECK(pages[i].flags & XUT_PAGE_DEVICE,
			 "page %u is not a device page", i);
		XT_CHECK(pages[i].refcount == 1, "page %u has %u references",
			 i, pages[i].refcount);
	}
	XT_CHECK(!(pages[0].pfn % align), "frame %#llx, alignment %u",
		 (unsigned long long)pages[0].pfn, align);
	XT_CHECK(last <= max_addr, "last byte at %#llx, limit %#llx",
		 (unsigned long long)last, (unsigned long long)max_addr);
	XT_CHECK(in_one_range(first, last),
		 "%#llx-%#llx is not in one range of /proc/iomem",
		 (unsigned long long)first, (unsigned long long)last);
}

static void alloc_and_check(int fd, uint32_t nr, uint32_t align)
{
	int ret, run = xt_new(fd, nr);

	XT_CHECK(run >= 0, "make room for %u: %s", nr, strerror(-run));
	ret = xt_alloc_run(fd, run, nr, align, UINT64_MAX);
	XT_CHECK(!ret, "allocate %u pages aligned to %u: %s", nr, align,
		 strerror(-ret));

	check_run(fd, run, nr, align, UINT64_MAX);
}

static void frames_are_consecutive(void)
{
	static const uint32_t sizes[] = {
		1, 2, 3, 31, 32, 33, 63, 64, 65, 127, 511, 512, 513, 1000,
		2025, 2048, 4095, 4097, 8192,
	};
	int fd = xt_open();
	size_t i;

	XT_CHECK(fd >= 0, "module: %s", strerror(-fd));
	/* All are kept until the end, so each lies somewhere else. */
	for (i = 0; i < ARRAY_SIZE(sizes); i++)
		if (sizes[i] <= xt_pages_in(32UL << 20))
			alloc_and_check(fd, sizes[i], 1);
}

static void runs_do_not_overlap(void)
{
	static struct { uint64_t first, end; } runs[128];
	int fd = xt_open(), run;
	uint32_t i, j, max = xt_pages_in(300 * 4096);

	XT_CHECK(fd >= 0, "module: %s", strerror(-fd));
	for (i = 0; i < ARRAY_SIZE(runs); i++) {
		uint32_t nr = 1 + (i * 37) % max;

		run = xt_new_alloc(fd, XUT_CONTIGUOUS, nr);
		XT_CHECK(run >= 0, "allocate %u: %s", nr, strerror(-run));
		check_run(fd, run, nr, 1, UINT64_MAX);
		runs[i].first = pages[0].pfn;
		runs[i].end = pages[0].pfn + nr;
		for (j = 0; j < i; j++)
			XT_CHECK(runs[i].first >= runs[j].end ||
				 runs[j].first >= runs[i].end,
				 "runs %u and %u overlap", i, j);
	}
}

static void first_frame_is_aligned(void)
{
	int fd = xt_open();
	uint32_t align;

	XT_CHECK(fd >= 0, "module: %s", strerror(-fd));
	/* A page between them, or the next one may be aligned by chance. */
	for (align = 2; align <= xt_pages_in(16UL << 20); align *= 2) {
		alloc_and_check(fd, 1, 1);
		alloc_and_check(fd, 3, align);
		alloc_and_check(fd, align, align);
	}
	/* No chunk that there is can be aligned to this by chance. */
	alloc_and_check(fd, 3, xt_pages_in(128UL << 20));
}

static void highest_address_is_respected(void)
{
	int fd = xt_open(), low, run, ret;
	uint64_t limit, top, bottom;

	XT_CHECK(fd >= 0, "module: %s", strerror(-fd));

	/* Where one lies if there is no limit, and below that with one. */
	run = xt_new_alloc(fd, XUT_CONTIGUOUS, 512);
	XT_CHECK(run >= 0, "allocate: %s", strerror(-run));
	check_run(fd, run, 512, 1, UINT64_MAX);
	bottom = pages[0].pfn * xt_page_size();
	top = bottom + 512 * xt_page_size() - 1;
	ret = xt_free(fd, run);
	XT_CHECK(!ret, "free: %s", strerror(-ret));

	/* Inclusive: a limit that is its last byte lets it be, ... */
	ret = xt_alloc_run(fd, run, 512, 1, top);
	XT_CHECK(!ret, "limit %#llx: %s", (unsigned long long)top,
		 strerror(-ret));
	check_run(fd, run, 512, 1, top);
	xt_free(fd, run);

	/* ... and one less does not. */
	limit = top - 1;
	low = xt_new(fd, 512);
	XT_CHECK(low >= 0, "make room: %s", strerror(-low));
	ret = xt_alloc_run(fd, low, 512, 1, limit);
	if (!ret) {
		check_run(fd, low, 512, 1, limit);
	} else {
		XT_CHECK(ret == -ENOMEM, "limit %#llx: %s",
			 (unsigned long long)limit, strerror(-ret));
	}

	/* Nothing of it can lie in the first page. */
	run = xt_new(fd, 1);
	ret = xt_alloc_run(fd, run, 1, 1, 0);
	XT_CHECK(ret == -ENOMEM || ret == -EINVAL, "limit 0: %d", ret);
	ret = xt_alloc_run(fd, run, 1, 1, xt_page_size() - 1);
	XT_CHECK(ret == -ENOMEM, "limit in the first page: %d", ret);
	/* The limit is said in bytes, and the last one of them counts. */
	ret = xt_alloc_run(fd, run, 1, 1, xt_page_size() - 2);
	XT_CHECK(ret == -ENOMEM || ret == -EINVAL, "limit below a page: %d",
		 ret);
}

static void halves_can_be_freed_alone(void)
{
	int fd = xt_open(), run, ret;
	long out, refused;

	XT_CHECK(fd >= 0, "module: %s", strerror(-fd));
	run = xt_new_alloc(fd, XUT_CONTIGUOUS, 64);
	XT_CHECK(run >= 0, "allocate: %s", strerror(-run));
	out = xt_pages_out();
	refused = xt_stat("refused");

	ret = xt_free_run(fd, run, 0, 32, 0);
	XT_CHECK(!ret, "free the first half: %s", strerror(-ret));
	XT_CHECK(xt_pages_out() == out - 32, "%ld pages came back",
		 out - xt_pages_out());
	ret = xt_free_run(fd, run, 32, 32, 0);
	XT_CHECK(!ret, "free the second half: %s", strerror(-ret));
	XT_CHECK(xt_pages_out() == out - 64, "%ld pages came back",
		 out - xt_pages_out());
	XT_CHECK(xt_stat("refused") == refused, "%ld pages were refused",
		 xt_stat("refused") - refused);
}

static void a_run_can_be_freed_page_by_page(void)
{
	int fd = xt_open(), run, ret;
	struct xut_ref refs[64];
	long out;
	int i;

	XT_CHECK(fd >= 0, "module: %s", strerror(-fd));
	run = xt_new_alloc(fd, XUT_CONTIGUOUS, 64);
	XT_CHECK(run >= 0, "allocate: %s", strerror(-run));
	out = xt_pages_out();
	for (i = 0; i < 64; i++) {
		refs[i].id = run;
		refs[i].index = (i * 37 + 5) % 64;
	}
	ret = xt_free_pages(fd, refs, 64, 0);
	XT_CHECK(!ret, "free: %s", strerror(-ret));
	XT_CHECK(xt_pages_out() == out - 64, "%ld pages came back",
		 out - xt_pages_out());
	/* Together again. */
	ret = xt_alloc_run(fd, run, 64, 1, UINT64_MAX);
	XT_CHECK(!ret, "allocate: %s", strerror(-ret));

	check_run(fd, run, 64, 1, UINT64_MAX);
}

static void other_pages_are_told_apart(void)
{
	int fd = xt_open(), run, ret;

	XT_CHECK(fd >= 0, "module: %s", strerror(-fd));
	run = xt_new_alloc(fd, XUT_RAM, 8);
	XT_CHECK(run >= 0, "allocate RAM: %s", strerror(-run));
	ret = xt_pages(fd, run, 0, 8, pages);
	XT_CHECK(!ret, "look: %s", strerror(-ret));
	XT_CHECK(!(pages[0].flags & XUT_PAGE_POOL), "RAM is taken for a page of the pool");

	run = xt_new_alloc(fd, XUT_SCATTERED, 8);
	XT_CHECK(run >= 0, "allocate: %s", strerror(-run));
	ret = xt_pages(fd, run, 0, 8, pages);
	XT_CHECK(!ret, "look: %s", strerror(-ret));
	XT_CHECK(pages[0].flags & XUT_PAGE_POOL, "a page of the pool is denied");
}

static void a_run_may_be_larger_than_a_growth_step(void)
{
	/* More than could be had by luck where steps have grown with use. */
	uint64_t size = 64UL << 20;
	int fd = xt_open();

	XT_CHECK(fd >= 0, "module: %s", strerror(-fd));
	if (size < 2 * xt_growth_step())
		size = 2 * xt_growth_step();
	alloc_and_check(fd, xt_pages_in(size), 1);
}

#define NO_RUNS "it hands out no contiguous runs"

static const struct xt_test tests[] = {
	{ "a run has consecutive frames in one memremap_pages() range",
	  frames_are_consecutive, NULL, XT_C_FAILS, NO_RUNS },
	{ "a run larger than a growth step lies in one memremap_pages() range",
	  a_run_may_be_larger_than_a_growth_step, NULL, XT_C_FAILS, NO_RUNS },
	{ "runs do not overlap",
	  runs_do_not_overlap, NULL, XT_C_FAILS, NO_RUNS },
	{ "the first frame of a run is aligned as asked for",
	  first_frame_is_aligned, NULL, XT_C_FAILS, NO_RUNS },
	{ "the last byte of a run is at or below the highest address",
	  highest_address_is_respected, NULL, XT_C_FAILS, NO_RUNS },
	{ "half a run can be freed, and the other half later",
	  halves_can_be_freed_alone, NULL, XT_C_FAILS, NO_RUNS },
	{ "a run can be freed page by page in any order, and be had again",
	  a_run_can_be_freed_page_by_page, NULL, XT_C_FAILS, NO_RUNS },
	{ "is_xen_unpopulated_page() tells pages of the pool from RAM",
	  other_pages_are_told_apart, NULL, XT_C_FAILS, NO_RUNS },
};

int main(void)
{
	return xt_main(tests, ARRAY_SIZE(tests));
}
