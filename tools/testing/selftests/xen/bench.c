// SPDX-License-Identifier: GPL-2.0
/*
 * Measures how the cost of pages without memory behind them, and of DMA by
 * grants, grows, on the kernel that it runs on, and prints a line for each
 * figure:
 *
 *	BENCH <name> <key=value,...|-> <unit> <better> <figure> [varies]
 *
 * with FLOOR in the place of BENCH for what the least loop takes that does the
 * same.  <better> is "lower" or "higher"; with "varies" waiting or timer
 * interrupts are in the figure, which need not come out the same every time.
 *
 * Run it as the first program after boot.  Under QEMU's "-icount
 * shift=0,sleep=off" with one CPU time is instructions, Xen's included, and the
 * unit is that.  Elsewhere it is nanoseconds, and the instructions and cycles
 * that the processor counts in this kernel, if it can.
 *
 * With the argument "contention" it has several CPUs do the same at once, and
 * prints how many locks they take and wait for; with "xen" it prints what Xen
 * counts for DMA buffers.  These take boots of their own: where time is
 * instructions there is one CPU, and where Xen counts it is slower.
 */

#include <fcntl.h>
#include <limits.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/utsname.h>

#include "timing.h"
#include "xen_test.h"
#include "test_modules/test_xen_bench.h"
#include "test_modules/test_xen_grant_dma.h"

/* All pages of the pool, while fill levels are compared. */
#define TOTAL		32768
/* A 1920x1080 frame of 4 bytes a pixel is this many pages. */
#define FRAME		2025
/* The smallest chunk of the pool with pages of 4 KiB. */
#define CHUNK		512
#define CHURN_STEPS	4000
#define RUN_STEPS	200

static int bench;
/* The first of them is the clock. */
static struct xt_unit units[XT_MAX_UNITS];
static int nr_units;

static void figure(const char *what, const char *name, const char *params,
		   const char *rest, int64_t value, bool varies)
{
	printf("%s %s %s %s %lld%s\n", what, name, params, rest,
	       (long long)value, varies ? " varies" : "");
}

/* What a call costs, or each of so many parts of it. */
static void measure(const char *what, const char *name, const char *params,
		    const struct xt_timed *timed, uint32_t parts, bool varies)
{
	char rest[32];
	int64_t cost;
	int i, ret;

	for (i = 0; i < nr_units; i++) {
		ret = xt_cost(timed, &units[i], &cost);
		if (ret) {
			fprintf(stderr, "%s %s: %s\n", name, params,
				strerror(-ret));
			return;
		}
		snprintf(rest, sizeof(rest), "%s lower", units[i].name);
		figure(what, name, params, rest, cost / parts,
		       varies || nr_units > 1);
	}
}

/* What was timed by the module itself. */
static void timed(const char *name, const char *params, int64_t value)
{
	char rest[32];

	snprintf(rest, sizeof(rest), "%s lower", units[0].name);
	figure("BENCH", name, params, rest, value, true);
}

static void measure_order(const char *what, const char *name,
			  const char *params, enum xtb_op op, uint32_t nr,
			  enum xtb_order order)
{
	struct xtb_cycle cycle = {
		.op = op, .nr_pages = nr, .order = order,
		.repeat = nr < 16 ? 256 : nr < 256 ? 32 : nr < 4096 ? 4 : 1,
	};
	const struct xt_timed timed = {
		.fd = bench, .cmd = XTB_IOC_CYCLE, .arg = &cycle,
		.op = &cycle.op, .repeat = &cycle.repeat,
		.ns = (const uint64_t *)&cycle.ns,
	};

	if (op == XTB_DMA)
		cycle.repeat = 1;
	measure(what, name, params, &timed, order == XTB_ONE_BY_ONE ? nr : 1,
		op == XTB_DMA);
}

static void measure_cycle(const char *name, const char *params,
			  enum xtb_op op, uint32_t nr)
{
	measure_order("BENCH", name, params, op, nr, XTB_IN_ORDER);
}

