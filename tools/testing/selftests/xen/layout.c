// SPDX-License-Identifier: GPL-2.0
/*
 * What the pool makes of the extended regions that Xen gives, which depends on
 * the machine.  The command line of the kernel says which one that is:
 * xentest.layout=default, none, small, one, fragmented, low or several.
 */

#include "xen_test.h"

#define MIB		(1024UL * 1024)
#define SECTION		(128 * MIB)
#define STEP		(16 * MIB)

static struct xt_range regions[XT_MAX_RANGES], ranges[XT_MAX_RANGES];
static struct xt_range ram[XT_MAX_RANGES];
static struct xut_page pages[STEP / 4096];
static int nr_regions;

static void read_regions(void)
{
	nr_regions = xt_extended_regions(regions, XT_MAX_RANGES);
	XT_CHECK(nr_regions >= 0, "no node of the hypervisor: %s",
		 strerror(-nr_regions));
}

static int region_of(uint64_t start, uint64_t end)
{
	int i;

	for (i = 0; i < nr_regions; i++)
		if (start >= regions[i].start && end <= regions[i].end)
			return i;

	return -1;
}

/* Allocates pages of the pool, step by step, until @size bytes are out. */
static uint64_t take(int fd, enum xut_kind kind, uint64_t size, bool *used)
{
	uint64_t page_size = xt_page_size(), got = 0;
	uint32_t i, step = xt_pages_in(STEP);
	int run, region;

	while (got < size) {
		run = xt_new_alloc(fd, kind, step);
		if (run < 0)
			break;
		XT_CHECK(!xt_pages(fd, run, 0, step, pages), "look at pages");
		for (i = 0; i < step; i++) {
			uint64_t addr = pages[i].pfn * page_size;

			if (!(pages[i].flags & XUT_PAGE_DEVICE))
				return got;
			region = region_of(addr, addr + page_size - 1);
			XT_CHECK(region >= 0, "%#llx is in no region",
				 (unsigned long long)addr);
			used[region] = true;
			got += page_size;
		}
	}

	return got;
}

static void pages_lie_in_regions(void)
{
	bool used[XT_MAX_RANGES] = { false };
	int fd = xt_open(), i, nr;

	read_regions();
	XT_CHECK(nr_regions > 0, "there is no region");
	XT_CHECK(fd >= 0, "module: %s", strerror(-fd));
	XT_CHECK(take(fd, XUT_SCATTERED, 80 * MIB, used) >= 80 * MIB,
		 "80 MiB are not to be had");

	nr = xt_iomem("Xen scratch", ranges, XT_MAX_RANGES);
	XT_CHECK(nr > 0, "no range in /proc/iomem");
	for (i = 0; i < nr; i++)
		XT_CHECK(region_of(ranges[i].start, ranges[i].end) >= 0,
			 "%#llx-%#llx is in no region",
			 (unsigned long long)ranges[i].start,
			 (unsigned long long)ranges[i].end);
}

static void data_goes_through_pages(void)
{
	int fd = xt_open(), run;

	XT_CHECK(fd >= 0, "module: %s", strerror(-fd));
	run = xt_new_alloc(fd, XUT_SCATTERED, 256);
	XT_CHECK(run >= 0, "allocate: %s", strerror(-run));
	xt_run_carries_data(fd, run, 256);
}

static void data_goes_through_buffers(void)
{
	int fd = xt_open(), run;

	XT_CHECK(fd >= 0, "module: %s", strerror(-fd));
	run = xt_new_alloc(fd, XUT_DMA_COHERENT, 256);
	XT_CHECK(run >= 0, "allocate: %s", strerror(-run));
	xt_run_carries_data(fd, run, 256);
	XT_CHECK(!xt_free(fd, run), "free");
}

static void data_goes_through_runs(void)
{
	int fd = xt_open(), run;

	XT_CHECK(fd >= 0, "module: %s", strerror(-fd));
	run = xt_new_alloc(fd, XUT_CONTIGUOUS, 256);
	XT_CHECK(run >= 0, "allocate: %s", strerror(-run));
	xt_run_carries_data(fd, run, 256);
}

static void without_regions_no_runs(void)
{
	int fd = xt_open(), ret;

	read_regions();
	XT_CHECK(!nr_regions, "there are %d regions", nr_regions);
	XT_CHECK(fd >= 0, "module: %s", strerror(-fd));
	ret = xt_new_alloc(fd, XUT_CONTIGUOUS, 1);
	XT_CHECK(ret == -EOPNOTSUPP, "a run: %d", ret);
}

static void without_regions_ballooned_pages(void)
{
	int fd = xt_open(), run, i;

	XT_CHECK(fd >= 0, "module: %s", strerror(-fd));
	run = xt_new_alloc(fd, XUT_SCATTERED, 256);
	XT_CHECK(run >= 0, "allocate: %s", strerror(-run));
	XT_CHECK(!xt_pages(fd, run, 0, 256, pages), "look at pages");
	for (i = 0; i < 256; i++)
		XT_CHECK(!(pages[i].flags & (XUT_PAGE_POOL | XUT_PAGE_DEVICE)),
			 "page %d is not RAM", i);
	if (xt_is_rust())
		XT_CHECK(xt_stat("ballooned") == 256 && !xt_stat("total"),
			 "%ld pages of the balloon, %ld of the pool",
			 xt_stat("ballooned"), xt_stat("total"));
}

