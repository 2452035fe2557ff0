// SPDX-License-Identifier: GPL-2.0
/*
 * Measures how the cost of pages without memory behind them grows, on the
 * kernel that it runs on, and prints a line for each figure:
 *
 *	BENCH <name> <key=value,...|-> <unit> <better> <figure> [varies]
 *
 * with FLOOR in the place of BENCH for what the least loop takes that does the
 * same.  <better> is "lower" or "higher"; with "varies" waiting or timer
 * interrupts are in the figure, which need not come out the same every time.
 *
 * Run it as the first program after boot, as measure, which says how time
 * relates to instructions.  Figures of calls are the least of several tries,
 * since a timer interrupt can only add to one.
 */

#include <fcntl.h>
#include <limits.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "xen_test.h"
#include "test_modules/test_xen_bench.h"

#define TRIES		8
/* All pages of the pool, while fill levels are compared. */
#define TOTAL		32768
/* A 1920x1080 frame of 4 bytes a pixel is this many pages. */
#define FRAME		2025
/* The smallest chunk of the pool with pages of 4 KiB. */
#define CHUNK		512
#define CHURN_STEPS	4000
#define RUN_STEPS	200

static int bench;

static void figure(const char *what, const char *name, const char *params,
		   const char *rest, int64_t value, bool varies)
{
	printf("%s %s %s %s %lld%s\n", what, name, params, rest,
	       (long long)value, varies ? " varies" : "");
}

static void instructions(const char *name, const char *params, int64_t value)
{
	figure("BENCH", name, params, "instructions lower", value, false);
}

/* Negative: an errno. */
static int64_t time_cycle(enum xtb_op op, uint32_t nr, enum xtb_order order)
{
	struct xtb_cycle cycle = {
		.op = op, .nr_pages = nr, .order = order,
		.repeat = nr < 16 ? 256 : nr < 256 ? 32 : nr < 4096 ? 4 : 1,
	};
	int64_t best = INT64_MAX;
	int i;

	if (op == XTB_DMA)
		cycle.repeat = 1;
	for (i = 0; i < TRIES; i++) {
		if (ioctl(bench, XTB_IOC_CYCLE, &cycle))
			return -errno;
		if (best > (int64_t)cycle.ns)
			best = cycle.ns;
	}

	return best / cycle.repeat;
}

/* The cost of the functions alone; negative: an errno. */
static int64_t cost(enum xtb_op op, uint32_t nr, enum xtb_order order)
{
	int64_t nop = time_cycle(XTB_NOP, nr, order);
	int64_t time = time_cycle(op, nr, order);

	return time < 0 ? time : time - nop;
}

static void measure_cycle(const char *name, const char *params,
			  enum xtb_op op, uint32_t nr, enum xtb_order order)
{
	int64_t value = cost(op, nr, order);

	if (value >= 0)
		instructions(name, params, value);
}

static void measure_floor(const char *name, const char *params,
			  enum xtb_op op, uint32_t nr)
{
	figure("FLOOR", name, params, "instructions lower",
	       cost(op, nr, XTB_IN_ORDER), false);
}

/* Booting goes on in the background for a while: wait until memory is quiet. */
static void settle(void)
{
	long before, after = xt_free_kib();
	int i, still = 0;

	for (i = 0; i < 50 && still < 3; i++) {
		before = after;
		usleep(200000);
		after = xt_free_kib();
		still = before == after ? still + 1 : 0;
	}
}

static int memory_events(void)
{
	static struct xt_range ranges[XT_MAX_RANGES];

	return xt_iomem("Xen scratch", ranges, XT_MAX_RANGES);
}