static void measure_floor(const char *name, const char *params,
			  enum xtb_op op, uint32_t nr)
{
	measure_order("FLOOR", name, params, op, nr, XTB_IN_ORDER);
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

	xt_settle();
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
			      sizes[i]);
		measure_floor("pool.scattered", params, XTB_FLOOR, sizes[i]);
		/* Only the pool in Rust has runs to give. */
		if (xt_is_rust())
			measure_cycle("pool.contiguous", params, XTB_CONTIGUOUS,
				      sizes[i]);
	}
	/* Freed in another order, which stays the one for what follows on C. */
	for (i = 1; i < ARRAY_SIZE(sizes); i++) {
		for (j = 0; j < ARRAY_SIZE(orders); j++) {
			snprintf(params, sizeof(params), "pages=%u,freed=%s",
				 sizes[i], orders[j].name);
			measure_order("BENCH", "pool.scattered", params,
				      XTB_SCATTERED, sizes[i],
				      orders[j].order);
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
		snprintf(params, sizeof(params), "pages=%u", sizes[i]);
		measure_order("BENCH", "pool.one_by_one", params,
			      XTB_SCATTERED, sizes[i], XTB_ONE_BY_ONE);
	}
}

static const uint32_t dma_sizes[] = { 1, 64, 512, FRAME, 8100 };

