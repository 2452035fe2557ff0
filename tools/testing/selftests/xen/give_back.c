// SPDX-License-Identifier: GPL-2.0
/*
 * Struct pages, and the address space that they are for, go back when they
 * have been unused for a time; a part is kept in reserve.  That time is 10
 * seconds unless it is set, and less here.
 *
 * To wait for that once and not in each test, the first one sets the scene for
 * the others, and writes down what it sees.
 */

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "xen_test.h"

#define SMALL		(2UL << 20)	/* bytes */
#define MEDIUM		(16UL << 20)
#define MAX_PAGES	4096	/* of a run that is looked at */
#define MAX_PAIRS	16
#define NR_TRIES	48	/* to get where a chunk was */
#define IDLE_SECONDS	4
/* Memory is short when there is less; it is taken in such pieces. */
#define FEW_KIB		(32 * 1024)
#define PIECE		(1024 * 1024)

static struct xt_range ranges[XT_MAX_RANGES];
static struct xut_page pages[MAX_PAGES];

/* What was seen; the processes of all tests share it. */
struct facts {
	bool complete;		/* the scene was played to its end */
	bool partly_used_stayed;
	bool neighbour_stayed;
	bool neighbour_intact;
	bool pinned_stayed;
	bool pinned_counted;
	bool pinned_went;
	bool used_again;
	bool stayed_while_young;
	bool went_when_old;
	long given_back;
	long kib_back;
};

static struct facts *facts;

/* A size that is more than what the pool grows by for a small one */
static uint64_t medium(void)
{
	uint64_t least = 2 * xt_growth_step();

	return least > MEDIUM ? least : MEDIUM;
}

static int nr_ranges(void)
{
	return xt_iomem("Xen scratch", ranges, XT_MAX_RANGES);
}

static bool has_range(const struct xt_range *range)
{
	int i, nr = nr_ranges();

	for (i = 0; i < nr; i++)
		if (ranges[i].start == range->start)
			return true;

	return false;
}

static bool goes(const struct xt_range *range, int seconds)
{
	int i;

	for (i = 0; i < seconds * 10 && has_range(range); i++)
		usleep(100 * 1000);

	return !has_range(range);
}

static void set_idle_seconds(int seconds)
{
	char value[16];

	snprintf(value, sizeof(value), "%d", seconds);
	XT_CHECK(!xt_set_param("xen_unpopulated", "give_back", value),
		 "set for how long a chunk is kept to %s", value);
}

static int open_module(void)
{
	int fd = xt_open();

	XT_CHECK(fd >= 0, "module: %s", strerror(-fd));
	return fd;
}

/* The range in which a run lies. */
static struct xt_range range_of(int fd, int run)
{
	int i, nr = nr_ranges();
	uint64_t addr;

	XT_CHECK(!xt_pages(fd, run, 0, 1, pages), "look at a page");
	addr = pages[0].pfn * xt_page_size();
	for (i = 0; i < nr; i++)
		if (addr >= ranges[i].start && addr <= ranges[i].end)
			return ranges[i];
	xt_fail(__func__, __LINE__, "page at %#llx is in no range",
		(unsigned long long)addr);
}

/* Allocates until the pool has grown, so that the last one is in a new range. */
static int grow(int fd, uint64_t size)
{
	int run, before = nr_ranges();

	do {
		run = xt_new_alloc(fd, XUT_CONTIGUOUS, xt_pages_in(size));
		XT_CHECK(run >= 0, "allocate: %s", strerror(-run));
	} while (nr_ranges() == before);

	return run;
}

static bool is_intact(int fd, int run)
{
	uint32_t i, nr = xt_pages_in(medium());

	XT_CHECK(!xt_pages(fd, run, 0, nr, pages), "look at pages");
	for (i = 0; i < nr; i++)
		if (pages[i].pfn != pages[0].pfn + i ||
		    !(pages[i].flags & XUT_PAGE_POOL) ||
		    !(pages[i].flags & XUT_PAGE_DEVICE) ||
		    pages[i].refcount != 1)
			return false;

	return true;
}

/* 64 bytes of struct page for each page of a chunk, in KiB */
static long kib_back(void)
{
	return xt_pages_in(medium()) * 64 / 1024;
}

struct chunk {
	int run;
	struct xt_range range;
};

static struct chunk grow_chunk(int fd, uint64_t size)
{
	struct chunk chunk = { .run = grow(fd, size) };

	chunk.range = range_of(fd, chunk.run);
	return chunk;
}

/* Makes two chunks that touch each other, one for each of two. */
static void grow_neighbours(int fd_a, int fd_b, struct chunk *a,
			    struct chunk *b)
{
	struct chunk as[MAX_PAIRS], bs[MAX_PAIRS];
	int i, j, nr;

