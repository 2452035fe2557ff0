// SPDX-License-Identifier: GPL-2.0
/*
 * Calls of gntdev and gntalloc with arguments that are random, at the limits,
 * or of something else: whatever user space asks for, the kernel says no or
 * does it, and nothing is left behind once the process is gone.
 *
 * The seed is printed; give it as the only argument to repeat a sequence.  How
 * many calls there are in a test can be said by xentest.calls= on the kernel's
 * command line.
 */

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <time.h>

#include "xen_test.h"

typedef uint16_t domid_t;
typedef uint32_t grant_ref_t;
#include <xen/gntalloc.h>
#include <xen/gntdev.h>

#define CALLS		20000
#define THREADS		4
#define LIVES		50	/* processes that are killed */
#define NR_FDS		12
#define FOREIGN_PAGES	4	/* of a dma-buf that is not gntdev's */
#define NR_KEPT		32
#define NR_AREAS	8
#define ARG_SIZE	(64 * 1024)

/* What is called, by its place in call[]. */
enum op {
	MAP, UNMAP, OFFSET, NOTIFY, COPY, EXPORT, WAIT, IMPORT, RELEASE,
	ALLOC, DEALLOC, ALLOC_NOTIFY, MMAP, MUNMAP, REOPEN, ANYTHING, NR_OPS,
};

static const char * const names[NR_OPS] = {
	"map", "unmap", "get offset", "notify", "copy", "export", "wait",
	"import", "release", "alloc", "dealloc", "notify of gntalloc", "mmap",
	"munmap", "reopen", "unknown",
};

/* A value that was right once, for whoever comes across it. */
struct kept {
	struct range {
		uint64_t index;
		uint32_t count;
	} range[NR_KEPT];
	uint32_t ref[NR_KEPT];
	int fd[NR_FDS];
};

struct area {
	void *addr;
	size_t len;
};

/* One caller.  Threads share what was kept, with no lock: so do descriptors. */
struct caller {
	uint64_t random;
	struct kept *kept;
	struct area areas[NR_AREAS];
	uint8_t *arg;		/* of ARG_SIZE, and nothing behind it */
	long done[NR_OPS];
	long calls;
};

static uint64_t seed;
static long nr_calls = CALLS;
static uint32_t own_domid;

static uint32_t random_below(struct caller *c, uint32_t n)
{
	c->random ^= c->random << 13;
	c->random ^= c->random >> 7;
	c->random ^= c->random << 17;

	return (c->random >> 11) % n;
}

static bool rarely(struct caller *c)
{
	return !random_below(c, 16);
}

/* Numbers that somebody may have forgotten to think of. */
static uint64_t odd_number(struct caller *c)
{
	static const uint64_t odd[] = {
		0, 1, 0x7fff, 0x8000, 0xffff, 0x10000, 0x10001, 0x7fffffff,
		0x80000000, 0xfffffffe, 0xffffffff, 0x100000000, 1UL << 63,
		UINT64_MAX - 4095, UINT64_MAX,
	};

	return odd[random_below(c, ARRAY_SIZE(odd))];
}

static uint32_t some_count(struct caller *c)
{
	/* Much is slow, so there is less of it. */
	switch (random_below(c, 256)) {
	case 0:
		return odd_number(c);
	case 1:
		/* Arrays of such a size lie partly behind the argument. */
		return ARG_SIZE / 4 + random_below(c, 3);
	case 2 ... 17:
		return 0;
	default:
		return 1 + random_below(c, 8);
	}
}

static uint32_t some_ref(struct caller *c)
{
	return rarely(c) ? odd_number(c) :
	       c->kept->ref[random_below(c, NR_KEPT)];
}

static struct range some_range(struct caller *c)
{
	struct range range = c->kept->range[random_below(c, NR_KEPT)];

	if (rarely(c))
		range.index = odd_number(c);
	if (rarely(c))
		range.index += xt_page_size() * random_below(c, 4);
	if (rarely(c) || !range.count)
		range.count = some_count(c);
	return range;
}

