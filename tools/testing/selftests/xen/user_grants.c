// SPDX-License-Identifier: GPL-2.0
/*
 * What befalls programs that share windows by /dev/xen/gntalloc and
 * /dev/xen/gntdev: one lets go before the other, all grants are in use, some
 * cannot be mapped, both are killed.  Each has cost users of Qubes OS memory,
 * windows, or a flood of warnings.
 */

#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "xen_test.h"
#include "test_modules/test_xen_grant_dma.h"

typedef uint16_t domid_t;
typedef uint32_t grant_ref_t;
#include <xen/gntalloc.h>

#define NR		64	/* pages of a window */
#define WINDOWS		100
#define MAX_FDS		512
#define LIVES		20
#define NO_REF		0xfffff0	/* beyond any table */
/* A table of 64 frames has 32,768 grants, of a page each. */
#define ENOUGH_KIB	(256 * 1024)
#define ANY		"default none"

static int devices = -1;

static int free_refs(void)
{
	int refs = ioctl(devices, XGD_IOC_FREE_REFS, 0);

	XT_CHECK(refs >= 0, "count references: %s", strerror(errno));
	return refs;
}

/* The kernel looks once a second which pages the other side has let go of. */
static void wait_for_refs(int wanted)
{
	int i, refs;

	for (i = 0; i < 100; i++) {
		refs = free_refs();
		if (refs >= wanted)
			return;
		usleep(100 * 1000);
	}
	xt_fail(__func__, __LINE__, "%d references are free, not %d", refs,
		wanted);
}

static void prepare(void)
{
	xt_load_module();
	xt_load(XGD_DEVICE);
	devices = open("/dev/" XGD_DEVICE, O_RDWR | O_CLOEXEC);
	if (devices < 0)
		ksft_exit_skip("no /dev/" XGD_DEVICE ": %s\n", strerror(errno));
	/* By default it frees ten each time. */
	xt_set_param("grant_table", "free_per_iteration", "0");
}

static void new_grants(struct xt_grants *grants, uint32_t nr_pages)
{
	int ret = xt_grants_new(grants, nr_pages, true);

	XT_CHECK(!ret, "grant: %s", strerror(-ret));
	memset(grants->mem, 0x3c, nr_pages * xt_page_size());
}

static uint8_t *map_grants(int fd, const struct xt_grants *grants)
{
	void *mem;
	int ret;

	ret = xt_gntdev_mmap(fd, grants, true, &mem);
	XT_CHECK(!ret, "map: %s", strerror(-ret));
	return mem;
}

static void unmap_grants(int fd, uint8_t *mem)
{
	int ret = xt_gntdev_munmap(fd, 0, NR, mem);

	XT_CHECK(!ret, "unmap: %s", strerror(-ret));
}

static int open_gntdev(void)
{
	int fd = xt_gntdev_open();

	XT_CHECK(fd >= 0, "gntdev: %s", strerror(-fd));
	return fd;
}

/* A window is resized: its memory goes while the display has it mapped. */
static void frontend_lets_go_first(void)
{
	long allowed = WINDOWS * NR * xt_page_size() / 1024 / 20;
	long before_kib = 0, lost;
	int fd, i, before;
	struct xt_grants grants;
	uint8_t *mem;

	fd = open_gntdev();
	before = free_refs();
	/* What is allocated only once is there from the second window on. */
	for (i = 0; i <= WINDOWS; i++) {
		if (i == 1) {
			xt_free_kib();
			before_kib = xt_free_kib() + xt_memmap_kib();
		}
		new_grants(&grants, NR);
		mem = map_grants(fd, &grants);
		xt_grants_end(&grants);
		XT_CHECK(mem[0] == 0x3c && mem[(NR - 1) * xt_page_size()] == 0x3c,
			 "the memory went before it was unmapped");
		unmap_grants(fd, mem);
	}
	wait_for_refs(before);
	/*
	 * Without address space the pages are of the balloon, which waits for up
	 * to 32 seconds before it tries again.
	 */
	for (i = 0; i < 400; i++) {
		lost = before_kib - xt_free_kib() - xt_memmap_kib();
		if (lost < allowed)
			break;
		usleep(100 * 1000);
	}
	ksft_print_msg("%d windows came and went, %ld KiB less are free\n",
		       WINDOWS, lost);
	XT_CHECK(lost < allowed, "%ld KiB are lost", lost);
}

/* Grants that nobody maps, for as long as the descriptor is open */
static int take_grants(uint32_t nr)
{
	struct ioctl_gntalloc_alloc_gref *arg;
	int fd, ret = 0;

	fd = open("/dev/xen/gntalloc", O_RDWR | O_CLOEXEC);
	XT_CHECK(fd >= 0, "gntalloc: %s", strerror(errno));
	arg = calloc(1, sizeof(*arg) + nr * sizeof(arg->gref_ids[0]));
	XT_CHECK(arg, "no memory");
	arg->domid = xt_own_domid();
	arg->count = nr;
	if (ioctl(fd, IOCTL_GNTALLOC_ALLOC_GREF, arg))
		ret = -errno;
	free(arg);
	if (ret)
		close(fd);

	return ret ?: fd;
}

