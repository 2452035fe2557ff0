// SPDX-License-Identifier: GPL-2.0
/*
 * What is freed and is not out is refused: left as it is, counted, warned of
 * once, and nothing else comes to harm.  A pool that accepted it would hand a
 * page to two owners.
 */

#include "xen_test.h"

#define NR	64

static struct xut_page pages[NR];

/*
 * The only warning in a boot is the first; that it has to come is tested by
 * looking for it.
 */
static void expect_refusal(void)
{
	xt_expect_splat("freed that were not handed out");
}

/* Nobody gets a page twice: all of many allocations are different. */
static void pool_is_sane(int fd)
{
	static uint64_t seen[32 * NR];
	uint32_t i, j, k;

	for (i = 0; i < 32; i++) {
		int run = xt_new_alloc(fd, XUT_SCATTERED, NR);

		XT_CHECK(run >= 0, "allocate: %s", strerror(-run));
		XT_CHECK(!xt_pages(fd, run, 0, NR, pages), "look at pages");
		for (j = 0; j < NR; j++) {
			for (k = 0; k < i * NR + j; k++)
				XT_CHECK(seen[k] != pages[j].pfn,
					 "frame %#llx is given out twice",
					 (unsigned long long)pages[j].pfn);
			seen[i * NR + j] = pages[j].pfn;
		}
	}
}

static void check_refused(long refused, long out, long nr_refused,
			  long nr_freed)
{
	XT_CHECK(xt_stat("refused") == refused + nr_refused,
		 "%ld pages were refused, not %ld",
		 xt_stat("refused") - refused, nr_refused);
	XT_CHECK(xt_pages_out() == out - nr_freed,
		 "%ld pages were freed, not %ld", out - xt_pages_out(),
		 nr_freed);
}

static void freed_twice(enum xut_kind kind)
{
	struct xut_ref refs[NR];
	long out, refused;
	int fd, run, other, ret, i;

	fd = xt_open();
	XT_CHECK(fd >= 0, "module: %s", strerror(-fd));
	/* So that the pages' chunk stays while they are not out. */
	other = xt_new_alloc(fd, XUT_SCATTERED, 1);
	XT_CHECK(other >= 0, "allocate: %s", strerror(-other));
	run = xt_new_alloc(fd, kind, NR);
	XT_CHECK(run >= 0, "allocate: %s", strerror(-run));
	XT_CHECK(!xt_free(fd, run), "free");

	expect_refusal();
	out = xt_pages_out();
	refused = xt_stat("refused");
	if (kind == XUT_CONTIGUOUS) {
		ret = xt_free_run(fd, run, 0, NR, XUT_FORCE);
	} else {
		for (i = 0; i < NR; i++) {
			refs[i].id = run;
			refs[i].index = i;
		}
		ret = xt_free_pages(fd, refs, NR, XUT_FORCE);
	}
	XT_CHECK(!ret, "free again: %s", strerror(-ret));
	check_refused(refused, out, NR, 0);
	pool_is_sane(fd);
}

static void scattered_freed_twice(void)
{
	freed_twice(XUT_SCATTERED);
}

static void run_freed_twice(void)
{
	freed_twice(XUT_CONTIGUOUS);
}

static void twice_in_one_call(void)
{
	struct xut_ref refs[2 * NR];
	long out, refused;
	int fd, run, i;

	fd = xt_open();
	XT_CHECK(fd >= 0, "module: %s", strerror(-fd));
	run = xt_new_alloc(fd, XUT_SCATTERED, NR);
	XT_CHECK(run >= 0, "allocate: %s", strerror(-run));
	for (i = 0; i < NR; i++) {
		refs[i].id = run;
		refs[i].index = i;
		refs[2 * NR - 1 - i] = refs[i];
	}

	expect_refusal();
	out = xt_pages_out();
	refused = xt_stat("refused");
	XT_CHECK(!xt_free_pages(fd, refs, 2 * NR, XUT_FORCE), "free");
	check_refused(refused, out, NR, NR);
	pool_is_sane(fd);
}

/* Half is free already: that half is refused, the other half is taken. */
static void run_half_freed(void)
{
	long out, refused;
	int fd, run;

	fd = xt_open();
	XT_CHECK(fd >= 0, "module: %s", strerror(-fd));
	run = xt_new_alloc(fd, XUT_CONTIGUOUS, NR);
	XT_CHECK(run >= 0, "allocate: %s", strerror(-run));
	out = xt_pages_out();
	refused = xt_stat("refused");
	XT_CHECK(!xt_free_run(fd, run, 0, NR / 2, 0), "free half");
	check_refused(refused, out, 0, NR / 2);

	expect_refusal();
	XT_CHECK(!xt_free_run(fd, run, 0, NR, XUT_FORCE), "free all");
	check_refused(refused, out, NR / 2, NR);
	pool_is_sane(fd);
}

