// SPDX-License-Identifier: GPL-2.0
/*
 * The pool grows while others allocate and free on all CPUs, and nobody gets
 * what another one has.
 */

#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>

#include "xen_test.h"

#define WORKERS		4
#define GROWERS		2
#define MAX_LARGE	8192
#define NR_LARGE	4	/* by each of those that make it grow */
#define NR_SWITCHES	10
#define MAX_PFN		(16UL * 1024 * 1024)

/* One byte for each frame number: whether somebody has that page. */
static uint8_t *taken;
static atomic_int growers;
static atomic_long done_meanwhile;
static atomic_long switched;
static atomic_int failures;

struct worker {
	pthread_t thread;
	uint64_t random;
	bool runs;
	uint32_t large;
	struct xut_page pages[MAX_LARGE];
};

static struct worker workers[WORKERS + GROWERS];

static uint32_t random_below(struct worker *w, uint32_t n)
{
	w->random ^= w->random << 13;
	w->random ^= w->random >> 7;
	w->random ^= w->random << 17;

	return (w->random >> 11) % n;
}

static void complain(const char *what, long number)
{
	/* The first few say it all. */
	if (failures++ < 5)
		ksft_print_msg("%s: %ld\n", what, number);
}

static bool take(struct worker *w, int fd, int run, uint32_t nr)
{
	uint32_t i;
	int ret;

	ret = xt_pages(fd, run, 0, nr, w->pages);
	if (ret) {
		complain("cannot look at pages", ret);
		return false;
	}
	for (i = 0; i < nr; i++) {
		if (w->pages[i].pfn >= MAX_PFN) {
			complain("frame number out of bounds", w->pages[i].pfn);
			return false;
		}
		if (__atomic_exchange_n(&taken[w->pages[i].pfn], 1,
					__ATOMIC_SEQ_CST)) {
			complain("frame that another one has",
				 w->pages[i].pfn);
			return false;
		}
	}

	return true;
}

static void put(struct worker *w, uint32_t nr)
{
	uint32_t i;

	for (i = 0; i < nr; i++)
		__atomic_store_n(&taken[w->pages[i].pfn], 0,
				 __ATOMIC_SEQ_CST);
}

/* Small ones, until nobody makes the pool grow any more. */
static void *work(void *arg)
{
	struct worker *w = arg;
	int fd = xt_open(), run, ret;

	if (fd < 0) {
		complain("cannot open the module", fd);
		return NULL;
	}
	run = xt_new(fd, 256);
	while (atomic_load(&growers) && !atomic_load(&failures)) {
		uint32_t nr = 1 + random_below(w, 256);

		ret = xt_alloc(fd, run, w->runs ? XUT_CONTIGUOUS :
			       XUT_SCATTERED, nr);
		if (ret) {
			complain("cannot allocate", ret);
			break;
		}
		if (!take(w, fd, run, nr))
			break;
		put(w, nr);
		ret = xt_free(fd, run);
		if (ret) {
			complain("cannot free", ret);
			break;
		}
		done_meanwhile++;
	}
	close(fd);

	return NULL;
}

static void *take_much(void *arg)
{
	struct worker *w = arg;
	int fd = xt_open(), i, run;

	/* Not before the others are at it, however late they are scheduled. */
	while (atomic_load(&done_meanwhile) < WORKERS &&
	       !atomic_load(&failures))
		sched_yield();

	for (i = 0; i < NR_LARGE && fd >= 0; i++) {
		run = xt_new_alloc(fd, w->runs ? XUT_CONTIGUOUS : XUT_SCATTERED,
				   w->large);
		if (run < 0) {
			complain("cannot make it grow", run);
			break;
		}
		if (!take(w, fd, run, w->large))
			break;
	}
	growers--;
	/* What it has it keeps until all is over. */
	return (void *)(intptr_t)fd;
}