static uint32_t some_domid(struct caller *c)
{
	/* DOMID_SELF and its neighbours are among the others. */
	return rarely(c) ? 0x7ff0 + random_below(c, 8) :
	       rarely(c) ? odd_number(c) : own_domid;
}

static int some_fd(struct caller *c)
{
	return c->kept->fd[random_below(c, NR_FDS)];
}

/*
 * The first ones are of gntdev, the next of gntalloc, the last dma-bufs of gntdev
 * and of another driver.
 */
static int some_gntdev(struct caller *c)
{
	return rarely(c) ? some_fd(c) : c->kept->fd[random_below(c, 3)];
}

static int some_gntalloc(struct caller *c)
{
	return rarely(c) ? some_fd(c) : c->kept->fd[3 + random_below(c, 2)];
}

static int some_dmabuf(struct caller *c)
{
	return rarely(c) ? some_fd(c) : c->kept->fd[6 + random_below(c, 6)];
}

static void *some_address(struct caller *c)
{
	struct area *area = &c->areas[random_below(c, NR_AREAS)];

	if (rarely(c))
		return (void *)odd_number(c);
	return random_below(c, 2) ? c->arg : area->addr;
}

/* Where an argument of @size stands: at the end of all memory, now and then. */
static void *argument(struct caller *c, size_t size)
{
	uint8_t *arg = rarely(c) ? c->arg + ARG_SIZE - size : c->arg;

	memset(arg, 0, size);
	return arg;
}

static int call(struct caller *c, int fd, unsigned long request, void *arg)
{
	if (rarely(c) && rarely(c))
		arg = (void *)odd_number(c);

	return ioctl(fd, request, arg);
}

static void keep_range(struct caller *c, uint64_t index, uint32_t count)
{
	struct range range = { index, count };

	c->kept->range[random_below(c, NR_KEPT)] = range;
}

static void fill_refs(struct caller *c, uint32_t *refs, uint32_t count)
{
	uint32_t i, room = (uint32_t *)(c->arg + ARG_SIZE) - refs;

	for (i = 0; i < count && i < room && i < 32; i++)
		refs[i] = some_ref(c);
}

static int do_map(struct caller *c)
{
	struct ioctl_gntdev_map_grant_ref *arg = argument(c, sizeof(*arg));
	uint32_t i, count = some_count(c), room;
	int ret;

	arg->count = count;
	room = ((uint8_t *)c->arg + ARG_SIZE - (uint8_t *)arg->refs) /
	       sizeof(arg->refs[0]);
	for (i = 0; i < count && i < room && i < 32; i++) {
		arg->refs[i].domid = some_domid(c);
		arg->refs[i].ref = some_ref(c);
	}
	ret = call(c, some_gntdev(c), IOCTL_GNTDEV_MAP_GRANT_REF, arg);
	if (!ret)
		keep_range(c, arg->index, count);

	return ret;
}

static int do_unmap(struct caller *c)
{
	struct ioctl_gntdev_unmap_grant_ref *arg = argument(c, sizeof(*arg));
	struct range range = some_range(c);

	arg->index = range.index;
	arg->count = range.count;

	return call(c, some_gntdev(c), IOCTL_GNTDEV_UNMAP_GRANT_REF, arg);
}

static int do_offset(struct caller *c)
{
	struct ioctl_gntdev_get_offset_for_vaddr *arg;
	void *addr = some_address(c);
	int i;

	for (i = 0; i < NR_AREAS && !rarely(c); i++)
		if (c->areas[i].addr)
			addr = c->areas[i].addr;
	arg = argument(c, sizeof(*arg));
	arg->vaddr = (uintptr_t)addr;

	return call(c, some_gntdev(c), IOCTL_GNTDEV_GET_OFFSET_FOR_VADDR, arg);
}