/* From nothing, page by page. */
static void measure_growth(void)
{
	static const uint32_t steps[] = { 1, 64, FRAME, TOTAL };
	int64_t total = 0, worst = 0;
	char params[32];
	long ram;
	size_t i;

	settle();
	memory_events();
	memory_events();
	xt_free_kib();
	ram = xt_free_kib();
	for (i = 0; i < ARRAY_SIZE(steps); i++) {
		struct xtb_ramp ramp = { .nr_pages = steps[i] };

		if (ioctl(bench, XTB_IOC_RAMP, &ramp)) {
			fprintf(stderr, "%u pages: %s\n", steps[i],
				strerror(errno));
			return;
		}
		total += ramp.total_ns;
		if (worst < (int64_t)ramp.worst_ns)
			worst = ramp.worst_ns;
		snprintf(params, sizeof(params), "pages=%u", steps[i]);
		figure("BENCH", "growth.time", params, "ns lower", total, true);
		figure("BENCH", "growth.worst_call", params, "ns lower", worst,
		       true);
		figure("BENCH", "growth.memory_events", params, "events lower",
		       memory_events(), false);
		figure("BENCH", "memory.bytes_per_page", params, "bytes lower",
		       (ram - xt_free_kib()) * 1024 / steps[i], false);
	}
	ioctl(bench, XTB_IOC_RELEASE);
	/* Longer than the pool in Rust keeps what it does not need. */
	sleep(60);
	figure("BENCH", "memory.kept_after_free", "-", "KiB lower",
	       ram - xt_free_kib(), false);
}

/* The pool has TOTAL pages in the end, as nearly as it can, and no more. */
static void set_total(void)
{
	struct xtb_ramp ramp = { .nr_pages = TOTAL };
	char text[16];

	snprintf(text, sizeof(text), "%u", TOTAL);
	xt_set_param("xen_unpopulated", "give_back", "0");
	xt_set_param("xen_unpopulated", "max_pages", text);
	if (ioctl(bench, XTB_IOC_RAMP, &ramp))
		fprintf(stderr, "%u pages: %s\n", TOTAL, strerror(errno));
	ioctl(bench, XTB_IOC_RELEASE);
}

static void measure_sizes(void)
{
	static const uint32_t sizes[] = { 1, 2, 8, 32, 128, 512, 2048, 16384 };
	static const struct {
		const char *name;
		enum xtb_order order;
	} orders[] = {
		{ "reversed", XTB_REVERSED },
		{ "shuffled", XTB_SHUFFLED },
	};
	char params[64];
	size_t i, j;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		snprintf(params, sizeof(params), "pages=%u", sizes[i]);
		measure_cycle("pool.scattered", params, XTB_SCATTERED,
			      sizes[i], XTB_IN_ORDER);
		measure_floor("pool.scattered", params, XTB_FLOOR, sizes[i]);
		measure_cycle("pool.contiguous", params, XTB_CONTIGUOUS,
			      sizes[i], XTB_IN_ORDER);
	}
	/* Freed in another order, which stays the one for what follows on C. */
	for (i = 1; i < ARRAY_SIZE(sizes); i++) {
		for (j = 0; j < ARRAY_SIZE(orders); j++) {
			snprintf(params, sizeof(params), "pages=%u,freed=%s",
				 sizes[i], orders[j].name);
			measure_cycle("pool.scattered", params, XTB_SCATTERED,
				      sizes[i], orders[j].order);
		}
	}
}

/* Single pages, of which the one that was allocated first is freed first. */
static void measure_one_by_one(void)
{
	static const uint32_t sizes[] = { 16, 64, 512 };
	char params[32];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		int64_t value = cost(XTB_SCATTERED, sizes[i], XTB_ONE_BY_ONE);

		snprintf(params, sizeof(params), "pages=%u", sizes[i]);
		if (value >= 0)
			instructions("pool.one_by_one", params,
				     value / sizes[i]);
	}
}

static void measure_dma(void)
{
	static const uint32_t sizes[] = { 1, 64, 512, FRAME, 8100 };
	char params[32];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		snprintf(params, sizeof(params), "pages=%u", sizes[i]);
		measure_cycle("dma.alloc_free", params, XTB_DMA, sizes[i],
			      XTB_IN_ORDER);
		measure_floor("dma.alloc_free", params, XTB_FLOOR_DMA,
			      sizes[i]);
	}
}

