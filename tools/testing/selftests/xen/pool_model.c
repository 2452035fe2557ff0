// SPDX-License-Identifier: GPL-2.0
/*
 * Random allocations and frees, of scattered pages and of contiguous runs, next
 * to a model that knows which pages are out.  Each page that is handed out is
 * looked up there; the pool's own count is compared now and then.
 *
 * The seed is printed; give it as the only argument to repeat a sequence.  Of
 * several processes each has a seed made from that, and all share the table of
 * what is out: what the pool gives to one it gives to no other.
 */

#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <time.h>

#include "xen_test.h"

#define OPERATIONS	10000
#define MAX_RUNS	256
#define MAX_NR		700
#define MAX_OUT		(24000 * 4096)	/* bytes, of all processes */
#define MAX_PROCESSES	4

static uint64_t seed;

static uint32_t random_below(uint32_t n)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;

	return (seed >> 11) % n;
}

/* Frames that are out: a hash table with open addressing. */
#define SLOTS	131072
#define EMPTY	0
#define GONE	1

static struct {
	pthread_mutex_t lock;
	uint64_t slots[SLOTS];
} *table;

static uint64_t *find(uint64_t pfn)
{
	uint64_t *slots = table->slots, *gone = NULL;
	uint32_t i;

	for (i = pfn * 0x9e3779b1 % SLOTS; slots[i] != EMPTY;
	     i = (i + 1) % SLOTS) {
		if (slots[i] == pfn)
			return &slots[i];
		if (slots[i] == GONE && !gone)
			gone = &slots[i];
	}

	return gone ?: &slots[i];
}

/* Returns whether it was not out. */
static bool mark_out(uint64_t pfn)
{
	uint64_t *slot;
	bool is_new;

	pthread_mutex_lock(&table->lock);
	slot = find(pfn);
	is_new = *slot != pfn;
	*slot = pfn;
	pthread_mutex_unlock(&table->lock);

	return is_new;
}

static void mark_free(uint64_t pfn)
{
	pthread_mutex_lock(&table->lock);
	*find(pfn) = GONE;
	pthread_mutex_unlock(&table->lock);
}