static void measure_dma(void)
{
	char params[32];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(dma_sizes); i++) {
		snprintf(params, sizeof(params), "pages=%u", dma_sizes[i]);
		measure_cycle("dma.alloc_free", params, XTB_DMA, dma_sizes[i]);
		measure_floor("dma.alloc_free", params, XTB_FLOOR_DMA,
			      dma_sizes[i]);
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
	timed("churn.per_page", params, churn.step_ns / churn.step_pages);
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		snprintf(params, sizeof(params), "pages=%u,in_use=%u",
			 sizes[i], percent);
		measure_cycle("pool.after_churn", params, XTB_SCATTERED,
			      sizes[i]);
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
	timed(name, params, churn.run_ns / RUN_STEPS);
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
		measure_cycle("pool.chunks", params, XTB_SCATTERED, sizes[i]);
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

/* DMA by grants */
static int grant_dma;
static uint32_t grant_dev;

/* A device that was just bound has no references of its own yet. */
static int bind_again(void)
{
	struct xgd_attach attach = {
		.index = grant_dev, .virtio_id = XGD_VIRTIO_ID,
	};

	if (ioctl(grant_dma, XGD_IOC_UNBIND, grant_dev) ||
	    ioctl(grant_dma, XGD_IOC_BIND, grant_dev) ||
	    ioctl(grant_dma, XGD_IOC_ATTACH, &attach))
		return -errno;

	return 0;
}

static void measure_grants(const char *what, const char *name,
			   const char *params, enum xgd_op op, uint32_t nr,
			   enum xgd_dir dir, bool cold)
{
	struct xgd_cycle cycle = {
		.index = grant_dev, .op = op, .nr_pages = nr, .dir = dir,
		.repeat = nr < 16 ? 256 : 32, .flags = XGD_IRQS_OFF,
	};
	const struct xt_timed timed = {
		.fd = grant_dma, .cmd = XGD_IOC_CYCLE, .arg = &cycle,
		.op = &cycle.op, .repeat = &cycle.repeat,
		.ns = (const uint64_t *)&cycle.ns, .failed = &cycle.failed,
		.prepare = cold ? bind_again : NULL,
	};

	/* Memory cannot be freed then: few, between two ticks. */
	if (op == XGD_OP_COHERENT) {
		cycle.flags = 0;
		cycle.repeat = 8;
	}
	if (cold)
		cycle.repeat = 1;
	measure(what, name, params, &timed, 1, op == XGD_OP_COHERENT);
}

static void measure_sizes_of(const char *name, const char *unit,
			     enum xgd_op op, const uint32_t *sizes,
			     const char *dir_name, enum xgd_dir dir, bool cold)
{
	char params[64];

	for (; *sizes; sizes++) {
		snprintf(params, sizeof(params), "%s=%u%s,cache=%s", unit,
			 *sizes, dir_name, cold ? "cold" : "hot");
		measure_grants("BENCH", name, params, op, *sizes, dir, cold);
		measure_grants("FLOOR", name, params, XGD_OP_FLOOR, *sizes,
			       dir, false);
	}
}

static void measure_grant_dma(void)
{
	static const uint32_t map[] = { 1, 2, 8, 64, 512, 0 };
	static const uint32_t entries[] = { 1, 8, 64, 128, 256, 0 };
	static const uint32_t coherent[] = { 1, 64, 0 };
	static const char *const dirs[] = {
		[XGD_BIDIRECTIONAL] = ",dir=both",
		[XGD_TO_DEVICE] = ",dir=to_device",
		[XGD_FROM_DEVICE] = ",dir=from_device",
	};
	int dir, cold;

	for (cold = 0; cold < 2; cold++) {
		for (dir = 0; dir < XGD_NR_DIRS; dir++)
			measure_sizes_of("grant_dma.map", "pages", XGD_OP_MAP,
					 map, dirs[dir], dir, cold);
		measure_sizes_of("grant_dma.map_sg", "entries", XGD_OP_SG,
				 entries, "", XGD_BIDIRECTIONAL, cold);
		measure_sizes_of("grant_dma.coherent", "pages",
				 XGD_OP_COHERENT, coherent, "",
				 XGD_BIDIRECTIONAL, cold);
	}
}

/* What CPUs do at once, all with one device */
static const struct {
	const char *name;
	enum xgd_op op;
	uint32_t nr_pages;
} contended[] = {
	{ "pool", XGD_OP_POOL, 1 },
	{ "pool", XGD_OP_POOL, 64 },
	{ "map", XGD_OP_MAP, 1 },
	{ "map", XGD_OP_MAP, 64 },
	{ "map_sg", XGD_OP_SG, 64 },
};

/* What is seen of locks meanwhile, or in 1000 calls; negative: an errno. */
static int64_t contend(size_t what, enum xgd_watch watch, uint32_t nr_cpus,
		       uint32_t repeat)
{
	struct xgd_contend req = {
		.cycle = {
			.index = grant_dev, .op = contended[what].op,
			.nr_pages = contended[what].nr_pages, .repeat = repeat,
		},
		.nr_cpus = nr_cpus, .watch = watch,
	};

	if (ioctl(grant_dma, XGD_IOC_CONTEND, &req)) {
		fprintf(stderr, "locks of %s: %s\n", contended[what].name,
			strerror(errno));
		return -errno;
	}
	if (req.cycle.failed)
		fprintf(stderr, "%s failed %u times\n", contended[what].name,
			req.cycle.failed);

	if (req.cycle.failed || !req.cycle.repeat)
		return -EIO;

	return watch == XGD_WATCH_HELD ? req.seen :
					 req.seen * 1000 / req.cycle.repeat;
}

/* The least of several tries, as a timer interrupt can be in one. */
static void measure_holds(void)
{
	char params[64], rest[32];
	size_t i;
	int j;

	snprintf(rest, sizeof(rest), "%s lower", units[0].name);
	for (i = 0; i < ARRAY_SIZE(contended); i++) {
		int64_t best = INT64_MAX;

		for (j = 0; j < XT_TRIES && best >= 0; j++) {
			int64_t seen = contend(i, XGD_WATCH_HELD, 1, 4);

			if (best > seen)
				best = seen;
		}
		snprintf(params, sizeof(params), "of=%s,pages=%u",
			 contended[i].name, contended[i].nr_pages);
		if (best >= 0)
			figure("BENCH", "locks.longest_hold", params, rest,
			       best, nr_units > 1);
	}
}

/*
 * The most of several tries to wait: CPUs that are emulated do not always run
 * at once, and then they do not wait for each other.
 */
static void measure_cpus(const char *name, enum xgd_watch watch, uint32_t cpus)
{
	const int tries = watch == XGD_WATCH_WAITS ? 3 : 1;
	char params[64];
	size_t i;
	int j;

	for (i = 0; i < ARRAY_SIZE(contended); i++) {
		int64_t most = 0;

		for (j = 0; j < tries && most >= 0; j++) {
			int64_t seen = contend(i, watch, cpus, 2000);

			if (seen < 0 || most < seen)
				most = seen;
		}
		snprintf(params, sizeof(params), "of=%s,pages=%u,cpus=%u",
			 contended[i].name, contended[i].nr_pages, cpus);
		if (most >= 0)
			figure("BENCH", name, params, "per_1000_calls lower",
			       most, true);
	}
}

static void measure_contention(void)
{
	int cpus;

	for (cpus = 2; cpus <= 4 && cpus <= xt_online_cpus(); cpus += 2) {
		measure_cpus("locks.taken", XGD_WATCH_TAKEN, cpus);
		measure_cpus("locks.waited_for", XGD_WATCH_WAITS, cpus);
	}
}

static int dma_once(void *arg)
{
	struct xtb_cycle cycle = {
		.op = XTB_DMA, .nr_pages = *(const uint32_t *)arg, .repeat = 1,
	};

	return ioctl(bench, XTB_IOC_CYCLE, &cycle) ? -errno : 0;
}

/* What Xen knows of DMA buffers: what it breaks it does not mend. */
static void measure_xen(void)
{
	char params[32];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(dma_sizes); i++) {
		uint32_t nr = dma_sizes[i];
		struct xt_p2m before, after;
		long calls;

		snprintf(params, sizeof(params), "pages=%u", nr);
		if (!xt_key_p2m(&before) && !dma_once(&nr) &&
		    !xt_key_p2m(&after))
			figure("BENCH", "dma.superpages_broken", params,
			       "superpages lower",
			       after.shattered_2m - before.shattered_2m, false);
		calls = xt_hypercalls_of(dma_once, &nr);
		if (calls >= 0)
			figure("BENCH", "dma.hypercalls", params,
			       "hypercalls lower", calls, false);
	}
}

