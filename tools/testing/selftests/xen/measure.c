// SPDX-License-Identifier: GPL-2.0
/*
 * Measures what pages without memory behind them cost, on the kernel that it
 * runs on, and prints a line "MEASURE <name> <number>" for each figure, or
 * "MEASURE <name> skip <reason>".
 *
 * Run it as the first program after boot: what the pool does for the first
 * time it does only once.  Times are the calling thread's own run time in the
 * kernel and in Xen, sleeping excluded, in nanoseconds.  Under QEMU's
 * "-icount shift=0,sleep=off" with one CPU that is one for each instruction
 * that is executed, and comes out the same in every run.
 *
 * The time of a call is that of the ioctl that makes it, less that of the same
 * ioctl when it makes none (XUT_NOP).  Warm figures are the least of several
 * tries, since a timer interrupt can only add to one.
 *
 * What the grant DMA operations take is timed in the kernel, many calls in one
 * go, with interrupts off where that may be.  That is measured for parts of a
 * frame too: granted with all of the frame, kept apart from what else is there,
 * and the copying alone.
 */

#include <fcntl.h>
#include <limits.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>

#include "timing.h"
#include "xen_test.h"
#include "test_modules/test_xen_grant_dma.h"

#define BUFFER_PAGES	2048

/* From the uapi header, which needs types that it does not define. */
#define DMA_FLAG_COHERENT	0x2

static const char *const dma_keys[] = {
	"dma_buffer.pages",
	"dma_buffer.cma_kib_used",
	"dma_buffer.ram_kib_used",
	"dma_buffer.superpages_shattered",
	"dma_buffer.alloc_instructions",
	"dma_buffer.free_instructions",
	"dma_buffer.hypercalls",
	"dma_buffer.cycle_instructions",
};

static void result(const char *key, long value)
{
	printf("MEASURE %s %ld\n", key, value);
}

static void no_result(const char *key, const char *reason)
{
	printf("MEASURE %s skip %s\n", key, reason);
}

static int64_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

