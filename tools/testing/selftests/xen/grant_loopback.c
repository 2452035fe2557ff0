// SPDX-License-Identifier: GPL-2.0
/*
 * Data goes through grants: a domain grants pages to itself, maps them, and
 * finds on one side what was written on the other.
 */

#include <sys/mman.h>

#include "xen_test.h"

#define NR	64

static void through_gntdev(uint32_t nr)
{
	size_t page_size = xt_page_size();
	struct xt_grants grants;
	uint32_t i;
	void *mem;
	int fd, ret;

	ret = xt_grants_new(&grants, nr, true);
	XT_CHECK(!ret, "grant: %s", strerror(-ret));
	for (i = 0; i < nr; i++)
		memset(grants.mem + i * page_size, i + 1, XT_GRANT_SIZE);

	fd = xt_gntdev_open();
	XT_CHECK(fd >= 0, "gntdev: %s", strerror(-fd));
	ret = xt_gntdev_mmap(fd, &grants, true, &mem);
	XT_CHECK(!ret, "map: %s", strerror(-ret));

	for (i = 0; i < nr; i++) {
		uint8_t *page = (uint8_t *)mem + i * page_size;

		XT_CHECK(page[0] == (uint8_t)(i + 1) &&
			 !memcmp(page, page + 1, XT_GRANT_SIZE - 1),
			 "page %u does not read as it was written", i);
		memset(page, ~i, XT_GRANT_SIZE);
	}
	for (i = 0; i < nr; i++) {
		uint8_t *page = grants.mem + i * page_size;

		XT_CHECK(page[0] == (uint8_t)~i &&
			 !memcmp(page, page + 1, XT_GRANT_SIZE - 1),
			 "page %u was not written through the mapping", i);
	}

	ret = xt_gntdev_munmap(fd, 0, nr, mem);
	XT_CHECK(!ret, "unmap: %s", strerror(-ret));
	close(fd);
	xt_grants_end(&grants);
}

static void user_space_reads_and_writes_one(void)
{
	through_gntdev(1);
}

static void user_space_reads_and_writes_many(void)
{
	through_gntdev(NR);
}

static void kernel_reads_and_writes(enum xut_kind kind)
{
	int fd, run;

	fd = xt_open();
	XT_CHECK(fd >= 0, "module: %s", strerror(-fd));
	run = xt_new_alloc(fd, kind, NR);
	XT_CHECK(run >= 0, "allocate: %s", strerror(-run));

	xt_run_carries_data(fd, run, NR);
}

static void kernel_reads_and_writes_scattered(void)
{
	kernel_reads_and_writes(XUT_SCATTERED);
}

static void kernel_reads_and_writes_contiguous(void)
{
	kernel_reads_and_writes(XUT_CONTIGUOUS);
}

static void kernel_reads_and_writes_gnttab(void)
{
	kernel_reads_and_writes(XUT_GNTTAB);
}

static void kernel_reads_and_writes_dma(void)
{
	kernel_reads_and_writes(XUT_DMA_COHERENT);
}

/* One memcpy() over all pages at once, as a driver would do it. */
static void one_address_range(enum xut_kind kind)
{
	size_t len = 16 * xt_page_size();
	struct xt_grants grants;
	uint8_t *got;
	int fd, run, ret;
	size_t i;

	if (xt_page_size() > XT_GRANT_SIZE)
		xt_skip("a grant is but a part of a page here");
	fd = xt_open();
	XT_CHECK(fd >= 0, "module: %s", strerror(-fd));
	run = xt_new_alloc(fd, kind, 16);
	XT_CHECK(run >= 0, "allocate: %s", strerror(-run));
	ret = xt_grants_new(&grants, 16, true);
	XT_CHECK(!ret, "grant: %s", strerror(-ret));
	got = malloc(len);
	XT_CHECK(got, "no memory");

	for (i = 0; i < len; i++)
		grants.mem[i] = i ^ (i >> 8) ^ (i >> 16);
	ret = xt_map(fd, run, 0, 16, grants.refs, 0);
	XT_CHECK(!ret, "map: %s", strerror(-ret));
	for (i = 0; i < len; i += 32768) {
		size_t part = len - i < 32768 ? len - i : 32768;

		ret = xt_copy_from(fd, run, i, got + i, part);
		XT_CHECK(!ret, "read at %zu: %s", i, strerror(-ret));
	}
	XT_CHECK(!memcmp(got, grants.mem, len), "data differs");

	ret = xt_unmap(fd, run, 0, 16);
	XT_CHECK(!ret, "unmap: %s", strerror(-ret));
}