static int do_notify(struct caller *c)
{
	struct ioctl_gntdev_unmap_notify *arg = argument(c, sizeof(*arg));

	arg->index = some_range(c).index + random_below(c, xt_page_size());
	arg->action = rarely(c) ? odd_number(c) : random_below(c, 4);
	arg->event_channel_port = random_below(c, 64);

	return call(c, some_gntdev(c), IOCTL_GNTDEV_SET_UNMAP_NOTIFY, arg);
}

static void some_end(struct caller *c, bool foreign, bool is_source,
		     struct gntdev_grant_copy_segment *segment)
{
	if (!foreign) {
		void *virt = some_address(c);

		if (is_source)
			segment->source.virt = virt;
		else
			segment->dest.virt = virt;
		return;
	}
	if (is_source) {
		segment->source.foreign.ref = some_ref(c);
		segment->source.foreign.domid = some_domid(c);
		segment->source.foreign.offset = random_below(c, 4200);
	} else {
		segment->dest.foreign.ref = some_ref(c);
		segment->dest.foreign.domid = some_domid(c);
		segment->dest.foreign.offset = random_below(c, 4200);
	}
}

static int do_copy(struct caller *c)
{
	struct gntdev_grant_copy_segment segments[8] = { 0 };
	struct ioctl_gntdev_grant_copy *arg = argument(c, sizeof(*arg));
	int i;

	for (i = 0; i < 8; i++) {
		/* GNTCOPY_source_gref and GNTCOPY_dest_gref are 1 and 2. */
		uint16_t flags = rarely(c) ? odd_number(c) : random_below(c, 4);

		/* Never over what this program itself lives by. */
		if (!(flags & 2))
			flags = 2;
		segments[i].flags = flags;
		segments[i].len = rarely(c) ? odd_number(c) :
				  random_below(c, 4200);
		some_end(c, flags & 1, true, &segments[i]);
		some_end(c, flags & 2, false, &segments[i]);
	}
	arg->count = rarely(c) && rarely(c) ? odd_number(c) :
		     random_below(c, 9);
	arg->segments = segments;

	return call(c, some_gntdev(c), IOCTL_GNTDEV_GRANT_COPY, arg);
}

static int do_export(struct caller *c)
{
	struct ioctl_gntdev_dmabuf_exp_from_refs *arg;
	int ret, *kept = &c->kept->fd[6 + random_below(c, 4)], old;

	arg = argument(c, sizeof(*arg));
	arg->flags = rarely(c) ? odd_number(c) : random_below(c, 4);
	arg->count = some_count(c);
	arg->domid = some_domid(c);
	fill_refs(c, arg->refs, arg->count);
	ret = call(c, some_gntdev(c), IOCTL_GNTDEV_DMABUF_EXP_FROM_REFS, arg);
	if (!ret) {
		old = __atomic_exchange_n(kept, arg->fd, __ATOMIC_SEQ_CST);
		close(old);
	}

	return ret;
}

static int do_wait(struct caller *c)
{
	struct ioctl_gntdev_dmabuf_exp_wait_released *arg;

	arg = argument(c, sizeof(*arg));
	arg->fd = rarely(c) ? odd_number(c) : (uint32_t)some_dmabuf(c);
	arg->wait_to_ms = random_below(c, 2);

	return call(c, some_gntdev(c), IOCTL_GNTDEV_DMABUF_EXP_WAIT_RELEASED,
		    arg);
}

static int do_import(struct caller *c)
{
	struct ioctl_gntdev_dmabuf_imp_to_refs *arg = argument(c, sizeof(*arg));
	uint32_t i, count;
	int ret;

	arg->fd = rarely(c) ? odd_number(c) : (uint32_t)some_dmabuf(c);
	count = random_below(c, 2) ? FOREIGN_PAGES : some_count(c);
	arg->count = count;
	arg->domid = some_domid(c);
	arg->reserved = rarely(c);
	ret = call(c, some_gntdev(c), IOCTL_GNTDEV_DMABUF_IMP_TO_REFS, arg);
	if (ret)
		return ret;

	for (i = 0; i < count && i < 8; i++)
		c->kept->ref[random_below(c, NR_KEPT)] = arg->refs[i];

	return 0;
}