/* Address space that no aligned section fits in is used all the same. */
static void region_without_section(void)
{
	bool used[XT_MAX_RANGES] = { false };
	int fd = xt_open(), i;
	uint64_t start;

	read_regions();
	for (i = 0; i < nr_regions; i++) {
		start = (regions[i].start + SECTION - 1) & ~(SECTION - 1);
		XT_CHECK(start + SECTION - 1 > regions[i].end,
			 "region %d has a whole section: not the layout", i);
	}
	XT_CHECK(fd >= 0, "module: %s", strerror(-fd));
	XT_CHECK(take(fd, XUT_SCATTERED, 160 * MIB, used) >= 160 * MIB,
		 "160 MiB are not to be had");
}

static void more_than_one_section(void)
{
	bool used[XT_MAX_RANGES] = { false };
	int fd = xt_open();
	uint64_t got;

	read_regions();
	XT_CHECK(fd >= 0, "module: %s", strerror(-fd));
	got = take(fd, XUT_SCATTERED, 3 * SECTION / 2, used);
	ksft_print_msg("%llu MiB\n", (unsigned long long)(got / MIB));
	XT_CHECK(got > SECTION, "no more than %llu MiB are to be had",
		 (unsigned long long)(got / MIB));
}

/* What is too large for any piece is refused, and what fits is not. */
static void runs_in_pieces(void)
{
	uint64_t largest = 0, size, page_size = xt_page_size();
	int fd = xt_open(), run, i, ret;
	uint32_t nr;

	read_regions();
	XT_CHECK(nr_regions > 2, "only %d regions: not the layout", nr_regions);
	for (i = 0; i < nr_regions; i++) {
		size = regions[i].end + 1 - regions[i].start;
		if (size > largest)
			largest = size;
	}
	XT_CHECK(fd >= 0, "module: %s", strerror(-fd));
	if (largest / page_size + 1 <= XUT_MAX_PAGES) {
		run = xt_new(fd, largest / page_size + 1);
		ret = xt_alloc_run(fd, run, largest / page_size + 1, 1,
				   UINT64_MAX);
		XT_CHECK(ret == -ENOMEM, "a run larger than all pieces: %d",
			 ret);
	}
	nr = xt_pages_in(64 * MIB);
	run = xt_new_alloc(fd, XUT_CONTIGUOUS, nr);
	XT_CHECK(run >= 0, "a run of 64 MiB: %s", strerror(-run));
	XT_CHECK(!xt_pages(fd, run, nr - 1, 1, pages), "look at the last");
	size = pages[0].pfn * page_size + page_size - 1;
	XT_CHECK(!xt_pages(fd, run, 0, 1, pages), "look at the first");
	XT_CHECK(region_of(pages[0].pfn * page_size, size) >= 0,
		 "the run is in no region");
	xt_run_carries_data(fd, run, 256);
}

static void all_pieces_are_used(void)
{
	bool used[XT_MAX_RANGES] = { false };
	int fd = xt_open(), i;
	uint64_t got;

	read_regions();
	XT_CHECK(fd >= 0, "module: %s", strerror(-fd));
	got = take(fd, XUT_SCATTERED, UINT64_MAX, used);
	ksft_print_msg("%llu MiB in %d regions\n",
		       (unsigned long long)(got / MIB), nr_regions);
	for (i = 0; i < nr_regions; i++)
		XT_CHECK(used[i], "nothing of %#llx-%#llx is used",
			 (unsigned long long)regions[i].start,
			 (unsigned long long)regions[i].end);
}

/* A region that the linear map does not reach is left out, and no error. */
static void region_below_linear_map(void)
{
	const uint64_t linear_map_step = 1UL << 30;
	bool used[XT_MAX_RANGES] = { false };
	int fd = xt_open(), run, ret, nr;
	uint64_t lowest;

	read_regions();
	nr = xt_iomem("System RAM", ranges, XT_MAX_RANGES);
	XT_CHECK(nr > 0, "no System RAM");
	lowest = ranges[0].start & ~(linear_map_step - 1);
	XT_CHECK(nr_regions > 1 && regions[0].end < lowest,
		 "no region below %#llx: not the layout",
		 (unsigned long long)lowest);

	XT_CHECK(fd >= 0, "module: %s", strerror(-fd));
	XT_CHECK(take(fd, XUT_SCATTERED, 160 * MIB, used) >= 160 * MIB,
		 "160 MiB are not to be had");
	XT_CHECK(!used[0], "a page lies below the linear map");
	if (xt_is_rust()) {
		run = xt_new(fd, 1);
		ret = xt_alloc_run(fd, run, 1, 1, regions[0].end);
		XT_CHECK(ret == -ENOMEM, "a run below the linear map: %d",
			 ret);
	}
}