static void measure_full(uint32_t percent)
{
	static const uint32_t sizes[] = { 1, 32, 512 };
	struct xtb_churn churn = {
		.op = XTB_SCATTERED, .steps = CHURN_STEPS,
		.in_use = TOTAL / 100 * percent,
	};
	char params[64];
	size_t i;

	if (ioctl(bench, XTB_IOC_CHURN, &churn)) {
		fprintf(stderr, "churn: %s\n", strerror(errno));
		ioctl(bench, XTB_IOC_RELEASE);
		return;
	}
	snprintf(params, sizeof(params), "percent=%u", percent);
	figure("BENCH", "churn.per_page", params, "instructions lower",
	       churn.step_ns / churn.step_pages, true);
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		snprintf(params, sizeof(params), "pages=%u,in_use=%u",
			 sizes[i], percent);
		measure_cycle("pool.after_churn", params, XTB_SCATTERED,
			      sizes[i], XTB_IN_ORDER);
	}
	ioctl(bench, XTB_IOC_RELEASE);
}

static void measure_runs(const char *prefix, enum xtb_op op, uint32_t percent)
{
	struct xtb_churn churn = {
		.op = op, .total = TOTAL, .steps = RUN_STEPS,
		.in_use = TOTAL / 100 * percent, .run_pages = FRAME,
	};
	char name[64], params[64];

	if (ioctl(bench, XTB_IOC_CHURN, &churn)) {
		fprintf(stderr, "%s: %s\n", prefix, strerror(errno));
		ioctl(bench, XTB_IOC_RELEASE);
		return;
	}
	ioctl(bench, XTB_IOC_RELEASE);
	snprintf(params, sizeof(params), "pages=%u,in_use=%u", FRAME, percent);
	snprintf(name, sizeof(name), "%s.success", prefix);
	figure("BENCH", name, params, "percent higher",
	       churn.successes * 100 / RUN_STEPS, false);
	snprintf(name, sizeof(name), "%s.try", prefix);
	figure("BENCH", name, params, "instructions lower",
	       churn.run_ns / RUN_STEPS, true);
}

/* Only the last of so many chunks has anything free. */
static void measure_chunks(long chunks)
{
	static const uint32_t sizes[] = { 1, 32, 512 };
	char params[64];
	size_t i;

	while (xt_stat("chunks") < chunks || xt_stat("free") > 0)
		if (ioctl(bench, XTB_IOC_PUSH_RUN, CHUNK))
			return;
	if (xt_stat("chunks") != chunks)
		return;
	ioctl(bench, XTB_IOC_POP_RUN);
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		snprintf(params, sizeof(params), "pages=%u,chunks=%ld",
			 sizes[i], chunks);
		measure_cycle("pool.chunks", params, XTB_SCATTERED, sizes[i],
			      XTB_IN_ORDER);
	}
}

static void measure_all_chunks(void)
{
	if (xt_stat("chunks") < 0)
		return;
	xt_set_param("xen_unpopulated", "max_pages", "0");
	xt_set_param("xen_unpopulated", "give_back", "10");
	sleep(60);
	xt_set_param("xen_unpopulated", "give_back", "0");
	measure_chunks(1);
	measure_chunks(10);
	measure_chunks(100);
	ioctl(bench, XTB_IOC_RELEASE);
}

int main(void)
{
	static const uint32_t percents[] = { 50, 80, 95 };
	size_t i;

	setvbuf(stdout, NULL, _IOLBF, 0);
	xt_load(XTB_DEVICE);
	bench = open("/dev/" XTB_DEVICE, O_RDWR | O_CLOEXEC);
	if (bench < 0) {
		fprintf(stderr, "no /dev/" XTB_DEVICE ": %s\n",
			strerror(errno));
		return KSFT_SKIP;
	}
	mlockall(MCL_CURRENT | MCL_FUTURE);

	measure_growth();
	set_total();
	measure_sizes();
	measure_one_by_one();
	measure_dma();
	for (i = 0; i < ARRAY_SIZE(percents); i++)
		measure_full(percents[i]);
	for (i = 0; i < ARRAY_SIZE(percents); i++) {
		/* Only the pool in Rust has runs to give. */
		if (xt_is_rust())
			measure_runs("contiguity", XTB_SCATTERED, percents[i]);
		measure_runs("best_fit", XTB_BEST_FIT, percents[i]);
	}
	measure_all_chunks();

	return KSFT_PASS;
}