static int do_release(struct caller *c)
{
	struct ioctl_gntdev_dmabuf_imp_release *arg = argument(c, sizeof(*arg));

	arg->fd = rarely(c) ? odd_number(c) : (uint32_t)some_dmabuf(c);
	arg->reserved = rarely(c);

	return call(c, some_gntdev(c), IOCTL_GNTDEV_DMABUF_IMP_RELEASE, arg);
}

static int do_alloc(struct caller *c)
{
	struct ioctl_gntalloc_alloc_gref *arg = argument(c, sizeof(*arg));
	uint32_t i, count = some_count(c);
	int ret;

	arg->domid = some_domid(c);
	arg->flags = rarely(c) ? odd_number(c) : random_below(c, 2);
	arg->count = count;
	ret = call(c, some_gntalloc(c), IOCTL_GNTALLOC_ALLOC_GREF, arg);
	if (ret)
		return ret;

	keep_range(c, arg->index, count);
	for (i = 0; i < count && i < 8; i++)
		c->kept->ref[random_below(c, NR_KEPT)] = arg->gref_ids_flex[i];

	return 0;
}

static int do_dealloc(struct caller *c)
{
	struct ioctl_gntalloc_dealloc_gref *arg = argument(c, sizeof(*arg));
	struct range range = some_range(c);

	arg->index = range.index;
	arg->count = range.count;

	return call(c, some_gntalloc(c), IOCTL_GNTALLOC_DEALLOC_GREF, arg);
}

static int do_alloc_notify(struct caller *c)
{
	struct ioctl_gntalloc_unmap_notify *arg = argument(c, sizeof(*arg));

	arg->index = some_range(c).index + random_below(c, xt_page_size());
	arg->action = rarely(c) ? odd_number(c) : random_below(c, 4);
	arg->event_channel_port = random_below(c, 64);

	return call(c, some_gntalloc(c), IOCTL_GNTALLOC_SET_UNMAP_NOTIFY, arg);
}

static int do_mmap(struct caller *c)
{
	struct area *area = &c->areas[random_below(c, NR_AREAS)];
	int fd = random_below(c, 2) ? some_gntdev(c) : some_gntalloc(c);
	int flags = rarely(c) ? MAP_PRIVATE : MAP_SHARED;
	struct range range = some_range(c);
	size_t len = range.count % 1024 * xt_page_size();
	int prot = random_below(c, 8);
	void *addr;

	addr = mmap(NULL, len, prot, flags, fd,
		    range.index & ~(uint64_t)(xt_page_size() - 1));
	if (addr == MAP_FAILED)
		return -1;
	if (area->addr)
		munmap(area->addr, area->len);
	area->addr = addr;
	area->len = len;

	return 0;
}

/* A part of an area, often: the rest remains a mapping of its own. */
static int do_munmap(struct caller *c)
{
	struct area *area = &c->areas[random_below(c, NR_AREAS)];
	size_t page_size = xt_page_size(), len;
	int ret;

	if (!area->addr)
		return -1;
	len = page_size * (1 + random_below(c, area->len / page_size));
	ret = munmap(area->addr, len);
	area->addr = len < area->len ? area->addr + len : NULL;
	area->len -= len;

	return ret;
}

static int open_one(int which)
{
	return which < 3 ? open("/dev/xen/gntdev", O_RDWR | O_CLOEXEC) :
	       which < 5 ? open("/dev/xen/gntalloc", O_RDWR | O_CLOEXEC) :
	       which < 6 ? open("/dev/null", O_RDWR | O_CLOEXEC) :
	       which < 10 ? -1 : xt_udmabuf_new(FOREIGN_PAGES, NULL);
}