static void print_system(void)
{
	char major[16] = "", minor[16] = "";
	struct utsname name;

	uname(&name);
	xt_read_file("/sys/hypervisor/version/major", major, sizeof(major));
	xt_read_file("/sys/hypervisor/version/minor", minor, sizeof(minor));
	printf("# Linux %s, Xen %d.%d\n", name.release, atoi(major),
	       atoi(minor));
}

static void measure_all(void)
{
	static const uint32_t percents[] = { 50, 80, 95 };
	size_t i;

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
	if (grant_dma >= 0) {
		measure_grant_dma();
		measure_holds();
	}
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	print_system();
	xt_load(XTB_DEVICE);
	bench = open("/dev/" XTB_DEVICE, O_RDWR | O_CLOEXEC);
	if (bench < 0) {
		fprintf(stderr, "no /dev/" XTB_DEVICE ": %s\n",
			strerror(errno));
		return KSFT_SKIP;
	}
	grant_dma = xt_dma_open("gdt-plain", &grant_dev);
	if (grant_dma < 0)
		fprintf(stderr, "no device for DMA by grants: %s\n",
			strerror(-grant_dma));
	mlockall(MCL_CURRENT | MCL_FUTURE);
	nr_units = xt_units(units);

	if (argc < 2)
		measure_all();
	else if (!strcmp(argv[1], "xen"))
		measure_xen();
	else if (grant_dma >= 0)
		measure_contention();

	return KSFT_PASS;
}