static void make_table(void)
{
	pthread_mutexattr_t attr;

	table = mmap(NULL, sizeof(*table), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	XT_CHECK(table != MAP_FAILED, "no memory for the table: %s",
		 strerror(errno));
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	XT_CHECK(!pthread_mutex_init(&table->lock, &attr), "no lock");
}

/* An allocation, and which of its pages are still out. */
struct model {
	int run;
	enum xut_kind kind;
	uint32_t nr;
	uint32_t nr_out;
	struct xut_page *pages;
	bool *out;
};

static struct model models[MAX_RUNS];
static uint32_t nr_models, nr_out, nr_processes;
static struct xut_page pages[MAX_NR];
static int fd;

static void add(struct model *m)
{
	uint32_t i;
	int ret;

	ret = xt_pages(fd, m->run, 0, m->nr, pages);
	XT_CHECK(!ret, "look at pages: %s", strerror(-ret));
	m->pages = malloc(m->nr * sizeof(*m->pages));
	m->out = malloc(m->nr * sizeof(*m->out));
	XT_CHECK(m->pages && m->out, "no memory");
	memcpy(m->pages, pages, m->nr * sizeof(*m->pages));

	for (i = 0; i < m->nr; i++) {
		XT_CHECK(mark_out(pages[i].pfn), "frame %#llx was out already",
			 (unsigned long long)pages[i].pfn);
		XT_CHECK(pages[i].refcount == 1, "frame %#llx has %u references",
			 (unsigned long long)pages[i].pfn, pages[i].refcount);
		XT_CHECK(pages[i].flags & XUT_PAGE_DEVICE,
			 "frame %#llx is RAM", (unsigned long long)pages[i].pfn);
		m->out[i] = true;
	}
	m->nr_out = m->nr;
	nr_out += m->nr;
}

/* Before it is freed: from then on another may have it. */
static void remove_page(struct model *m, uint32_t i)
{
	mark_free(m->pages[i].pfn);
	m->out[i] = false;
	m->nr_out--;
	nr_out--;
}

static void forget(struct model *m)
{
	int ret = xt_delete(fd, m->run);

	XT_CHECK(!ret, "delete: %s", strerror(-ret));
	free(m->pages);
	free(m->out);
	*m = models[--nr_models];
}

static uint32_t some_number(void)
{
	return random_below(4) ? 1 + random_below(40) :
	       1 + random_below(xt_pages_in(MAX_NR * 4096));
}

static void allocate_scattered(void)
{
	struct model *m = &models[nr_models++];

	m->kind = random_below(4) ? XUT_SCATTERED : XUT_GNTTAB;
	m->nr = some_number();
	m->run = xt_new_alloc(fd, m->kind, m->nr);
	XT_CHECK(m->run >= 0, "allocate %u: %s", m->nr, strerror(-m->run));
	add(m);
}

static void allocate_run(void)
{
	struct model *m = &models[nr_models++];
	const int max_order = __builtin_ctz(xt_pages_in(2UL << 20));
	uint32_t i, align = 1U << random_below(max_order + 1);
	int ret;

	m->kind = XUT_CONTIGUOUS;
	m->nr = some_number();
	m->run = xt_new(fd, m->nr);
	XT_CHECK(m->run >= 0, "make room for %u: %s", m->nr,
		 strerror(-m->run));
	ret = xt_alloc_run(fd, m->run, m->nr, align, UINT64_MAX);
	XT_CHECK(!ret, "allocate a run of %u: %s", m->nr, strerror(-ret));
	add(m);
	XT_CHECK(!(pages[0].pfn % align), "frame %#llx, alignment %u",
		 (unsigned long long)pages[0].pfn, align);
	for (i = 1; i < m->nr; i++)
		XT_CHECK(pages[i].pfn == pages[0].pfn + i,
			 "page %u is not where the run goes on", i);
}

static void free_whole(void)
{
	struct model *m = &models[random_below(nr_models)];
	uint32_t i;
	int ret;

	if (m->nr_out != m->nr)
		return;
	for (i = 0; i < m->nr; i++)
		remove_page(m, i);
	ret = xt_free(fd, m->run);
	XT_CHECK(!ret, "free: %s", strerror(-ret));
	forget(m);
}

/* A part of a run, by the function for runs. */
static void free_part(void)
{
	struct model *m = &models[random_below(nr_models)];
	uint32_t i, first = random_below(m->nr);
	uint32_t nr = 1 + random_below(m->nr - first);
	int ret;

	if (m->kind != XUT_CONTIGUOUS)
		return;
	for (i = first; i < first + nr; i++)
		if (!m->out[i])
			return;
	for (i = first; i < first + nr; i++)
		remove_page(m, i);
	ret = xt_free_run(fd, m->run, first, nr, 0);
	XT_CHECK(!ret, "free %u of a run: %s", nr, strerror(-ret));
	if (!m->nr_out)
		forget(m);
}

/* Any pages from any allocations in any order, by the function for pages. */
static void free_mixed(void)
{
	struct xut_ref refs[200];
	uint32_t i, wanted = 1 + random_below(200), nr = 0;
	int ret;

	for (i = 0; i < wanted; i++) {
		struct model *m = &models[random_below(nr_models)];
		uint32_t page = random_below(m->nr);

		if (!m->out[page])
			continue;
		refs[nr].id = m->run;
		refs[nr++].index = page;
		remove_page(m, page);
	}
	if (!nr)
		return;
	ret = xt_free_pages(fd, refs, nr, 0);
	XT_CHECK(!ret, "free %u mixed pages: %s", nr, strerror(-ret));
	for (i = nr_models; i--;)
		if (!models[i].nr_out)
			forget(&models[i]);
}

static void compare(long out_before, long refused_before)
{
	long out;

	if (!xt_is_rust())
		return;
	out = xt_pages_out() - out_before;
	XT_CHECK(nr_processes > 1 || out == nr_out,
		 "the pool says that %ld pages are out, the model %u", out,
		 nr_out);
	XT_CHECK(xt_stat("refused") == refused_before,
		 "the pool refused %ld pages",
		 xt_stat("refused") - refused_before);
}

static void random_operations(bool runs)
{
	long out_before = xt_pages_out();
	long refused_before = xt_stat("refused");
	uint32_t i, max_out = xt_pages_in(MAX_OUT / nr_processes);

	fd = xt_open();
	XT_CHECK(fd >= 0, "module: %s", strerror(-fd));

	for (i = 0; i < OPERATIONS / nr_processes; i++) {
		uint32_t op = random_below(8);
		bool full = nr_models == MAX_RUNS || nr_out > max_out;

		if (!nr_models || (op < 4 && !full)) {
			if (runs && op % 2)
				allocate_run();
			else
				allocate_scattered();
		} else if (op < 5) {
			free_mixed();
		} else if (op < 6) {
			free_part();
		} else {
			free_whole();
		}
		if (!(i % 16))
			compare(out_before, refused_before);
	}
	compare(out_before, refused_before);
	printf("# %u pages out in %u allocations\n", nr_out, nr_models);

	while (nr_models) {
		struct model *m = &models[nr_models - 1];

		for (i = 0; i < m->nr; i++) {
			struct xut_ref ref = { .id = m->run, .index = i };

			if (!m->out[i])
				continue;
			remove_page(m, i);
			XT_CHECK(!xt_free_pages(fd, &ref, 1, 0), "free one");
		}
		forget(m);
	}
	compare(out_before, refused_before);
}

static void begin(uint32_t nr)
{
	make_table();
	nr_processes = nr;
	if (!seed && getrandom(&seed, sizeof(seed), GRND_NONBLOCK) < 0)
		seed = time(NULL);
	seed |= 1;
	ksft_print_msg("seed %llu\n", (unsigned long long)seed);
}

static void scattered_alone(void)
{
	begin(1);
	random_operations(false);
}

static void scattered_and_contiguous(void)
{
	begin(1);
	random_operations(true);
}

static void many_at_once(void)
{
	uint32_t i, nr_failed = 0;
	pid_t pid;
	int status;

	begin(MAX_PROCESSES);
	fflush(stdout);
	for (i = 0; i < MAX_PROCESSES; i++) {
		pid = fork();
		XT_CHECK(pid >= 0, "fork: %s", strerror(errno));
		if (pid)
			continue;
		/* It is the parent that is ended when it takes too long. */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		seed ^= (uint64_t)i << 32;
		random_operations(true);
		fflush(stdout);
		_exit(KSFT_PASS);
	}
	while (wait(&status) > 0)
		if (status)
			nr_failed++;
	XT_CHECK(!nr_failed, "%u of them failed", nr_failed);
}

#define LAYOUTS "default one fragmented low several"

static const struct xt_test tests[] = {
	{ "10,000 random operations on scattered pages agree with a model",
	  scattered_alone },
	{ "10,000 random operations on pages and runs agree with a model",
	  scattered_and_contiguous, NULL, XT_C_FAILS,
	  "it hands out no contiguous runs" },
	{ "10,000 random operations of four processes agree with their models",
	  many_at_once, NULL, XT_C_FAILS, "it hands out no contiguous runs" },
};

int main(int argc, char **argv)
{
	if (argc > 1)
		seed = strtoull(argv[1], NULL, 0);

	return xt_main(tests, ARRAY_SIZE(tests));
}