/* Takes all grants that there are; returns how many descriptors have them. */
static int take_all(int *fds)
{
	static const uint32_t sizes[] = { 1024, 32, 1 };
	int nr = 0, ret;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		while ((ret = take_grants(sizes[i])) >= 0) {
			XT_CHECK(nr < MAX_FDS, "there is no end of them");
			fds[nr++] = ret;
		}
		XT_CHECK(ret == -ENOSPC, "%u more: %s", sizes[i],
			 strerror(-ret));
	}

	return nr;
}

/* The next one gets an error, and those that have grants lose nothing. */
static void grants_run_out(void)
{
	int fds[MAX_FDS], fd, before, nr;
	struct xt_grants window;
	uint8_t *mem;

	if (xt_page_size() > XT_GRANT_SIZE)
		xt_skip("each grant takes %zu bytes of memory", xt_page_size());
	if (xt_meminfo("MemAvailable") < ENOUGH_KIB)
		xt_skip("there is no memory for as many");
	before = free_refs();
	fd = open_gntdev();
	new_grants(&window, NR);
	nr = take_all(fds);
	XT_CHECK(nr, "there was none");

	mem = map_grants(fd, &window);
	XT_CHECK(mem[5] == 0x3c, "the window's data is gone");
	unmap_grants(fd, mem);

	while (nr)
		close(fds[--nr]);
	xt_grants_end(&window);
	wait_for_refs(before);
}

/* The program gets an error, and the kernel has no warning to print. */
static void some_cannot_be_mapped(void)
{
	static const int wrong[] = { 0, 1, NR / 2, NR - 1 };
	struct xt_grants window;
	uint8_t *mem;
	int fd, ret;
	size_t i;

	fd = open_gntdev();
	new_grants(&window, NR);
	for (i = 0; i < ARRAY_SIZE(wrong); i++) {
		uint32_t ref = window.refs[wrong[i]];

		window.refs[wrong[i]] = NO_REF;
		ret = xt_gntdev_mmap(fd, &window, true, (void **)&mem);
		XT_CHECK(ret == -EINVAL || ret == -ENOENT,
			 "without grant %d: %s", wrong[i], strerror(-ret));
		window.refs[wrong[i]] = ref;
	}
	mem = map_grants(fd, &window);
	XT_CHECK(mem[5] == 0x3c, "the window's data is gone");
	unmap_grants(fd, mem);
}

static pid_t child(void (*run)(int pipe), int pipe)
{
	pid_t pid = fork();

	XT_CHECK(pid >= 0, "fork: %s", strerror(errno));
	if (!pid) {
		run(pipe);
		for (;;)
			pause();
	}

	return pid;
}

static void show_window(int pipe)
{
	struct xt_grants window;

	new_grants(&window, NR);
	if (write(pipe, window.refs, NR * sizeof(*window.refs)) < 0)
		_exit(1);
}

static void display_window(int pipe)
{
	uint32_t refs[NR];
	struct xt_grants window = {
		.domid = xt_own_domid(), .nr_pages = NR, .refs = refs,
	};
	void *mem;

	if (read(pipe, refs, sizeof(refs)) != sizeof(refs))
		_exit(1);
	/* They may be gone already. */
	if (!xt_gntdev_mmap(open_gntdev(), &window, true, &mem))
		memset(mem, 0x5a, XT_GRANT_SIZE);
}

static void end_child(pid_t pid)
{
	XT_CHECK(!kill(pid, SIGKILL), "kill: %s", strerror(errno));
	XT_CHECK(waitpid(pid, NULL, 0) == pid, "wait: %s", strerror(errno));
}

static void both_are_killed(void)
{
	int i, pipes[2], before = free_refs();
	pid_t frontend, backend;

	for (i = 0; i < LIVES; i++) {
		XT_CHECK(!pipe(pipes), "pipe: %s", strerror(errno));
		frontend = child(show_window, pipes[1]);
		backend = child(display_window, pipes[0]);
		/* Before, while and after they have the window. */
		usleep(i * 2000);
		end_child(i % 2 ? frontend : backend);
		end_child(i % 2 ? backend : frontend);
		close(pipes[0]);
		close(pipes[1]);
	}
	wait_for_refs(before);
}

static const struct xt_test tests[] = {
	{ "memory comes back that its owner let go of first",
	  frontend_lets_go_first, ANY },
	{ "grants can run out, and come back", grants_run_out, ANY },
	{ "a window of which a part cannot be mapped is refused in silence",
	  some_cannot_be_mapped, ANY },
	{ "windows whose programs are killed leave nothing behind",
	  both_are_killed, ANY },
};

int main(void)
{
	static const struct xt_part part = {
		.name = "grants of user space", .is_rust = xt_is_rust,
		.prepare = prepare,
	};

	return xt_main_part(&part, tests, ARRAY_SIZE(tests));
}