/* Pages that another allocator gave: they stay the module's, and intact. */
static void stranger(bool as_run)
{
	struct xut_ref refs[NR];
	long out, refused;
	int fd, run, ret, i;

	fd = xt_open();
	XT_CHECK(fd >= 0, "module: %s", strerror(-fd));
	run = xt_new_alloc(fd, XUT_RAM, NR);
	XT_CHECK(run >= 0, "allocate RAM: %s", strerror(-run));
	for (i = 0; i < NR; i++) {
		refs[i].id = run;
		refs[i].index = i;
	}

	expect_refusal();
	out = xt_pages_out();
	refused = xt_stat("refused");
	if (as_run)
		ret = xt_free_run(fd, run, 0, 1, XUT_FORCE);
	else
		ret = xt_free_pages(fd, refs, NR, XUT_FORCE);
	XT_CHECK(!ret, "free: %s", strerror(-ret));
	check_refused(refused, out, as_run ? 1 : NR, 0);

	XT_CHECK(!xt_pages(fd, run, 0, NR, pages), "look at pages");
	for (i = 0; i < NR; i++)
		XT_CHECK(pages[i].refcount == 1, "page %d has %u references",
			 i, pages[i].refcount);
	XT_CHECK(!xt_free(fd, run), "free to where it is from");
	pool_is_sane(fd);
}

static void stranger_as_page(void)
{
	stranger(false);
}

static void stranger_as_run(void)
{
	stranger(true);
}

/* Its own pages among strangers: each is dealt with by itself. */
static void stranger_among_own(void)
{
	struct xut_ref refs[2 * NR];
	long out, refused;
	int fd, run, ram, i;

	fd = xt_open();
	XT_CHECK(fd >= 0, "module: %s", strerror(-fd));
	run = xt_new_alloc(fd, XUT_SCATTERED, NR);
	XT_CHECK(run >= 0, "allocate: %s", strerror(-run));
	ram = xt_new_alloc(fd, XUT_RAM, NR);
	XT_CHECK(ram >= 0, "allocate RAM: %s", strerror(-ram));
	for (i = 0; i < 2 * NR; i++) {
		refs[i].id = i % 2 ? run : ram;
		refs[i].index = i / 2;
	}

	expect_refusal();
	out = xt_pages_out();
	refused = xt_stat("refused");
	XT_CHECK(!xt_free_pages(fd, refs, 2 * NR, XUT_FORCE), "free");
	check_refused(refused, out, NR, NR);
	pool_is_sane(fd);
}

static void warned_of_once(void)
{
	static char log[1 << 20];
	int warnings = 0;
	char *at;
	FILE *dmesg;
	size_t len;

	dmesg = popen("dmesg", "r");
	XT_CHECK(dmesg, "no dmesg");
	len = fread(log, 1, sizeof(log) - 1, dmesg);
	pclose(dmesg);
	log[len] = '\0';
	for (at = log; (at = strstr(at, " page(s) freed that were not handed"));
	     at++)
		warnings++;
	XT_CHECK(warnings == 1, "%d warnings in the log", warnings);
}

#define CORRUPTS "it puts them on its list without looking"
#define ANY "default none small one fragmented low several"
#define RUNS "default small one fragmented low several"

static const struct xt_test tests[] = {
	{ "scattered pages that are freed twice are refused",
	  scattered_freed_twice, RUNS, XT_C_UNSAFE, CORRUPTS },
	{ "a run that is freed twice is refused",
	  run_freed_twice, RUNS, XT_C_UNSAFE, CORRUPTS },
	{ "pages that are twice in one call are freed once",
	  twice_in_one_call, RUNS, XT_C_UNSAFE, CORRUPTS },
	{ "of a run that is half free already, that half is refused",
	  run_half_freed, RUNS, XT_C_UNSAFE, CORRUPTS },
	{ "pages of RAM are refused and stay intact",
	  stranger_as_page, ANY, XT_C_UNSAFE, CORRUPTS },
	{ "a page of RAM passed as a run is refused and stays intact",
	  stranger_as_run, RUNS, XT_C_UNSAFE, CORRUPTS },
	{ "pages of RAM among the pool's own are refused, and no others",
	  stranger_among_own, RUNS, XT_C_UNSAFE, CORRUPTS },
	{ "all these refusals are warned of once",
	  warned_of_once, RUNS, XT_C_UNSAFE, CORRUPTS },
};

int main(void)
{
	static const struct xt_part part = {
		.name = "pool", .is_rust = xt_is_rust,
		.prepare = xt_prepare_pool, .refuses = true,
	};

	return xt_main_part(&part, tests, ARRAY_SIZE(tests));
}