/* Closes any, and has those that are needed opened again. */
static int do_reopen(struct caller *c)
{
	int which = random_below(c, NR_FDS), fd;

	if (!rarely(c))
		return -1;
	fd = __atomic_exchange_n(&c->kept->fd[which], open_one(which),
				 __ATOMIC_SEQ_CST);

	return close(fd);
}

static int do_anything(struct caller *c)
{
	unsigned long request = _IOC(random_below(c, 4), 'G',
				     random_below(c, 16),
				     random_below(c, 64));
	uint8_t *arg = argument(c, 64);
	int i;

	for (i = 0; i < 64; i++)
		arg[i] = rarely(c) ? random_below(c, 256) : 0;

	return call(c, random_below(c, 2) ? some_gntdev(c) : some_gntalloc(c),
		    request, arg);
}

static int (* const ops[NR_OPS])(struct caller *) = {
	do_map, do_unmap, do_offset, do_notify, do_copy, do_export, do_wait,
	do_import, do_release, do_alloc, do_dealloc, do_alloc_notify, do_mmap,
	do_munmap, do_reopen, do_anything,
};

static void go(struct caller *c, long calls)
{
	while (calls--) {
		enum op op = random_below(c, NR_OPS);

		c->calls++;
		if (ops[op](c) >= 0)
			c->done[op]++;
	}
}

static void open_all(struct kept *kept)
{
	int i;

	memset(kept, 0, sizeof(*kept));
	for (i = 0; i < NR_FDS; i++)
		kept->fd[i] = open_one(i);
	XT_CHECK(kept->fd[0] >= 0 && kept->fd[3] >= 0, "no devices: %s",
		 strerror(errno));
}

static void close_all(struct kept *kept)
{
	int i;

	for (i = 0; i < NR_FDS; i++)
		close(kept->fd[i]);
}