	for (nr = 1; nr <= MAX_PAIRS; nr++) {
		as[nr - 1] = grow_chunk(fd_a, medium());
		bs[nr - 1] = grow_chunk(fd_b, medium());
		for (i = 0; i < nr; i++) {
			for (j = 0; j < nr; j++) {
				*a = as[i];
				*b = bs[j];
				if (a->range.end + 1 == b->range.start ||
				    b->range.end + 1 == a->range.start)
					return;
			}
		}
	}
	xt_fail(__func__, __LINE__, "no two ranges are neighbours");
}

/*
 * While nothing may go, makes chunks that are wholly free, one of which a page
 * is out, one of which a page is held, and two that are neighbours, of which
 * one is in use.  Then lets go what may go.
 */
static void nothing_goes_while_turned_off(void)
{
	int keep = open_module(), leave = open_module(), holder = open_module();
	struct chunk used, pinned, neighbour, gone;
	uint32_t half = xt_pages_in(medium() / 2);
	long given_back, kib;
	int nr, i;

	/* What earlier tests left would be used up before the pool grows. */
	set_idle_seconds(1);
	for (i = 0; i < 300 && xt_stat("chunks") > 1; i++)
		usleep(100 * 1000);
	set_idle_seconds(0);

	/* The smallest chunk that is free is what is kept in reserve. */
	grow(leave, SMALL);
	used = grow_chunk(keep, medium());
	pinned = grow_chunk(holder, medium());
	grow_neighbours(keep, leave, &neighbour, &gone);

	XT_CHECK(!xt_free_run(keep, used.run, 0, half, 0) &&
		 !xt_free_run(keep, used.run, half + 1, half - 1, 0),
		 "free all but one");
	/* The first page, where one begins to look. */
	XT_CHECK(!xt_hold(holder, pinned.run, 0, 1), "hold");
	XT_CHECK(!xt_free(holder, pinned.run), "free while held");
	close(leave);

	nr = nr_ranges();
	/* What counting takes itself, and the page of the facts, are there. */
	facts->complete = false;
	xt_free_kib();
	kib = xt_free_kib();
	given_back = xt_stat("given_back");
	sleep(IDLE_SECONDS + 2);
	XT_CHECK(nr_ranges() == nr && xt_stat("given_back") == given_back,
		 "of %d ranges there are %d", nr, nr_ranges());

	/* All that was free for long enough goes at once. */
	set_idle_seconds(IDLE_SECONDS);
	XT_CHECK(goes(&gone.range, 5), "%#llx-%#llx is not given back",
		 (unsigned long long)gone.range.start,
		 (unsigned long long)gone.range.end);
	/* Others take and free memory meanwhile; what is lost does not return. */
	for (i = 0; i < 100; i++) {
		usleep(100 * 1000);
		facts->kib_back = xt_free_kib() - kib;
		if (i >= 5 && facts->kib_back >= kib_back())
			break;
	}
	facts->given_back = xt_stat("given_back") - given_back;
	facts->partly_used_stayed = has_range(&used.range);
	facts->pinned_stayed = has_range(&pinned.range);
	facts->pinned_counted = xt_stat("pinned") == 1;
	facts->neighbour_stayed = has_range(&neighbour.range);
	facts->neighbour_intact = is_intact(keep, neighbour.run);
	xt_run_carries_data(keep, neighbour.run, xt_pages_in(medium() / 4));

	/*
	 * Where it was, there can be another one, lower places filled up. One
	 * that is larger may not fit there.
	 */
	leave = open_module();
	for (i = 0; i < NR_TRIES && !facts->used_again; i++) {
		struct chunk chunk = grow_chunk(leave, medium());

		facts->used_again = chunk.range.start <= gone.range.end &&
				    gone.range.start <= chunk.range.end;
		if (facts->used_again || i == NR_TRIES - 1)
			gone = chunk;
	}
	xt_run_carries_data(leave, gone.run, xt_pages_in(medium() / 4));
	XT_CHECK(!xt_release(holder, pinned.run, 0, 1), "release");
	close(leave);
	sleep(IDLE_SECONDS / 2);
	facts->stayed_while_young = has_range(&gone.range);
	facts->went_when_old = goes(&gone.range, IDLE_SECONDS + 5);
	facts->pinned_went = goes(&pinned.range, IDLE_SECONDS + 5) &&
			     !xt_stat("pinned");
	facts->neighbour_intact &= is_intact(keep, neighbour.run);
	facts->complete = true;
}

static void seen(bool fact)
{
	XT_CHECK(facts->complete, "the first test was not completed");
	XT_CHECK(fact, "not so");
}

static void unused_chunks_go(void)
{
	int nr = nr_ranges();

	if (!xt_is_rust()) {
		/* What other tests have used, and nobody uses now. */
		sleep(IDLE_SECONDS + 2);
		XT_CHECK(nr_ranges() < nr, "all %d ranges stay", nr);
	}
	seen(facts->given_back > 0);
	/* Where boot has made struct pages for all of a section, they stay. */
	if (xt_layout_is("fragmented"))
		return;
	XT_CHECK(facts->kib_back >= kib_back(),
		 "%ld KiB of RAM came back", facts->kib_back);
}