/* Each CPU but the first goes and comes back, some times. */
static void *switch_cpus(void *arg)
{
	int nr = (intptr_t)arg, cpu, ret, i;

	for (i = 0; i < NR_SWITCHES && !atomic_load(&failures); i++) {
		for (cpu = 1; cpu < nr; cpu++) {
			ret = xt_set_cpu(cpu, false);
			if (ret)
				complain("cannot switch a CPU off", ret);
			usleep(10 * 1000);
			ret = xt_set_cpu(cpu, true);
			if (ret)
				complain("cannot switch a CPU on", ret);
		}
		switched++;
	}
	/* The others go on until then, as for one that makes the pool grow. */
	growers--;

	return NULL;
}

static void all_at_once(bool runs, uint32_t large, bool hotplug)
{
	static struct xt_range ranges[XT_MAX_RANGES];
	long grown = xt_stat("grown");
	int cpus = xt_online_cpus(), nr, i;
	pthread_t switcher;

	if (hotplug && cpus < 2)
		xt_skip("needs two CPUs");
	taken = mmap(NULL, MAX_PFN, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	XT_CHECK(taken != MAP_FAILED, "no memory");
	/* With less in the pool than all of them take, it has to grow. */
	if (xt_is_rust() && xt_stat("free") > large * NR_LARGE) {
		xt_set_param("xen_unpopulated", "give_back", "1");
		XT_CHECK(xt_wait_stat("chunks", 1, 40), "%ld chunks stay",
			 xt_stat("chunks"));
		xt_set_param("xen_unpopulated", "give_back", "10");
	}
	nr = xt_iomem("Xen scratch", ranges, XT_MAX_RANGES);

	growers = GROWERS + hotplug;
	for (i = 0; i < WORKERS + GROWERS; i++) {
		workers[i].random = 0x9e3779b97f4a7c15ULL * (i + 1);
		workers[i].runs = runs && i % 2;
		workers[i].large = large;
		XT_CHECK(!pthread_create(&workers[i].thread, NULL,
					 i < WORKERS ? work : take_much,
					 &workers[i]), "no thread");
	}
	if (hotplug)
		XT_CHECK(!pthread_create(&switcher, NULL, switch_cpus,
					 (void *)(intptr_t)cpus), "no thread");
	for (i = 0; i < WORKERS + GROWERS; i++)
		pthread_join(workers[i].thread, NULL);
	if (hotplug)
		pthread_join(switcher, NULL);

	ksft_print_msg("%ld allocations on %d CPUs, from %d ranges to %d\n",
		       (long)done_meanwhile, cpus, nr,
		       xt_iomem("Xen scratch", ranges, XT_MAX_RANGES));
	if (hotplug) {
		ksft_print_msg("CPUs went %ld times\n", (long)switched);
		XT_CHECK(switched == NR_SWITCHES && xt_online_cpus() == cpus,
			 "%d CPUs of %d", xt_online_cpus(), cpus);
	}
	XT_CHECK(!failures, "%d failures", (int)failures);
	XT_CHECK(done_meanwhile >= WORKERS, "only %ld allocations meanwhile",
		 (long)done_meanwhile);
	if (xt_is_rust())
		XT_CHECK(xt_stat("grown") - grown >= 2, "it grew by %ld chunks",
			 xt_stat("grown") - grown);
}

/* So many that those of all take more than a step or two. */
static uint32_t large_pages(uint64_t bytes)
{
	return xt_pages_in(bytes > xt_growth_step() / 2 ? bytes :
			   xt_growth_step() / 2);
}

static void scattered(void)
{
	all_at_once(false, large_pages(8UL << 20), false);
}

static void while_cpus_go(void)
{
	/* Every other one takes runs, where there are any. */
	all_at_once(xt_is_rust(), large_pages(8UL << 20), true);
}

static void scattered_and_contiguous(void)
{
	all_at_once(true, large_pages(32UL << 20), false);
}

static const struct xt_test tests[] = {
	{ "growing while others allocate pages gives none to two of them",
	  scattered },
	{ "growing while CPUs come and go gives no page to two of them",
	  while_cpus_go },
	{ "growing while others allocate pages and runs gives none to two of them",
	  scattered_and_contiguous, NULL, XT_C_FAILS,
	  "it hands out no contiguous runs" },
};

int main(void)
{
	return xt_main(tests, ARRAY_SIZE(tests));
}