static int64_t least(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* One allocation, timed; negative: an errno. */
static int64_t time_alloc(int fd, int run, enum xut_kind kind, uint32_t nr)
{
	int64_t start = now();
	int ret = xt_alloc(fd, run, kind, nr);
	int64_t end = now();

	return ret ?: end - start;
}

static int64_t time_free(int fd, int run)
{
	int64_t start = now();
	int ret = xt_free(fd, run);
	int64_t end = now();

	return ret ?: end - start;
}

static int64_t time_cycle(int fd, int run, enum xut_kind kind, uint32_t nr,
			  uint32_t repeat)
{
	int64_t best = INT64_MAX;
	int i;

	for (i = 0; i < XT_TRIES; i++) {
		int64_t start = now();
		int ret = xt_cycle(fd, run, kind, nr, repeat);
		int64_t end = now();

		if (ret)
			return ret;
		best = least(best, end - start);
	}

	return best;
}

static int64_t nop_alloc(int fd, int run, uint32_t nr, int64_t *nop_free)
{
	int64_t best = INT64_MAX;
	int i;

	*nop_free = INT64_MAX;
	for (i = 0; i < XT_TRIES; i++) {
		best = least(best, time_alloc(fd, run, XUT_NOP, nr));
		*nop_free = least(*nop_free, time_free(fd, run));
	}

	return best;
}

/* The first page since boot: the pool has to make some first. */
static void measure_cold(int fd)
{
	int64_t nop, nop_free, cold;
	long before, after;
	int run;

	run = xt_new(fd, 1);
	nop = nop_alloc(fd, run, 1, &nop_free);
	/* All that reading them takes is there from the second time on. */
	xt_free_kib();
	xt_free_kib();

	before = xt_free_kib();
	cold = time_alloc(fd, run, XUT_SCATTERED, 1);
	after = xt_free_kib();

	if (cold < 0) {
		no_result("pool.cold_first_page", strerror(-cold));
		no_result("pool.cold_ram_kib", strerror(-cold));
		return;
	}
	result("pool.cold_first_page", cold - nop);
	result("pool.cold_ram_kib", before - after);
	xt_free(fd, run);
	xt_delete(fd, run);
}

static void measure_warm(int fd, uint32_t nr, uint32_t repeat)
{
	int64_t nop, warm;
	char key[64];
	int run;

	snprintf(key, sizeof(key), "pool.alloc_free_%u", nr);
	run = xt_new(fd, nr);
	/* Warm: caches are filled, and the pool has grown to that size. */
	warm = time_cycle(fd, run, XUT_SCATTERED, nr, repeat);
	if (warm >= 0)
		warm = time_cycle(fd, run, XUT_SCATTERED, nr, repeat);
	nop = time_cycle(fd, run, XUT_NOP, nr, repeat);
	if (warm < 0)
		no_result(key, strerror(-warm));
	else
		result(key, (warm - nop) / repeat);
	xt_delete(fd, run);
}

/*
 * What is gone while the first DMA buffer since boot lives.  Where the pool
 * has to make struct pages for it, they count.
 */
static int measure_footprint(int fd, int run)
{
	struct xt_p2m p2m_before, p2m_after;
	long ram_before, ram_after, cma_before, cma_after;
	int p2m, ret;

	/* Twice: the first time brings in what it needs itself. */
	p2m = xt_key_p2m(&p2m_before);
	if (!p2m)
		p2m = xt_key_p2m(&p2m_before);
	xt_free_kib();
	xt_free_kib();

	cma_before = xt_meminfo("CmaFree");
	ram_before = xt_free_kib();
	ret = xt_alloc(fd, run, XUT_DMA_COHERENT, BUFFER_PAGES);
	if (ret)
		return ret;
	ram_after = xt_free_kib();
	cma_after = xt_meminfo("CmaFree");
	if (!p2m)
		p2m = xt_key_p2m(&p2m_after);

	result("dma_buffer.pages", BUFFER_PAGES);
	if (cma_before < 0 || cma_after < 0)
		no_result("dma_buffer.cma_kib_used", "kernel without CMA");
	else
		result("dma_buffer.cma_kib_used", cma_before - cma_after);
	result("dma_buffer.ram_kib_used", ram_before - ram_after);
	if (p2m)
		no_result("dma_buffer.superpages_shattered", strerror(-p2m));
	else
		result("dma_buffer.superpages_shattered",
		       p2m_after.shattered_2m - p2m_before.shattered_2m);

	return xt_free(fd, run);
}

static void measure_calls(int fd, int run)
{
	int64_t alloc = INT64_MAX, free = INT64_MAX, nop, nop_free, t = 0;
	int i;

	nop = nop_alloc(fd, run, BUFFER_PAGES, &nop_free);
	for (i = 0; i < XT_TRIES; i++) {
		t = time_alloc(fd, run, XUT_DMA_COHERENT, BUFFER_PAGES);
		if (t < 0)
			break;
		alloc = least(alloc, t);
		t = time_free(fd, run);
		if (t < 0)
			break;
		free = least(free, t);
	}
	if (t < 0) {
		no_result("dma_buffer.alloc_instructions", strerror(-t));
		no_result("dma_buffer.free_instructions", strerror(-t));
	} else {
		result("dma_buffer.alloc_instructions", alloc - nop);
		result("dma_buffer.free_instructions", free - nop_free);
	}
}

static int buffer_cycle(void *arg)
{
	const int *ids = arg;

	return xt_cycle(ids[0], ids[1], XUT_DMA_COHERENT, BUFFER_PAGES, 1);
}

static void measure_hypercalls(int fd, int run)
{
	int ids[] = { fd, run };
	long nr = xt_hypercalls_of(buffer_cycle, ids);

	if (nr < 0)
		no_result("dma_buffer.hypercalls", xt_memory_hypercalls() < 0 ?
			  "Xen without PERF_COUNTERS" : "allocation failed");
	else
		result("dma_buffer.hypercalls", nr);
}

/* What a user feels: a dma-buf made from grant references, and closed again. */
static void measure_cycle(void)
{
	const char *key = "dma_buffer.cycle_instructions";
	int64_t best = INT64_MAX;
	struct xt_grants grants;
	int fd, i, ret;

	ret = xt_grants_new(&grants, BUFFER_PAGES, true);
	if (ret) {
		no_result(key, strerror(-ret));
		return;
	}
	fd = xt_gntdev_open();
	for (i = 0; i < XT_TRIES; i++) {
		int64_t start = now();

		ret = xt_dmabuf_new(fd, &grants, DMA_FLAG_COHERENT);
		if (ret < 0)
			break;
		close(ret);
		best = least(best, now() - start);
	}
	if (ret < 0)
		no_result(key, strerror(-ret));
	else
		result(key, best);
	close(fd);
	xt_grants_end(&grants);
}

static const struct {
	const char *key;
	enum xgd_op op;
	uint32_t nr_pages;
	uint32_t repeat;
	uint32_t flags;
} dma_ops[] = {
	{ "grant_dma.map_unmap_1", XGD_OP_MAP, 1, 256, XGD_IRQS_OFF },
	{ "grant_dma.map_unmap_64", XGD_OP_MAP, 64, 64, XGD_IRQS_OFF },
	{ "grant_dma.sg_64", XGD_OP_SG, 64, 64, XGD_IRQS_OFF },
	/* Memory cannot be freed with interrupts off: few, between two ticks. */
	{ "grant_dma.coherent_64", XGD_OP_COHERENT, 64, 8, 0 },
};

/* Under -icount, which all figures are meant for, time is instructions. */
static const struct xt_unit clock_unit = { "instructions", -1 };

static void measure_cycles(const char *key, int fd, struct xgd_cycle *cycle)
{
	const struct xt_timed timed = {
		.fd = fd, .cmd = XGD_IOC_CYCLE, .arg = cycle, .op = &cycle->op,
		.repeat = &cycle->repeat, .ns = (const uint64_t *)&cycle->ns,
		.failed = &cycle->failed,
	};
	int64_t cost;
	int ret = xt_cost(&timed, &clock_unit, &cost);

	if (ret)
		no_result(key, strerror(-ret));
	else
		result(key, cost);
}

static void measure_bytes(int fd, uint32_t index, const char *name,
			  enum xgd_op op, uint32_t bytes)
{
	struct xgd_cycle cycle = {
		.index = index, .op = op, .nr_pages = 1, .bytes = bytes,
		.repeat = 256, .flags = XGD_IRQS_OFF,
	};
	char key[64];

	snprintf(key, sizeof(key), "sub_page.%s_%u", name, bytes);
	measure_cycles(key, fd, &cycle);
}

static void measure_sub_page(void)
{
	static const uint32_t sizes[] = { 16, 64, 256, 1024, 2048, 4095, 4096 };
	const char *isolated = "gdt-isolate";
	uint32_t index;
	int fd, bad;
	size_t i;

	fd = xt_dma_open("gdt-plain", &index);
	if (fd < 0)
		return;
	for (i = 0; i < ARRAY_SIZE(sizes); i++)
		measure_bytes(fd, index, "granted", XGD_OP_MAP, sizes[i]);
	close(fd);

	bad = xt_write_file(XT_ISOLATE, isolated);
	fd = bad ? -1 : xt_dma_open(isolated, &index);
	if (fd < 0) {
		no_result("sub_page.isolated", "devices cannot be isolated");
		return;
	}
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		measure_bytes(fd, index, "isolated", XGD_OP_MAP, sizes[i]);
		/* To the buffer and back: twice. */
		measure_bytes(fd, index, "copied_twice", XGD_OP_SYNC, sizes[i]);
	}
	close(fd);
}