static void young_chunks_stay(void)
{
	seen(facts->stayed_while_young && facts->went_when_old);
}

static void partly_used_stays(void)
{
	seen(facts->partly_used_stayed);
}

static void neighbour_works(void)
{
	seen(facts->neighbour_stayed && facts->neighbour_intact);
}

static void pinned_stays(void)
{
	seen(facts->pinned_stayed && facts->pinned_counted);
}

static void pinned_goes_later(void)
{
	seen(facts->pinned_went);
}

static void address_space_is_used_again(void)
{
	seen(facts->used_again);
}

/* Takes nearly all memory, lets go of some, and takes it again. */
static void eat(void)
{
	static void *pieces[16384];
	size_t nr = 0, i;

	for (;;) {
		while (nr < ARRAY_SIZE(pieces) &&
		       xt_meminfo("MemAvailable") > FEW_KIB / 2) {
			void *piece = mmap(NULL, PIECE, PROT_READ | PROT_WRITE,
					   MAP_PRIVATE | MAP_ANONYMOUS |
					   MAP_POPULATE, -1, 0);

			if (piece == MAP_FAILED)
				break;
			pieces[nr++] = piece;
		}
		for (i = 0; i < 8 && nr; i++)
			munmap(pieces[--nr], PIECE);
	}
}

/* The kernel may kill who does; then another one does. */
static void use_up_memory(void)
{
	pid_t pid;

	/* Nobody else is to be killed, nor before a new one has begun. */
	xt_write_file("/proc/self/oom_score_adj", "1000");
	for (;;) {
		pid = fork();
		if (!pid)
			eat();
		waitpid(pid, NULL, 0);
	}
}

static void goes_while_memory_is_short(void)
{
	int fd = open_module(), i;
	long given_back;
	pid_t eater;

	if (xt_growth_step() > MEDIUM)
		xt_skip("in this layout there is no room for large chunks");
	set_idle_seconds(0);
	for (i = 0; i < 2; i++)
		grow(fd, medium());
	given_back = xt_stat("given_back");
	close(fd);

	eater = fork();
	XT_CHECK(eater >= 0, "fork: %s", strerror(errno));
	setpgid(eater, eater);
	if (!eater)
		use_up_memory();
	for (i = 0; i < 600 && xt_meminfo("MemAvailable") > FEW_KIB; i++)
		usleep(100 * 1000);
	XT_CHECK(i < 600, "memory does not become short");
	set_idle_seconds(1);
	for (i = 0; i < 300 && xt_stat("chunks") > 1; i++)
		usleep(100 * 1000);
	kill(-eater, SIGKILL);
	waitpid(eater, NULL, 0);
	XT_CHECK(xt_stat("chunks") <= 1 && xt_stat("given_back") > given_back,
		 "%ld chunks are left, %ld were given back", xt_stat("chunks"),
		 xt_stat("given_back") - given_back);

	fd = open_module();
	xt_run_carries_data(fd, grow(fd, medium()), xt_pages_in(medium()));
}

#define NEVER "it never gives anything back"

static const struct xt_test tests[] = {
	{ "no chunk goes while that is turned off",
	  nothing_goes_while_turned_off, NULL, XT_C_FAILS, NEVER },
	{ "chunks that are unused for long go, and RAM comes back",
	  unused_chunks_go, NULL, XT_C_FAILS, NEVER },
	{ "chunks that are unused for less stay",
	  young_chunks_stay, NULL, XT_C_FAILS, NEVER },
	{ "a chunk stays while one of its pages is out",
	  partly_used_stays, NULL, XT_C_FAILS, NEVER },
	{ "of two neighbouring chunks one goes, and the other still works",
	  neighbour_works, NULL, XT_C_FAILS, NEVER },
	{ "a chunk with a page that somebody holds stays, and is counted",
	  pinned_stays, NULL, XT_C_FAILS, NEVER },
	{ "a chunk that was held goes when it is let go of",
	  pinned_goes_later, NULL, XT_C_FAILS, NEVER },
	{ "address space that was given back is used again",
	  address_space_is_used_again, NULL, XT_C_FAILS, NEVER },
	{ "chunks go while memory is short",
	  goes_while_memory_is_short, "default", XT_C_FAILS, NEVER },
};

static void prepare(void)
{
	xt_load_module();
	facts = mmap(NULL, sizeof(*facts), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (facts == MAP_FAILED)
		ksft_exit_fail_perror("mmap");
}

int main(void)
{
	struct xt_part part = {
		.name = "pool", .is_rust = xt_is_rust, .prepare = prepare,
	};

	/* Elsewhere there is no room for as many chunks as large pages make. */
	if (xt_growth_step() > MEDIUM)
		part.layouts = "several";

	return xt_main_part(&part, tests, ARRAY_SIZE(tests));
}
