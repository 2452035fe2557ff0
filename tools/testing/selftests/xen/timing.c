// SPDX-License-Identifier: GPL-2.0
/*
 * What the programs that measure share.
 */

#include <fcntl.h>
#include <limits.h>
#include <linux/perf_event.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <time.h>

#include "timing.h"
#include "xen_test.h"
#include "test_modules/test_xen_grant_dma.h"

static int64_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

/*
 * Whether each instruction takes a nanosecond, which divisions that wait for
 * each other do on no processor.
 */
static bool time_is_instructions(void)
{
#ifdef __aarch64__
	const int64_t rounds = 100000, all = rounds * 10;
	int64_t best = INT64_MAX;
	int i;

	for (i = 0; i < XT_TRIES; i++) {
		uint64_t left = rounds, value = UINT64_MAX;
		int64_t start = now(), time;

		asm volatile("1:\n"
			     ".rept 8\n"
			     "udiv %1, %1, %2\n"
			     ".endr\n"
			     "subs %0, %0, #1\n"
			     "b.ne 1b"
			     : "+r" (left), "+r" (value)
			     : "r" (1UL) : "cc");
		time = now() - start;
		if (best > time)
			best = time;
	}

	return best >= all && best < all + all / 1000;
#else
	return false;
#endif
}

static int open_counter(uint64_t config)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_HARDWARE, .size = sizeof(attr),
		.config = config, .pinned = 1,
		.exclude_user = 1, .exclude_hv = 1,
	};

	return syscall(__NR_perf_event_open, &attr, 0, -1, -1,
		       PERF_FLAG_FD_CLOEXEC);
}

int xt_units(struct xt_unit units[XT_MAX_UNITS])
{
	static const struct {
		const char *name;
		uint64_t config;
	} counters[] = {
		{ "instructions", PERF_COUNT_HW_INSTRUCTIONS },
		{ "cycles", PERF_COUNT_HW_CPU_CYCLES },
	};
	int nr = 0;
	size_t i;

	units[nr].counter = -1;
	if (time_is_instructions()) {
		units[nr++].name = "instructions";
		return nr;
	}
	units[nr++].name = "ns";
	for (i = 0; i < ARRAY_SIZE(counters); i++) {
		units[nr].counter = open_counter(counters[i].config);
		if (units[nr].counter >= 0)
			units[nr++].name = counters[i].name;
	}

	return nr;
}

/* One that had to make room for others cannot be read. */
static int read_counter(const struct xt_unit *unit, int64_t *value)
{
	*value = 0;
	if (unit->counter < 0)
		return 0;

	return read(unit->counter, value, sizeof(*value)) == sizeof(*value) ?
	       0 : -EBUSY;
}

/* A call, the least of several tries. */
static int least(const struct xt_timed *timed, const struct xt_unit *unit,
		 uint32_t op, uint32_t repeat, int64_t *best)
{
	int i, ret;

	*best = INT64_MAX;
	for (i = 0; i < XT_TRIES; i++) {
		int64_t before, after;

		ret = timed->prepare ? timed->prepare() : 0;
		if (ret)
			return ret;
		*timed->op = op;
		*timed->repeat = repeat;
		ret = read_counter(unit, &before);
		if (!ret && ioctl(timed->fd, timed->cmd, timed->arg))
			ret = -errno;
		if (!ret)
			ret = read_counter(unit, &after);
		if (!ret && timed->failed && *timed->failed)
			ret = -EIO;
		if (ret)
			return ret;
		if (unit->counter < 0)
			after = *timed->ns;
		if (*best > after - before)
			*best = after - before;
	}

	return 0;
}

int xt_cost(const struct xt_timed *timed, const struct xt_unit *unit,
	    int64_t *cost)
{
	const uint32_t op = *timed->op, repeat = *timed->repeat;
	int64_t all, nop, around = 0, nop_around = 0;
	int ret;

	ret = least(timed, unit, 0, repeat, &nop);
	if (!ret)
		ret = least(timed, unit, op, repeat, &all);
	/* In these is all of the call, not only what is repeated. */
	if (!ret && unit->counter >= 0)
		ret = least(timed, unit, 0, 0, &nop_around);
	if (!ret && unit->counter >= 0)
		ret = least(timed, unit, op, 0, &around);
	*timed->op = op;
	*timed->repeat = repeat;
	if (!ret)
		*cost = ((all - around) - (nop - nop_around)) / repeat;

	return ret;
}

int xt_dma_open(const char *name, uint32_t *index)
{
	struct xgd_attach attach = { .virtio_id = XGD_VIRTIO_ID };
	struct xgd_info info = { .index = 0 };
	int fd;

	xt_load(XGD_DEVICE);
	fd = open("/dev/" XGD_DEVICE, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	for (; ; info.index++) {
		if (ioctl(fd, XGD_IOC_INFO, &info)) {
			close(fd);
			return -ENODEV;
		}
		if (!strcmp(info.name, name))
			break;
	}
	attach.index = info.index;
	if (!info.attached && ioctl(fd, XGD_IOC_ATTACH, &attach)) {
		close(fd);
		return -ENODEV;
	}
	*index = info.index;

	return fd;
}

/* What Xen counts between two readings, less what it counts between any two. */
long xt_hypercalls_of(int (*call)(void *arg), void *arg)
{
	long empty = LONG_MAX, full = LONG_MAX;
	int i, ret;

	for (i = 0; i < XT_TRIES; i++) {
		long a = xt_memory_hypercalls();
		long b = xt_memory_hypercalls(), c;

		if (a < 0)
			return a;
		ret = call(arg);
		if (ret)
			return ret;
		c = xt_memory_hypercalls();
		if (empty > b - a)
			empty = b - a;
		if (full > c - b)
			full = c - b;
	}

	return full - empty;
}

void xt_settle(void)
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