static void measure_grant_dma(void)
{
	uint32_t index = 0;
	int fd = xt_dma_open("gdt-plain", &index);
	size_t i;

	for (i = 0; i < ARRAY_SIZE(dma_ops); i++) {
		struct xgd_cycle cycle = {
			.index = index, .op = dma_ops[i].op,
			.nr_pages = dma_ops[i].nr_pages,
			.repeat = dma_ops[i].repeat, .flags = dma_ops[i].flags,
		};

		if (fd < 0)
			no_result(dma_ops[i].key, "no device to test with");
		else
			measure_cycles(dma_ops[i].key, fd, &cycle);
	}
	if (fd >= 0)
		close(fd);
}

int main(void)
{
	int fd, run, ret;
	size_t i;

	setvbuf(stdout, NULL, _IOLBF, 0);
	xt_load_module();
	fd = xt_open();
	if (fd < 0) {
		fprintf(stderr, "no /dev/" XUT_DEVICE ": %s\n", strerror(-fd));
		return KSFT_SKIP;
	}
	mlockall(MCL_CURRENT | MCL_FUTURE);

	xt_settle();
	measure_cold(fd);

	run = xt_new(fd, BUFFER_PAGES);
	ret = measure_footprint(fd, run);
	if (ret) {
		for (i = 0; i < ARRAY_SIZE(dma_keys); i++)
			no_result(dma_keys[i], strerror(-ret));
	} else {
		measure_calls(fd, run);
		measure_hypercalls(fd, run);
		measure_cycle();
	}

	measure_warm(fd, 1, 256);
	measure_warm(fd, 32, 64);
	measure_warm(fd, 2048, 8);
	close(fd);
	measure_grant_dma();
	measure_sub_page();

	return KSFT_PASS;
}