static void several_regions_are_used(void)
{
	const uint64_t size = 784 * MIB;
	bool used[XT_MAX_RANGES] = { false };
	int fd = xt_open(), i, nr = 0;

	read_regions();
	XT_CHECK(nr_regions > 2, "only %d regions: not the layout", nr_regions);
	XT_CHECK(fd >= 0, "module: %s", strerror(-fd));
	if (!xt_is_rust() && xt_in_sections() < size)
		xt_skip("the C code has %llu MiB of whole sections",
			(unsigned long long)(xt_in_sections() / MIB));
	XT_CHECK(take(fd, XUT_SCATTERED, size, used) >= size,
		 "784 MiB are not to be had");
	for (i = 0; i < nr_regions; i++)
		nr += used[i];
	XT_CHECK(nr > 1, "all lie in one region");
}

/* 0 if the kernel does not say it. */
static uint64_t pageblock_size(void)
{
	static const char name[] = "Pages per block:";
	static char buf[64 * 1024];
	char *found;

	if (xt_read_file("/proc/pagetypeinfo", buf, sizeof(buf)) < 0)
		return 0;
	found = strstr(buf, name);

	return found ? strtoul(found + strlen(name), NULL, 10) * xt_page_size()
		     : 0;
}

/* The page allocator goes through all of a pageblock that has RAM in it. */
static void no_pageblock_with_ram(void)
{
	uint64_t size = pageblock_size(), mask = ~(size - 1);
	bool used[XT_MAX_RANGES] = { false };
	int fd = xt_open(), nr, nr_ram, i, j;

	if (!size)
		xt_skip("the size of pageblocks is not known");
	read_regions();
	XT_CHECK(fd >= 0, "module: %s", strerror(-fd));
	take(fd, XUT_SCATTERED, UINT64_MAX, used);

	nr = xt_iomem("Xen scratch", ranges, XT_MAX_RANGES);
	nr_ram = xt_iomem("System RAM", ram, XT_MAX_RANGES);
	XT_CHECK(nr >= 0 && nr_ram > 0, "%d ranges, %d of RAM", nr, nr_ram);
	ksft_print_msg("%d ranges, pageblocks of %llu MiB\n", nr,
		       (unsigned long long)(size / MIB));
	for (i = 0; i < nr; i++)
		for (j = 0; j < nr_ram; j++)
			XT_CHECK((ranges[i].start & mask) > ram[j].end ||
				 (ranges[i].end | ~mask) < ram[j].start,
				 "%#llx-%#llx and RAM at %#llx-%#llx share one",
				 (unsigned long long)ranges[i].start,
				 (unsigned long long)ranges[i].end,
				 (unsigned long long)ram[j].start,
				 (unsigned long long)ram[j].end);
}

#define ANY "default none small one fragmented low several"
#define REGIONS "default small one fragmented low several"
#define SECTIONS "it adds whole sections, of which there are too few"

static const struct xt_test tests[] = {
	{ "pages lie in the regions that Xen gave",
	  pages_lie_in_regions, "default one low several" },
	{ "pages lie in regions that have no aligned section",
	  pages_lie_in_regions, "small fragmented", XT_C_FAILS, SECTIONS },
	{ "without a region runs are not supported",
	  without_regions_no_runs, "none" },
	{ "without a region pages come from the balloon",
	  without_regions_ballooned_pages, "none" },
	{ "a region without an aligned section is used",
	  region_without_section, "small", XT_C_FAILS, SECTIONS },
	{ "what is left of a region beside its only section is used",
	  more_than_one_section, "one", XT_C_FAILS, SECTIONS },
	{ "a run lies in one piece of a fragmented region, or is refused",
	  runs_in_pieces, "fragmented", XT_C_FAILS,
	  "it hands out no contiguous runs" },
	{ "all pieces of a fragmented region are used",
	  all_pieces_are_used, "fragmented", XT_C_FAILS, SECTIONS },
	{ "a region below the linear map is left out",
	  region_below_linear_map, "low" },
	{ "pages come from several regions when one does not do",
	  several_regions_are_used, "several" },
	{ "no pageblock has both unpopulated pages and RAM",
	  no_pageblock_with_ram, REGIONS },
	{ "data goes through grants in pages, also where there is no region",
	  data_goes_through_pages, "default none one low several" },
	{ "data goes through grants in pages of regions without a section",
	  data_goes_through_pages, "small fragmented", XT_C_FAILS, SECTIONS },
	{ "data goes through grants in runs, in any layout with a region",
	  data_goes_through_runs, REGIONS, XT_C_FAILS,
	  "it hands out no contiguous runs" },
	{ "data goes through grants in DMA buffers, in any layout",
	  data_goes_through_buffers, ANY },
};

int main(void)
{
	return xt_main(tests, ARRAY_SIZE(tests));
}
