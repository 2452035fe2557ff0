// SPDX-License-Identifier: GPL-2.0
/*
 * Pages that somebody still holds when they are freed: by vmsplice() and
 * get_user_pages() on a mapping of grants, or by a reference of the kernel's.
 * What becomes of the chunk of such a page is tested in give_back.
 */

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/uio.h>

#include "xen_test.h"

#define NR		8

static struct xut_page pages[NR];

/*
 * The pipe holds the pages by get_user_pages(); the mapping of the grants
 * cannot be undone before it lets go, and the data stays what it is.
 */
static void vmspliced(void)
{
	static uint8_t got[NR][XT_GRANT_SIZE];
	size_t page_size = xt_page_size(), i;
	int fd, ret, page, pipes[2], before;
	struct xt_grants grants;
	struct iovec iov[NR];
	uint8_t *mem;

	before = xt_active_grants();
	ret = xt_grants_new(&grants, NR, true);
	XT_CHECK(!ret, "grant: %s", strerror(-ret));
	for (i = 0; i < NR * page_size; i++)
		grants.mem[i] = i * 7 + i / 251;
	fd = xt_gntdev_open();
	XT_CHECK(fd >= 0, "gntdev: %s", strerror(-fd));
	ret = xt_gntdev_mmap(fd, &grants, true, (void **)&mem);
	XT_CHECK(!ret, "map: %s", strerror(-ret));
	XT_CHECK(!pipe(pipes), "pipe: %s", strerror(errno));

	for (page = 0; page < NR; page++) {
		iov[page].iov_base = mem + page * page_size;
		iov[page].iov_len = XT_GRANT_SIZE;
	}
	ret = vmsplice(pipes[1], iov, NR, 0);
	XT_CHECK(ret == sizeof(got), "vmsplice: %d (%s)", ret, strerror(errno));

	/* Let go of all but the pipe. */
	munmap(mem, NR * page_size);
	close(fd);
	usleep(500 * 1000);
	if (before >= 0) {
		int active = xt_active_grants();

		XT_CHECK(active >= before + NR,
			 "Xen has %d active grants while the pipe is full",
			 active);
	}

	for (i = 0; i < sizeof(got); i += ret) {
		ret = read(pipes[0], (uint8_t *)got + i, sizeof(got) - i);
		XT_CHECK(ret > 0, "read the pipe: %s", strerror(errno));
	}
	for (page = 0; page < NR; page++)
		XT_CHECK(!memcmp(got[page], grants.mem + page * page_size,
				 XT_GRANT_SIZE), "page %d differs in the pipe",
			 page);
	/* The runner sees to it that now all go away. */
}

/* Pages come to the pool with a reference that somebody has. */
static void freed_while_held(enum xut_kind kind)
{
	int fd, run, ret, i;
	uint64_t first;

	fd = xt_open();
	XT_CHECK(fd >= 0, "module: %s", strerror(-fd));
	run = xt_new_alloc(fd, kind, NR);
	XT_CHECK(run >= 0, "allocate: %s", strerror(-run));
	XT_CHECK(!xt_hold(fd, run, 0, NR), "hold");
	XT_CHECK(!xt_pages(fd, run, 0, NR, pages), "look at pages");
	XT_CHECK(pages[0].refcount == 2, "%u references", pages[0].refcount);
	first = pages[0].pfn;

	ret = xt_free(fd, run);
	XT_CHECK(!ret, "free: %s", strerror(-ret));
	XT_CHECK(!xt_pages(fd, run, 0, NR, pages), "look at pages");
	for (i = 0; i < NR; i++)
		XT_CHECK(pages[i].refcount >= 1 && pages[i].flags & XUT_PAGE_HELD,
			 "page %d has %u references", i, pages[i].refcount);
	XT_CHECK(pages[0].pfn == first, "the frame has changed");
	XT_CHECK(!xt_release(fd, run, 0, NR), "release");

	/* And after that they are pages like any other. */
	ret = xt_alloc(fd, run, kind, NR);
	XT_CHECK(!ret, "allocate again: %s", strerror(-ret));
	xt_run_carries_data(fd, run, NR);
}

static void scattered_while_held(void)
{
	freed_while_held(XUT_SCATTERED);
}

static void run_while_held(void)
{
	freed_while_held(XUT_CONTIGUOUS);
}

#define ANY "default none one fragmented low several"

static const struct xt_test tests[] = {
	{ "pages in a pipe stay mapped, with their data, until it is read",
	  vmspliced },
	{ "scattered pages can be freed while somebody holds them",
	  scattered_while_held },
	{ "a run can be freed while somebody holds its pages",
	  run_while_held, NULL, XT_C_FAILS, "it hands out no contiguous runs" },
};

int main(void)
{
	return xt_main(tests, ARRAY_SIZE(tests));
}