static void begin(struct caller *c, struct kept *kept, uint64_t nr)
{
	memset(c, 0, sizeof(*c));
	c->random = (seed + nr * 0x9e3779b97f4a7c15ULL) | 1;
	c->kept = kept;
	/* What lies behind the end cannot be read. */
	c->arg = mmap(NULL, ARG_SIZE + xt_page_size(), PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	XT_CHECK(c->arg != MAP_FAILED, "no memory");
	mprotect(c->arg + ARG_SIZE, xt_page_size(), PROT_NONE);
}

static void end(struct caller *c)
{
	int i;

	for (i = 0; i < NR_AREAS; i++)
		if (c->areas[i].addr)
			munmap(c->areas[i].addr, c->areas[i].len);
	munmap(c->arg, ARG_SIZE + xt_page_size());
}

static void choose(void)
{
	const char *calls = xt_boot_param("xentest.calls");
	uint64_t bytes = xt_meminfo("MemAvailable") * 1024 / 2;
	char limit[16];

	if (calls)
		nr_calls = strtol(calls, NULL, 0);
	XT_CHECK(nr_calls > 0, "xentest.calls=%s is no number of calls", calls);
	if (!seed && getrandom(&seed, sizeof(seed), GRND_NONBLOCK) < 0)
		seed = time(NULL);
	ksft_print_msg("seed %llu\n", (unsigned long long)seed);
	/* Which one it was is to be known of a call that never returns, too. */
	fflush(stdout);
	if (xt_own_domid() < 0)
		xt_skip("in a domU say xentest.domid= on the command line");
	own_domid = xt_own_domid();
	/* As often as a buffer is granted it is mapped for DMA. */
	xt_expect_splat("overlapping mappings of cacheline");
	/* Not so many that no memory is left. */
	if (bytes > 256UL << 20)
		bytes = 256UL << 20;
	snprintf(limit, sizeof(limit), "%u", xt_pages_in(bytes));
	xt_set_param("xen_gntalloc", "limit", limit);
}

/* What takes a dma-buf that is not gntdev's */
static bool is_foreign(enum op op)
{
	return op == IMPORT || op == RELEASE;
}

/* Of what never succeeds nothing is proved. */
static void check_done(const struct caller *callers, int nr)
{
	long calls = 0, done;
	int i, op;

	for (i = 0; i < nr; i++)
		calls += callers[i].calls;
	ksft_print_msg("%ld calls\n", calls);
	for (op = 0; op < NR_OPS; op++) {
		for (done = 0, i = 0; i < nr; i++)
			done += callers[i].done[op];
		ksft_print_msg("%s: %ld did something\n", names[op], done);
		/*
		 * There is no other call, and only another thread can end what
		 * is waited for.
		 */
		if (is_foreign(op) && access("/dev/udmabuf", F_OK))
			ksft_print_msg("no /dev/udmabuf: needs CONFIG_UDMABUF\n");
		else if (op != ANYTHING && op != WAIT && calls >= CALLS)
			XT_CHECK(done, "%s: none of %ld calls succeeded",
				 names[op], calls);
	}
}

/* The devices still do what they are for. */
static void all_is_well(void)
{
	struct xt_grants grants;
	int fd, ret;
	void *mem;

	ret = xt_grants_new(&grants, 4, true);
	XT_CHECK(!ret, "grant: %s", strerror(-ret));
	fd = xt_gntdev_open();
	XT_CHECK(fd >= 0, "gntdev: %s", strerror(-fd));
	ret = xt_gntdev_mmap(fd, &grants, true, &mem);
	XT_CHECK(!ret, "map: %s", strerror(-ret));
	grants.mem[17] = 0x5a;
	XT_CHECK(((uint8_t *)mem)[17] == 0x5a, "data differs");
}

static void one_after_the_other(void)
{
	struct caller c;
	struct kept kept;

	choose();
	open_all(&kept);
	begin(&c, &kept, 0);
	go(&c, nr_calls);
	check_done(&c, 1);
	end(&c);
	close_all(&kept);
	all_is_well();
}

static void *thread(void *arg)
{
	go(arg, nr_calls / THREADS);
	return NULL;
}

static void at_once(void)
{
	static struct caller callers[THREADS];
	pthread_t threads[THREADS];
	struct kept kept;
	int i;

	choose();
	open_all(&kept);
	for (i = 0; i < THREADS; i++)
		begin(&callers[i], &kept, 1 + i);
	for (i = 0; i < THREADS; i++)
		XT_CHECK(!pthread_create(&threads[i], NULL, thread,
					 &callers[i]), "no thread");
	for (i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	check_done(callers, THREADS);
	for (i = 0; i < THREADS; i++)
		end(&callers[i]);
	close_all(&kept);
	all_is_well();
}

static void killed(void)
{
	struct timespec life = { 0 };
	struct caller c;
	struct kept kept;
	int i, status;
	pid_t pid;

	choose();
	begin(&c, &kept, 0);
	for (i = 0; i < LIVES; i++) {
		pid = fork();
		XT_CHECK(pid >= 0, "fork: %s", strerror(errno));
		if (!pid) {
			begin(&c, &kept, 1 + i);
			open_all(&kept);
			for (;;)
				go(&c, nr_calls);
		}
		life.tv_nsec = (1 + random_below(&c, 40)) * 1000 * 1000;
		nanosleep(&life, NULL);
		XT_CHECK(!kill(pid, SIGKILL), "kill: %s", strerror(errno));
		XT_CHECK(waitpid(pid, &status, 0) == pid, "wait: %s",
			 strerror(errno));
		XT_CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL,
			 "it ended by itself: %#x", status);
	}
	end(&c);
	all_is_well();
}

static uint64_t alloc_one(int fd, uint32_t *ref)
{
	struct ioctl_gntalloc_alloc_gref arg = { .count = 1 };

	arg.domid = xt_own_domid();
	arg.flags = GNTALLOC_FLAG_WRITABLE;
	XT_CHECK(!ioctl(fd, IOCTL_GNTALLOC_ALLOC_GREF, &arg), "allocate: %s",
		 strerror(errno));
	*ref = arg.gref_ids[0];

	return arg.index;
}

static void *map_some(int fd, uint64_t index, uint32_t nr)
{
	void *mem = mmap(NULL, nr * xt_page_size(), PROT_READ | PROT_WRITE,
			 MAP_SHARED, fd, index);

	XT_CHECK(mem != MAP_FAILED, "map: %s", strerror(errno));
	return mem;
}

/*
 * What random calls have found, each by itself
 *
 * The page between the two lost a user each time.
 */
static void two_allocations_in_a_mapping(void)
{
	struct xt_grants grants = { .nr_pages = 1 };
	uint64_t first, others;
	int own, other, ret;
	void *mem, *found;
	uint32_t refs[2];

	own = open_one(3);
	other = open_one(3);
	XT_CHECK(own >= 0 && other >= 0, "gntalloc: %s", strerror(errno));
	first = alloc_one(own, &refs[0]);
	others = alloc_one(other, &refs[1]);
	alloc_one(own, &refs[0]);

	mem = map_some(other, others, 1);
	memcpy(mem, "another's", 10);
	munmap(map_some(own, first, 2), 2 * xt_page_size());
	munmap(mem, xt_page_size());

	/* It is still granted, as its owner has never given it up. */
	grants.domid = xt_own_domid();
	grants.refs = &refs[1];
	ret = xt_gntdev_mmap(xt_gntdev_open(), &grants, false, &found);
	XT_CHECK(!ret, "map the grant of another file: %s", strerror(-ret));
	XT_CHECK(!memcmp(found, "another's", 10), "data differs");
}

static void *map_request(uint32_t nr, const uint32_t *refs)
{
	struct ioctl_gntdev_map_grant_ref *arg;
	uint32_t i;

	arg = calloc(1, sizeof(*arg) + nr * sizeof(arg->refs[0]));
	XT_CHECK(arg, "no memory");
	arg->count = nr;
	for (i = 0; i < nr; i++) {
		arg->refs[i].domid = xt_own_domid();
		arg->refs[i].ref = refs[i];
	}

	return arg;
}

/* Maps two pages after asking that a byte of the second be cleared in the end. */
static void clear_in_second(uint32_t *refs, uint64_t offset, int prot,
			    bool is_mapped)
{
	struct ioctl_gntdev_map_grant_ref *arg = map_request(2, refs);
	struct ioctl_gntdev_unmap_notify notify = {
		.action = UNMAP_NOTIFY_CLEAR_BYTE,
	};
	int fd = xt_gntdev_open();
	void *mem;

	XT_CHECK(!ioctl(fd, IOCTL_GNTDEV_MAP_GRANT_REF, arg), "map: %s",
		 strerror(errno));
	notify.index = arg->index + xt_page_size() + offset;
	XT_CHECK(!ioctl(fd, IOCTL_GNTDEV_SET_UNMAP_NOTIFY, &notify),
		 "notify: %s", strerror(errno));
	mem = mmap(NULL, 2 * xt_page_size(), prot, MAP_SHARED, fd, arg->index);
	XT_CHECK((mem != MAP_FAILED) == is_mapped, "mapped: %s",
		 strerror(errno));
	if (mem != MAP_FAILED)
		munmap(mem, 2 * xt_page_size());
	close(fd);
}

static void byte_to_clear(void)
{
	struct xt_grants grants;
	uint32_t refs[2];
	uint8_t *byte;
	int ret;

	ret = xt_grants_new(&grants, 2, true);
	XT_CHECK(!ret, "grant: %s", strerror(-ret));
	byte = grants.mem + xt_page_size() + 5;
	*byte = 0x5a;

	/* Once with nothing in place of the page, and once read-only. */
	refs[0] = grants.refs[0];
	refs[1] = 0x7ffffff;
	clear_in_second(refs, 5, PROT_READ | PROT_WRITE, false);
	refs[1] = grants.refs[1];
	clear_in_second(refs, 5, PROT_READ, true);
	XT_CHECK(*byte == 0x5a, "a read-only page was written to");

	/* All of a page is mapped only if that is no larger than a grant. */
	if (xt_page_size() > XT_GRANT_SIZE)
		clear_in_second(refs, XT_GRANT_SIZE + 5,
				PROT_READ | PROT_WRITE, true);
	XT_CHECK(*byte == 0x5a, "another byte was cleared");

	clear_in_second(refs, 5, PROT_READ | PROT_WRITE, true);
	XT_CHECK(!*byte, "the byte is %#x", *byte);
}

static void dmabuf_is_not_unmapped(void)
{
	struct ioctl_gntdev_unmap_grant_ref unmap = { .count = 4 };
	struct xt_grants grants;
	int fd, buf, ret;

	ret = xt_grants_new(&grants, 4, true);
	XT_CHECK(!ret, "grant: %s", strerror(-ret));
	fd = xt_gntdev_open();
	buf = xt_dmabuf_new(fd, &grants, 0);
	XT_CHECK(buf >= 0, "dma-buf: %s", strerror(-buf));
	ret = ioctl(fd, IOCTL_GNTDEV_UNMAP_GRANT_REF, &unmap);
	XT_CHECK(ret < 0 && errno == ENOENT, "unmap: %d", ret);
}

static void own_dmabuf_is_not_imported(void)
{
	struct xt_grants grants;
	uint32_t refs[4];
	int fd, buf, ret;

	ret = xt_grants_new(&grants, 4, true);
	XT_CHECK(!ret, "grant: %s", strerror(-ret));
	fd = xt_gntdev_open();
	buf = xt_dmabuf_new(fd, &grants, 0);
	XT_CHECK(buf >= 0, "dma-buf: %s", strerror(-buf));
	ret = xt_dmabuf_import(fd, buf, xt_own_domid(), 4, refs);
	XT_CHECK(ret == -EINVAL, "import: %d", ret);
}

/* More than any grant table has references for, unless it is a large one. */
static void too_many_references(void)
{
	struct ioctl_gntalloc_alloc_gref *arg;
	const uint32_t too_many = 60000;
	uint32_t ref;
	int fd, ret;

	if (xt_free_kib() / 4 < 2 * too_many * (long)(xt_page_size() / 4096))
		xt_skip("too little memory");
	xt_set_param("xen_gntalloc", "limit", "65536");
	fd = open_one(3);
	arg = calloc(1, sizeof(*arg) + too_many * sizeof(ref));
	XT_CHECK(arg, "no memory");
	arg->domid = xt_own_domid();
	arg->count = too_many;
	ret = ioctl(fd, IOCTL_GNTALLOC_ALLOC_GREF, arg);
	XT_CHECK(ret < 0 && errno == ENOSPC, "allocate %u: %d", too_many, ret);
	alloc_one(fd, &ref);
}

/* Which regions there are makes no difference to random calls. */
#define LAYOUT "default"

static const struct xt_test tests[] = {
	{ "a mapping of two allocations leaves that of another file alone",
	  two_allocations_in_a_mapping },
	{ "a byte to be cleared at unmap is let be in a page that is not writable",
	  byte_to_clear },
	{ "the grants of a dma-buf cannot be unmapped by themselves",
	  dmabuf_is_not_unmapped },
	{ "a dma-buf of gntdev cannot be imported by gntdev",
	  own_dmabuf_is_not_imported },
	{ "more grants than there are can be asked for without any harm",
	  too_many_references },
	{ "random calls of gntdev and gntalloc leave nothing behind",
	  one_after_the_other, LAYOUT },
	{ "random calls by threads that share all leave nothing behind",
	  at_once, LAYOUT },
	{ "processes killed in the midst of random calls leave nothing behind",
	  killed, LAYOUT },
};

int main(int argc, char **argv)
{
	if (argc > 1)
		seed = strtoull(argv[1], NULL, 0);

	return xt_main(tests, ARRAY_SIZE(tests));
}