static void contiguous_is_one_address_range(void)
{
	one_address_range(XUT_CONTIGUOUS);
}

static void dma_is_one_address_range(void)
{
	one_address_range(XUT_DMA_COHERENT);
}

/* Xen, not the page tables of this kernel, is what would stop a write. */
static void read_only_grant_cannot_be_mapped_writable(void)
{
	struct xt_grants grants;
	void *mem;
	int fd, ret;

	ret = xt_grants_new(&grants, 1, false);
	XT_CHECK(!ret, "grant: %s", strerror(-ret));
	grants.mem[0] = 0x5a;
	fd = xt_gntdev_open();
	XT_CHECK(fd >= 0, "gntdev: %s", strerror(-fd));
	ret = xt_gntdev_mmap(fd, &grants, true, &mem);
	XT_CHECK(ret, "it was mapped writable");
	ret = xt_gntdev_mmap(fd, &grants, false, &mem);
	XT_CHECK(!ret, "map read-only: %s", strerror(-ret));
	XT_CHECK(*(uint8_t *)mem == 0x5a, "data differs");
}

static void a_bad_reference_among_good_ones_maps_nothing(void)
{
	int fd, run, ret, before = xt_active_grants();
	struct xt_grants grants;
	uint32_t refs[NR];

	fd = xt_open();
	XT_CHECK(fd >= 0, "module: %s", strerror(-fd));
	run = xt_new_alloc(fd, XUT_SCATTERED, NR);
	XT_CHECK(run >= 0, "allocate: %s", strerror(-run));
	ret = xt_grants_new(&grants, NR, true);
	XT_CHECK(!ret, "grant: %s", strerror(-ret));
	memcpy(refs, grants.refs, sizeof(refs));
	refs[NR / 2] = 0x7ffffff;
	ret = xt_map(fd, run, 0, NR, refs, 0);
	XT_CHECK(ret == -EINVAL, "map: %d", ret);
	XT_CHECK(xt_active_grants() == before, "Xen still has some mapped");

	/* The pages are none the worse for it. */
	ret = xt_map(fd, run, 0, NR, grants.refs, 0);
	XT_CHECK(!ret, "map again: %s", strerror(-ret));
	if (before >= 0)
		XT_CHECK(xt_active_grants() == before + NR,
			 "Xen has %d active grants", xt_active_grants());
}

static void a_killed_process_leaves_no_grant(void)
{
	struct xt_grants grants;
	void *mem;
	int fd, ret;

	/* Nothing is undone here: the end of the process has to do it. */
	ret = xt_grants_new(&grants, NR, true);
	XT_CHECK(!ret, "grant: %s", strerror(-ret));
	fd = xt_gntdev_open();
	XT_CHECK(fd >= 0, "gntdev: %s", strerror(-fd));
	ret = xt_gntdev_mmap(fd, &grants, true, &mem);
	XT_CHECK(!ret, "map: %s", strerror(-ret));
	ret = xt_active_grants();
	if (ret >= 0)
		XT_CHECK(ret >= NR, "Xen has only %d active grants", ret);
}

#define NO_RUNS "it hands out no contiguous runs"

static const struct xt_test tests[] = {
	{ "a page written through its grant is read through the mapping, and back",
	  user_space_reads_and_writes_one },
	{ "64 pages written through grants are read through the mapping, and back",
	  user_space_reads_and_writes_many },
	{ "the kernel exchanges data through grants in scattered pages",
	  kernel_reads_and_writes_scattered },
	{ "the kernel exchanges data through grants in a contiguous run",
	  kernel_reads_and_writes_contiguous, NULL, XT_C_FAILS, NO_RUNS },
	{ "the kernel exchanges data through grants in gnttab_alloc_pages()",
	  kernel_reads_and_writes_gnttab },
	{ "the kernel exchanges data through grants in gnttab_dma_alloc_pages()",
	  kernel_reads_and_writes_dma },
	{ "grants in a contiguous run are one range of kernel addresses",
	  contiguous_is_one_address_range, NULL, XT_C_FAILS, NO_RUNS },
	{ "grants in a DMA buffer are one range of kernel addresses",
	  dma_is_one_address_range },
	{ "a read-only grant cannot be mapped writable",
	  read_only_grant_cannot_be_mapped_writable },
	{ "a bad reference among good ones maps nothing and harms no page",
	  a_bad_reference_among_good_ones_maps_nothing },
	{ "a process that ends with grants mapped leaves none behind",
	  a_killed_process_leaves_no_grant },
};

int main(void)
{
	return xt_main(tests, ARRAY_SIZE(tests));
}
