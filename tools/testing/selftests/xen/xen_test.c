// SPDX-License-Identifier: GPL-2.0
/*
 * What the Xen selftests share.
 */

#include <endian.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

#include "xen_test.h"

/* What the uapi headers of Xen use and do not define. */
typedef uint16_t domid_t;
typedef uint32_t grant_ref_t;
#include <xen/gntalloc.h>
#include <xen/gntdev.h>
#include <linux/udmabuf.h>

#define POOL_DIR	"/sys/hypervisor/unpopulated/"
#define CONSOLE_SIZE	(64 * 1024)
#define TEST_SECONDS	240

size_t xt_page_size(void)
{
	return sysconf(_SC_PAGESIZE);
}

uint32_t xt_pages_in(uint64_t bytes)
{
	return bytes > xt_page_size() ? bytes / xt_page_size() : 1;
}

uint64_t xt_growth_step(void)
{
	const uint64_t subsection = 2UL << 20;
	uint64_t page = xt_page_size() / 64 * xt_page_size();

	return page > subsection ? page : subsection;
}

uint64_t xt_section_size(void)
{
	return (xt_page_size() > 16384 ? 512ULL : 128ULL) << 20;
}

int xt_read_file(const char *path, char *buf, size_t size)
{
	size_t len = 0;
	ssize_t ret;
	int fd;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	while (len < size - 1) {
		ret = read(fd, buf + len, size - 1 - len);
		if (ret < 0) {
			ret = -errno;
			close(fd);
			return ret;
		}
		if (!ret)
			break;
		len += ret;
	}
	close(fd);
	buf[len] = '\0';

	return len;
}

int xt_write_file(const char *path, const char *text)
{
	ssize_t ret;
	int fd;

	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	ret = write(fd, text, strlen(text));
	ret = ret < 0 ? -errno : 0;
	close(fd);

	return ret;
}

static long read_number(const char *path)
{
	char buf[64];

	if (xt_read_file(path, buf, sizeof(buf)) < 0)
		return -1;

	return strtol(buf, NULL, 0);
}

void xt_expect_splat(const char *substring)
{
	char line[256];

	if (xt_boot_param("xentest.unannounced"))
		return;
	/* What was printed is on its way, in the midst of which this would come. */
	fflush(stdout);
	usleep(300 * 1000);
	snprintf(line, sizeof(line), "# expect-splat: %s\n", substring);
	xt_write_file("/dev/kmsg", line);
}

static bool is_xen(void)
{
	char buf[16];

	return xt_read_file("/sys/hypervisor/type", buf, sizeof(buf)) > 0 &&
	       !strncmp(buf, "xen", 3);
}

bool xt_is_dom0(void)
{
	const unsigned long dom0 = 1UL << 11;	/* XENFEAT_dom0 */
	char buf[64];

	if (xt_read_file("/sys/hypervisor/properties/features", buf,
			 sizeof(buf)) < 0)
		return false;

	return strtoul(buf, NULL, 16) & dom0;
}

bool xt_is_rust(void)
{
	return !access(POOL_DIR "total", F_OK);
}

bool xt_is_rust_dma(void)
{
	return !access("/sys/module/xen_grant_dma_alloc/parameters/source",
		       F_OK);
}

bool xt_is_rust_ops(void)
{
	return !access(XT_ISOLATE, F_OK);
}

const char *xt_boot_param(const char *name)
{
	static char line[4096];
	char *word, *rest = line;
	const char *value = NULL;

	if (xt_read_file("/proc/cmdline", line, sizeof(line)) < 0)
		return NULL;
	/* The last counts, as with the parameters of the kernel. */
	while ((word = strsep(&rest, "\n ")))
		if (!strncmp(word, name, strlen(name)) &&
		    word[strlen(name)] == '=')
			value = word + strlen(name) + 1;

	return value;
}

bool xt_layout_is(const char *names)
{
	const char *layout = xt_boot_param("xentest.layout");
	size_t len;

	if (!layout)
		layout = "default";
	len = strlen(layout);
	while (names && *names) {
		names += strspn(names, " ");
		if (strcspn(names, " ") == len && !strncmp(names, layout, len))
			return true;
		names += strcspn(names, " ");
	}

	return false;
}

int xt_own_domid(void)
{
	static int domid = -ENOENT;
	const char *value;

	/* It does not change, and where allocations fail it cannot be read. */
	if (domid >= 0)
		return domid;
	value = xt_boot_param("xentest.domid");
	if (value)
		domid = atoi(value);
	else if (xt_is_dom0())
		domid = 0;

	return domid;
}

int xt_online_cpus(void)
{
	return sysconf(_SC_NPROCESSORS_ONLN);
}

long xt_stat(const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), POOL_DIR "%s", name);
	return read_number(path);
}

/* The pool may give a chunk back, or grow, between two readings. */
long xt_pages_out(void)
{
	long total, free;

	do {
		total = xt_stat("total");
		free = xt_stat("free");
	} while (total != xt_stat("total"));

	return total - free;
}

int xt_set_param(const char *module, const char *name, const char *value)
{
	char path[128];

	snprintf(path, sizeof(path), "/sys/module/%s/parameters/%s", module,
		 name);
	return xt_write_file(path, value);
}

bool xt_wait_stat(const char *name, long value, int seconds)
{
	time_t end = time(NULL) + seconds;

	while (xt_stat(name) != value) {
		if (time(NULL) >= end)
			return false;
		usleep(100 * 1000);
	}

	return true;
}

long xt_meminfo(const char *name)
{
	char buf[8192], *line, *rest = buf;
	size_t len = strlen(name);

	if (xt_read_file("/proc/meminfo", buf, sizeof(buf)) < 0)
		return -1;
	while ((line = strsep(&rest, "\n")))
		if (!strncmp(line, name, len) && line[len] == ':')
			return atol(line + len + 1);

	return -1;
}

/*
 * Pages on the per-CPU lists are free, but MemFree counts them as used.
 * Nothing in user space empties those lists for certain, so add what is on
 * them.  Each CPU also keeps back a part of the counters, which stat_refresh
 * makes it hand in.
 */
long xt_free_kib(void)
{
	static char buf[64 * 1024];
	long free, pages = 0;
	char *line, *rest = buf;
	bool in_cpu = false;

	if (xt_read_file("/proc/sys/vm/stat_refresh", buf, sizeof(buf)) < 0 ||
	    xt_read_file("/proc/zoneinfo", buf, sizeof(buf)) < 0)
		return -1;
	while ((line = strsep(&rest, "\n"))) {
		long count;

		if (strstr(line, " cpu: "))
			in_cpu = true;
		else if (in_cpu && sscanf(line, " count: %ld", &count) == 1)
			pages += count;
		else if (!strncmp(line, "Node ", 5))
			in_cpu = false;
	}
	free = xt_meminfo("MemFree");
	if (free < 0)
		return -1;

	return free + pages * (long)(xt_page_size() / 1024);
}

int xt_iomem(const char *name, struct xt_range *ranges, int max)
{
	static char buf[64 * 1024];
	char *line, *rest = buf;
	int nr = 0;

	if (xt_read_file("/proc/iomem", buf, sizeof(buf)) < 0)
		return -1;
	while ((line = strsep(&rest, "\n")) && nr < max) {
		unsigned long long start, end;
		char *colon = strstr(line, " : ");

		if (!colon || strcmp(colon + 3, name))
			continue;
		if (sscanf(line, " %llx-%llx", &start, &end) != 2)
			continue;
		ranges[nr].start = start;
		ranges[nr++].end = end;
	}

	return nr;
}

long xt_memmap_kib(void)
{
	static struct xt_range ranges[XT_MAX_RANGES];
	int i, nr = xt_iomem("System RAM", ranges, XT_MAX_RANGES);
	uint64_t pages = 0;

	for (i = 0; i < nr; i++)
		pages += (ranges[i].end + 1 - ranges[i].start) / xt_page_size();

	return pages * 64 / 1024;
}

int xt_extended_regions(struct xt_range *ranges, int max)
{
	const char *path = "/sys/firmware/devicetree/base/hypervisor/reg";
	uint8_t buf[4096];
	uint64_t cell[2];
	int len, at, i, nr = 0;

	len = xt_read_file(path, (char *)buf, sizeof(buf));
	if (len < 0)
		return len;
	/* Pairs of 64 bits, big-endian; the first is for the grant table. */
	for (at = 16; at + 16 <= len && nr < max; at += 16) {
		memcpy(cell, buf + at, sizeof(cell));
		for (i = 0; i < 2; i++)
			cell[i] = be64toh(cell[i]);
		ranges[nr].start = cell[0];
		ranges[nr++].end = cell[0] + cell[1] - 1;
	}

	return nr;
}

/*
 * Hypercalls.  What Xen is given here belongs to its interface for tools,
 * which changes with its releases; this is the one of 4.20.
 */
struct privcmd_call {
	uint64_t op;
	uint64_t arg[5];
};

#define PRIVCMD_CALL	_IOC(_IOC_NONE, 'P', 0, sizeof(struct privcmd_call))

#define HYPERVISOR_memory_op		12
#define HYPERVISOR_grant_table_op	20
#define HYPERVISOR_sysctl		35
#define HYPERVISOR_domctl		36

#define SYSCTL_VERSION		0x15
#define SYSCTL_readconsole	1
#define SYSCTL_perfc_op		5
#define SYSCTL_debug_keys	7

struct sysctl {
	uint32_t cmd;
	uint32_t version;
	union {
		struct {
			uint8_t clear;
			uint8_t incremental;
			uint16_t pad;
			uint32_t index;
			uint64_t buffer;
			uint32_t count;
		} readconsole;
		struct {
			uint32_t cmd;
			uint32_t nr_counters;
			uint32_t nr_vals;
			uint32_t pad;
			uint64_t desc;
			uint64_t val;
		} perfc;
		struct {
			uint64_t keys;
			uint32_t nr_keys;
		} debug_keys;
		uint8_t space[128];
	};
};

struct perfc_desc {
	char name[80];
	uint32_t nr_vals;
};

#define DOMCTL_VERSION		0x17
#define DOMCTL_destroydomain	2

struct domctl {
	uint32_t cmd;
	uint32_t version;
	uint16_t domid;
	uint16_t pad[3];
	uint8_t space[128];
};

#define PERFC_query		2
#define PERFC_MAX_COUNTERS	256
#define PERFC_MAX_VALS		1024

/* What Xen reads and writes: it does not bring in pages that are missing. */
struct xen_buffer {
	struct sysctl sysctl;
	struct domctl domctl;
	char key[8];
	union {
		char console[CONSOLE_SIZE];
		struct {
			struct perfc_desc desc[PERFC_MAX_COUNTERS];
			uint32_t val[PERFC_MAX_VALS];
		};
	};
};

static struct xen_buffer *xen_buffer;
static int privcmd = -1;

static int xen_open(void)
{
	if (xen_buffer)
		return 0;

	/* In a domU without a xenstore the open would wait forever. */
	if (!xt_is_dom0())
		return -EPERM;
	if (privcmd < 0)
		privcmd = open("/dev/xen/privcmd", O_RDWR | O_CLOEXEC);
	if (privcmd < 0)
		return -errno;
	xen_buffer = mmap(NULL, sizeof(*xen_buffer), PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED |
			  MAP_POPULATE, -1, 0);
	if (xen_buffer == MAP_FAILED) {
		xen_buffer = NULL;
		return -ENOMEM;
	}
	/* A child that is forked must not make them copy-on-write. */
	madvise(xen_buffer, sizeof(*xen_buffer), MADV_DONTFORK);
	memset(xen_buffer, 0, sizeof(*xen_buffer));

	return 0;
}

static int xen_sysctl(uint32_t cmd)
{
	struct privcmd_call call = {
		.op = HYPERVISOR_sysctl,
		.arg[0] = (uintptr_t)&xen_buffer->sysctl,
	};

	xen_buffer->sysctl.cmd = cmd;
	xen_buffer->sysctl.version = SYSCTL_VERSION;

	return ioctl(privcmd, PRIVCMD_CALL, &call) < 0 ? -errno : 0;
}

static int xen_read_console(void)
{
	struct sysctl *sysctl = &xen_buffer->sysctl;
	int ret;

	memset(sysctl, 0, sizeof(*sysctl));
	sysctl->readconsole.clear = 1;
	sysctl->readconsole.buffer = (uintptr_t)xen_buffer->console;
	sysctl->readconsole.count = CONSOLE_SIZE - 1;
	ret = xen_sysctl(SYSCTL_readconsole);
	if (ret)
		return ret;
	xen_buffer->console[sysctl->readconsole.count] = '\0';

	return 0;
}

/*
 * Let lines that are on their way to the console get there whole, before Xen
 * prints its own: through the pipe to whoever prefixes them, and the terminal.
 */
static void settle_console(void)
{
	int console, tries, idle = 0, in_pipe, in_tty;

	fflush(stdout);
	console = open("/dev/console", O_WRONLY | O_NOCTTY | O_CLOEXEC);
	for (tries = 0; tries < 100 && idle < 3; tries++) {
		usleep(5 * 1000);
		if (ioctl(STDOUT_FILENO, FIONREAD, &in_pipe))
			in_pipe = 0;
		if (console < 0 || ioctl(console, TIOCOUTQ, &in_tty))
			in_tty = 0;
		idle = in_pipe || in_tty ? 0 : idle + 1;
	}
	if (console >= 0)
		close(console);
}

/* Presses a debug key and leaves what Xen says in xen_buffer->console. */
static int xen_key(char key)
{
	struct sysctl *sysctl;
	int ret;

	ret = xen_open();
	if (ret)
		return ret;

	settle_console();
	ret = xen_read_console();
	if (ret)
		return ret;

	sysctl = &xen_buffer->sysctl;
	memset(sysctl, 0, sizeof(*sysctl));
	xen_buffer->key[0] = key;
	sysctl->debug_keys.keys = (uintptr_t)xen_buffer->key;
	sysctl->debug_keys.nr_keys = 1;
	ret = xen_sysctl(SYSCTL_debug_keys);
	if (ret)
		return ret;

	return xen_read_console();
}

#define CPU_PATH	"/sys/devices/system/cpu/cpu%d/online"

int xt_set_cpu(int cpu, bool online)
{
	char path[64];

	snprintf(path, sizeof(path), CPU_PATH, cpu);
	return xt_write_file(path, online ? "1" : "0");
}

static int set_cpus(bool online, uint64_t *cpus)
{
	char path[64];
	int cpu, ret;

	for (cpu = 1; cpu < 64; cpu++) {
		snprintf(path, sizeof(path), CPU_PATH, cpu);
		if (!online && read_number(path) != 1)
			continue;
		if (online && !(*cpus & (1ULL << cpu)))
			continue;
		ret = xt_set_cpu(cpu, online);
		if (ret)
			return ret;
		*cpus ^= 1ULL << cpu;
	}

	return 0;
}

/* Leaves what Xen says of all domains in xen_buffer->console. */
static int xen_key_q(void)
{
	uint64_t cpus = 0;
	int ret, err;

	/*
	 * For this key Xen walks the lists of pending interrupts of all
	 * virtual CPUs without locks, and may never come to an end of them
	 * when another one runs: let there be one alone.
	 */
	ret = set_cpus(false, &cpus);
	if (!ret)
		ret = xen_key('q');
	err = set_cpus(true, &cpus);

	return ret ?: err;
}

long xt_domain_pages(int domid)
{
	const char *domain;
	char head[64];
	long pages;
	int ret;

	ret = xen_key_q();
	if (ret)
		return ret;
	snprintf(head, sizeof(head), "General information for domain %d:",
		 domid);
	domain = strstr(xen_buffer->console, head);
	if (!domain)
		return 0;
	domain = strstr(domain, "nr_pages=");
	if (!domain || sscanf(domain, "nr_pages=%ld", &pages) != 1)
		return -ENODATA;

	return pages;
}

int xt_key_p2m(struct xt_p2m *p2m)
{
	return xt_key_p2m_of(xt_own_domid(), p2m);
}

int xt_key_p2m_of(int domid, struct xt_p2m *p2m)
{
	const char *own, *next, *l2, *l3;
	char head[64];
	int ret;

	ret = xen_key_q();
	if (ret)
		return ret;

	snprintf(head, sizeof(head), "p2m mappings for domain %d ", domid);
	own = strstr(xen_buffer->console, head);
	if (!own)
		return -ENODATA;
	next = strstr(own + 1, "p2m mappings for domain ");
	l2 = strstr(own, "2M mappings:");
	l3 = strstr(own, "4K mappings:");
	if (!l2 || !l3 || (next && l3 > next))
		return -ENODATA;
	if (sscanf(l2, "2M mappings: %ld (shattered %ld)", &p2m->mappings_2m,
		   &p2m->shattered_2m) != 2 ||
	    sscanf(l3, "4K mappings: %ld", &p2m->mappings_4k) != 1)
		return -ENODATA;

	return 0;
}

int xt_active_grants(void)
{
	const char *at;
	int ret, nr = 0;

	ret = xen_key('g');
	if (ret)
		return ret;
	/* Without this the handler did not run, or its output was cut. */
	at = strstr(xen_buffer->console, "gnttab_usage_print_all ] done");
	if (!at)
		return -ENODATA;
	for (at = xen_buffer->console; (at = strstr(at, "[0x")); at++)
		nr++;

	return nr;
}

long xt_memory_hypercalls(void)
{
	struct sysctl *sysctl;
	uint32_t i, at = 0;
	int ret;

	ret = xen_open();
	if (ret)
		return ret;

	sysctl = &xen_buffer->sysctl;
	memset(sysctl, 0, sizeof(*sysctl));
	sysctl->perfc.cmd = PERFC_query;
	ret = xen_sysctl(SYSCTL_perfc_op);
	if (ret)
		return ret;
	if (sysctl->perfc.nr_counters > PERFC_MAX_COUNTERS ||
	    sysctl->perfc.nr_vals > PERFC_MAX_VALS)
		return -E2BIG;

	sysctl->perfc.desc = (uintptr_t)xen_buffer->desc;
	sysctl->perfc.val = (uintptr_t)xen_buffer->val;
	ret = xen_sysctl(SYSCTL_perfc_op);
	if (ret)
		return ret;

	for (i = 0; i < sysctl->perfc.nr_counters; i++) {
		if (!strcmp(xen_buffer->desc[i].name, "hypercalls") &&
		    xen_buffer->desc[i].nr_vals > HYPERVISOR_grant_table_op)
			return (long)xen_buffer->val[at + HYPERVISOR_memory_op] +
			       xen_buffer->val[at + HYPERVISOR_grant_table_op];
		at += xen_buffer->desc[i].nr_vals;
	}

	return -ENODATA;
}

int xt_domain_destroy(int domid)
{
	struct privcmd_call call = { .op = HYPERVISOR_domctl };
	struct domctl *domctl;
	int ret;

	ret = xen_open();
	if (ret)
		return ret;

	domctl = &xen_buffer->domctl;
	memset(domctl, 0, sizeof(*domctl));
	domctl->cmd = DOMCTL_destroydomain;
	domctl->version = DOMCTL_VERSION;
	domctl->domid = domid;
	call.arg[0] = (uintptr_t)domctl;

	return ioctl(privcmd, PRIVCMD_CALL, &call) < 0 ? -errno : 0;
}

/* Grants */
int xt_grants_new(struct xt_grants *grants, uint32_t nr_pages, bool writable)
{
	int domid = xt_own_domid();

	if (domid < 0)
		xt_skip("in a domU say xentest.domid= on the command line");

	return xt_grants_new_for(grants, domid, nr_pages, writable);
}

int xt_grants_new_for(struct xt_grants *grants, uint32_t domid,
		      uint32_t nr_pages, bool writable)
{
	struct ioctl_gntalloc_alloc_gref *arg;
	size_t size;
	int ret;

	memset(grants, 0, sizeof(*grants));
	grants->fd = -1;
	grants->domid = xt_own_domid();

	size = offsetof(struct ioctl_gntalloc_alloc_gref, gref_ids) +
	       nr_pages * sizeof(arg->gref_ids[0]);
	arg = calloc(1, size < sizeof(*arg) ? sizeof(*arg) : size);
	grants->refs = calloc(nr_pages, sizeof(*grants->refs));
	if (!arg || !grants->refs) {
		ret = -ENOMEM;
		goto err;
	}

	/* Its default allows less than the largest buffer of the tests. */
	xt_set_param("xen_gntalloc", "limit", "65536");
	grants->fd = open("/dev/xen/gntalloc", O_RDWR | O_CLOEXEC);
	if (grants->fd < 0) {
		ret = -errno;
		goto err;
	}
	arg->domid = domid;
	arg->flags = writable ? GNTALLOC_FLAG_WRITABLE : 0;
	arg->count = nr_pages;
	if (ioctl(grants->fd, IOCTL_GNTALLOC_ALLOC_GREF, arg)) {
		ret = -errno;
		goto err;
	}
	grants->mem = mmap(NULL, nr_pages * xt_page_size(),
			   PROT_READ | PROT_WRITE, MAP_SHARED, grants->fd,
			   arg->index);
	if (grants->mem == MAP_FAILED) {
		ret = -errno;
		goto err;
	}
	memcpy(grants->refs, arg->gref_ids_flex,
	       nr_pages * sizeof(*grants->refs));
	grants->nr_pages = nr_pages;
	grants->index = arg->index;
	free(arg);

	return 0;

err:
	if (grants->fd >= 0)
		close(grants->fd);
	grants->fd = -1;
	free(grants->refs);
	free(arg);
	return ret;
}

void xt_grants_end(struct xt_grants *grants)
{
	if (grants->fd < 0)
		return;
	munmap(grants->mem, grants->nr_pages * xt_page_size());
	close(grants->fd);
	free(grants->refs);
	grants->fd = -1;
}

int xt_gntdev_open(void)
{
	int fd = open("/dev/xen/gntdev", O_RDWR | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

int xt_gntdev_mmap(int fd, const struct xt_grants *grants, bool writable,
		   void **mem)
{
	uint32_t i, nr = grants->nr_pages;
	struct ioctl_gntdev_map_grant_ref *arg;
	uint64_t index;

	arg = calloc(1, sizeof(*arg) + nr * sizeof(arg->refs[0]));
	if (!arg)
		return -ENOMEM;
	arg->count = nr;
	for (i = 0; i < nr; i++) {
		arg->refs[i].domid = grants->domid;
		arg->refs[i].ref = grants->refs[i];
	}
	if (ioctl(fd, IOCTL_GNTDEV_MAP_GRANT_REF, arg)) {
		free(arg);
		return -errno;
	}
	index = arg->index;
	free(arg);

	*mem = mmap(NULL, nr * xt_page_size(),
		    PROT_READ | (writable ? PROT_WRITE : 0), MAP_SHARED, fd,
		    index);
	if (*mem == MAP_FAILED) {
		int ret = -errno;

		xt_gntdev_munmap(fd, index, nr, NULL);
		return ret;
	}

	return 0;
}

int xt_gntdev_munmap(int fd, uint64_t index, uint32_t nr_pages, void *mem)
{
	struct ioctl_gntdev_get_offset_for_vaddr where = {
		.vaddr = (uintptr_t)mem,
	};
	struct ioctl_gntdev_unmap_grant_ref arg = {
		.index = index, .count = nr_pages,
	};

	if (mem) {
		if (ioctl(fd, IOCTL_GNTDEV_GET_OFFSET_FOR_VADDR, &where))
			return -errno;
		arg.index = where.offset;
		munmap(mem, nr_pages * xt_page_size());
	}

	return ioctl(fd, IOCTL_GNTDEV_UNMAP_GRANT_REF, &arg) ? -errno : 0;
}

int xt_dmabuf_new(int fd, const struct xt_grants *grants, uint32_t flags)
{
	struct ioctl_gntdev_dmabuf_exp_from_refs *arg;
	uint32_t nr = grants->nr_pages;
	int ret;

	arg = calloc(1, sizeof(*arg) + nr * sizeof(arg->refs[0]));
	if (!arg)
		return -ENOMEM;
	arg->flags = flags;
	arg->count = nr;
	arg->domid = grants->domid;
	memcpy(arg->refs, grants->refs, nr * sizeof(arg->refs[0]));
	ret = ioctl(fd, IOCTL_GNTDEV_DMABUF_EXP_FROM_REFS, arg);
	ret = ret ? -errno : (int)arg->fd;
	free(arg);

	return ret;
}

int xt_udmabuf_new(uint32_t nr_pages, void **mem)
{
	size_t size = nr_pages * xt_page_size();
	struct udmabuf_create arg = {
		.flags = UDMABUF_FLAGS_CLOEXEC, .size = size,
	};
	int memfd, fd, ret;

	fd = open("/dev/udmabuf", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	memfd = memfd_create("xen", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	arg.memfd = memfd;
	if (memfd < 0 || ftruncate(memfd, size) ||
	    fcntl(memfd, F_ADD_SEALS, F_SEAL_SHRINK)) {
		ret = -errno;
	} else {
		ret = ioctl(fd, UDMABUF_CREATE, &arg);
		if (ret < 0)
			ret = -errno;
	}
	if (ret >= 0 && mem) {
		*mem = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED,
			    memfd, 0);
		if (*mem == MAP_FAILED) {
			close(ret);
			ret = -ENOMEM;
		}
	}
	close(memfd);
	close(fd);

	return ret;
}

int xt_dmabuf_import(int fd, int dmabuf, uint32_t domid, uint32_t nr_pages,
		     uint32_t *refs)
{
	struct ioctl_gntdev_dmabuf_imp_to_refs *arg;
	int ret;

	arg = calloc(1, sizeof(*arg) + nr_pages * sizeof(arg->refs[0]));
	if (!arg)
		return -ENOMEM;
	arg->fd = dmabuf;
	arg->count = nr_pages;
	arg->domid = domid;
	ret = ioctl(fd, IOCTL_GNTDEV_DMABUF_IMP_TO_REFS, arg) ? -errno : 0;
	if (!ret)
		memcpy(refs, arg->refs, nr_pages * sizeof(refs[0]));
	free(arg);

	return ret;
}

int xt_dmabuf_release(int fd, int dmabuf)
{
	struct ioctl_gntdev_dmabuf_imp_release arg = { .fd = dmabuf };

	return ioctl(fd, IOCTL_GNTDEV_DMABUF_IMP_RELEASE, &arg) ? -errno : 0;
}

/* The module */
static int xt_ioctl(int fd, unsigned long cmd, unsigned long arg)
{
	return ioctl(fd, cmd, arg) < 0 ? -errno : 0;
}

void xt_load(const char *name)
{
	char device[64], command[256];

	snprintf(device, sizeof(device), "/dev/%s", name);
	if (!access(device, F_OK))
		return;
	snprintf(command, sizeof(command),
		 "insmod test_modules/%s.ko 2>/dev/null || modprobe -q %s",
		 name, name);
	if (system(command) == -1)
		ksft_perror("system");
}

void xt_load_module(void)
{
	xt_load(XUT_DEVICE);
}

int xt_open(void)
{
	int fd = open("/dev/" XUT_DEVICE, O_RDWR | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

int xt_new(int fd, uint32_t capacity)
{
	struct xut_new arg = { .capacity = capacity };

	return xt_ioctl(fd, XUT_IOC_NEW, (uintptr_t)&arg) ?: (int)arg.id;
}

int xt_delete(int fd, int run)
{
	return xt_ioctl(fd, XUT_IOC_DELETE, run);
}

int xt_alloc(int fd, int run, enum xut_kind kind, uint32_t nr_pages)
{
	struct xut_alloc arg = {
		.id = run, .kind = kind, .nr_pages = nr_pages,
		.align = 1, .max_addr = UINT64_MAX,
	};

	return xt_ioctl(fd, XUT_IOC_ALLOC, (uintptr_t)&arg);
}

int xt_alloc_run(int fd, int run, uint32_t nr_pages, uint32_t align,
		 uint64_t max_addr)
{
	struct xut_alloc arg = {
		.id = run, .kind = XUT_CONTIGUOUS, .nr_pages = nr_pages,
		.align = align, .max_addr = max_addr,
	};

	return xt_ioctl(fd, XUT_IOC_ALLOC, (uintptr_t)&arg);
}

int xt_new_alloc(int fd, enum xut_kind kind, uint32_t nr_pages)
{
	int ret, run = xt_new(fd, nr_pages);

	if (run < 0)
		return run;
	ret = xt_alloc(fd, run, kind, nr_pages);
	if (ret) {
		xt_delete(fd, run);
		return ret;
	}

	return run;
}

int xt_free(int fd, int run)
{
	return xt_ioctl(fd, XUT_IOC_FREE, run);
}

int xt_cycle(int fd, int run, enum xut_kind kind, uint32_t nr_pages,
	     uint32_t repeat)
{
	struct xut_alloc arg = {
		.id = run, .kind = kind, .nr_pages = nr_pages,
		.align = 1, .max_addr = UINT64_MAX, .repeat = repeat,
	};

	return xt_ioctl(fd, XUT_IOC_CYCLE, (uintptr_t)&arg);
}

int xt_free_run(int fd, int run, uint32_t first, uint32_t nr_pages,
		uint32_t flags)
{
	struct xut_range arg = {
		.id = run, .first = first, .nr_pages = nr_pages,
		.flags = flags,
	};

	return xt_ioctl(fd, XUT_IOC_FREE_RUN, (uintptr_t)&arg);
}

int xt_free_pages(int fd, const struct xut_ref *refs, uint32_t nr_pages,
		  uint32_t flags)
{
	struct xut_free_pages arg = {
		.nr_pages = nr_pages, .flags = flags, .refs = (uintptr_t)refs,
	};

	return xt_ioctl(fd, XUT_IOC_FREE_PAGES, (uintptr_t)&arg);
}

int xt_pages(int fd, int run, uint32_t first, uint32_t nr_pages,
	     struct xut_page *pages)
{
	struct xut_pages arg = {
		.range = { .id = run, .first = first, .nr_pages = nr_pages },
		.pages = (uintptr_t)pages,
	};

	return xt_ioctl(fd, XUT_IOC_PAGES, (uintptr_t)&arg);
}

int xt_hold(int fd, int run, uint32_t first, uint32_t nr_pages)
{
	struct xut_range arg = {
		.id = run, .first = first, .nr_pages = nr_pages,
	};

	return xt_ioctl(fd, XUT_IOC_HOLD, (uintptr_t)&arg);
}

int xt_release(int fd, int run, uint32_t first, uint32_t nr_pages)
{
	struct xut_range arg = {
		.id = run, .first = first, .nr_pages = nr_pages,
	};

	return xt_ioctl(fd, XUT_IOC_RELEASE, (uintptr_t)&arg);
}

int xt_map(int fd, int run, uint32_t first, uint32_t nr_pages,
	   const uint32_t *refs, uint32_t flags)
{
	struct xut_map arg = {
		.range = { .id = run, .first = first, .nr_pages = nr_pages },
		.domid = xt_own_domid(), .flags = flags,
		.refs = (uintptr_t)refs,
	};

	return xt_ioctl(fd, XUT_IOC_MAP, (uintptr_t)&arg);
}

int xt_unmap(int fd, int run, uint32_t first, uint32_t nr_pages)
{
	struct xut_range arg = {
		.id = run, .first = first, .nr_pages = nr_pages,
	};

	return xt_ioctl(fd, XUT_IOC_UNMAP, (uintptr_t)&arg);
}

int xt_copy_from(int fd, int run, uint64_t offset, void *buf, uint64_t len)
{
	struct xut_copy arg = {
		.id = run, .offset = offset, .len = len,
		.buf = (uintptr_t)buf,
	};

	return xt_ioctl(fd, XUT_IOC_COPY, (uintptr_t)&arg);
}

int xt_copy_to(int fd, int run, uint64_t offset, const void *buf, uint64_t len)
{
	struct xut_copy arg = {
		.id = run, .write = 1, .offset = offset, .len = len,
		.buf = (uintptr_t)buf,
	};

	return xt_ioctl(fd, XUT_IOC_COPY, (uintptr_t)&arg);
}

void xt_run_carries_data(int fd, int run, uint32_t nr_pages)
{
	const uint64_t seed = 0x9e3779b97f4a7c15ULL;
	size_t page_size = xt_page_size();
	struct xt_grants grants;
	uint64_t word;
	uint32_t i;
	int ret;

	ret = xt_grants_new(&grants, nr_pages, true);
	XT_CHECK(!ret, "grant %u pages: %s", nr_pages, strerror(-ret));
	for (i = 0; i < nr_pages; i++) {
		word = seed * (i + 1);
		memcpy(grants.mem + i * page_size + 8, &word, sizeof(word));
	}

	ret = xt_map(fd, run, 0, nr_pages, grants.refs, 0);
	XT_CHECK(!ret, "map %u grants: %s", nr_pages, strerror(-ret));
	for (i = 0; i < nr_pages; i++) {
		ret = xt_copy_from(fd, run, i * page_size + 8, &word,
				   sizeof(word));
		XT_CHECK(!ret, "read page %u: %s", i, strerror(-ret));
		XT_CHECK(word == seed * (i + 1), "page %u reads %llx", i,
			 (unsigned long long)word);
		word = ~word;
		ret = xt_copy_to(fd, run, i * page_size + XT_GRANT_SIZE - 8,
				 &word, sizeof(word));
		XT_CHECK(!ret, "write page %u: %s", i, strerror(-ret));
	}
	for (i = 0; i < nr_pages; i++) {
		memcpy(&word, grants.mem + i * page_size + XT_GRANT_SIZE - 8,
		       sizeof(word));
		XT_CHECK(word == ~(seed * (i + 1)), "page %u was given %llx",
			 i, (unsigned long long)word);
	}

	ret = xt_unmap(fd, run, 0, nr_pages);
	XT_CHECK(!ret, "unmap: %s", strerror(-ret));
	xt_grants_end(&grants);
}

/* The runner */
void (*xt_let_go)(void);

void xt_fail(const char *func, int line, const char *fmt, ...)
{
	void (*let_go)(void) = xt_let_go;
	va_list args;

	va_start(args, fmt);
	printf("# %s:%d: ", func, line);
	vprintf(fmt, args);
	printf("\n");
	va_end(args);
	fflush(stdout);
	/* It may fail, too. */
	xt_let_go = NULL;
	if (let_go)
		let_go();
	_exit(KSFT_FAIL);
}

void xt_skip(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	printf("# skipped: ");
	vprintf(fmt, args);
	printf("\n");
	va_end(args);
	fflush(stdout);
	_exit(KSFT_SKIP);
}

struct state {
	int active_grants;
	long out;
	long ballooned;
	long refused;
};

static void get_state(struct state *state)
{
	state->active_grants = xt_active_grants();
	state->out = xt_pages_out();
	state->ballooned = xt_stat("ballooned");
	state->refused = xt_stat("refused");
}

/* What the test left behind; grants may be let go of by work that is due. */
static bool leaked(const struct state *before, const struct state *after)
{
	bool leak = false;

	if (after->active_grants != before->active_grants) {
		ksft_print_msg("Xen has %d active grants, before %d\n",
			       after->active_grants, before->active_grants);
		leak = true;
	}
	if (!xt_is_rust())
		return leak;
	/* Pages whose free was refused stay out; a test that wants it says so. */
	if (after->out != before->out) {
		ksft_print_msg("the pool has %ld pages out, before %ld\n",
			       after->out, before->out);
		leak = true;
	}
	if (after->ballooned != before->ballooned) {
		ksft_print_msg("%ld ballooned pages are out, before %ld\n",
			       after->ballooned, before->ballooned);
		leak = true;
	}
	/* The kernel warns of the first only. */
	if (after->refused != before->refused) {
		ksft_print_msg("%ld pages were refused, before %ld\n",
			       after->refused, before->refused);
		leak = true;
	}

	return leak;
}

static bool leaves_something(const struct xt_part *part,
			     const struct state *before)
{
	struct state after;
	int tries;

	for (tries = 0; tries < 10; tries++) {
		get_state(&after);
		if (part->refuses)
			after.refused = before->refused;
		if (after.active_grants == before->active_grants &&
		    after.out == before->out &&
		    after.ballooned == before->ballooned &&
		    after.refused == before->refused)
			return false;
		usleep(300 * 1000);
	}

	return leaked(before, &after);
}

/* A test that hangs is ended; where all is slow that is said. */
static unsigned int test_seconds(void)
{
	const char *value = xt_boot_param("xentest.timeout");
	long seconds = value ? strtol(value, NULL, 0) : 0;

	return seconds > TEST_SECONDS ? seconds : TEST_SECONDS;
}

static int run_child(const struct xt_test *test)
{
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid < 0) {
		ksft_perror("fork");
		return KSFT_FAIL;
	}
	if (!pid) {
		/* It opens its own, if it wants to. */
		xen_buffer = NULL;
		privcmd = -1;
		alarm(test_seconds());
		test->run();
		fflush(stdout);
		_exit(KSFT_PASS);
	}
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return KSFT_FAIL;
	if (WIFSIGNALED(status)) {
		ksft_print_msg("ended by signal %d\n", WTERMSIG(status));
		return KSFT_FAIL;
	}

	return WEXITSTATUS(status);
}

/* What a test may have changed, and does not change back when it fails. */
static void set_defaults(void)
{
	if (xt_is_rust()) {
		xt_set_param("xen_unpopulated", "max_pages", "0");
		xt_set_param("xen_unpopulated", "give_back", "10");
	}
	if (xt_is_rust_dma())
		xt_set_param("xen_grant_dma_alloc", "source", "auto");
}

uint64_t xt_in_sections(void)
{
	const uint64_t section = xt_section_size();
	struct xt_range regions[XT_MAX_RANGES];
	int i, nr = xt_extended_regions(regions, XT_MAX_RANGES);
	uint64_t size = 0;

	for (i = 0; i < nr; i++) {
		uint64_t start = regions[i].start + section - 1;
		uint64_t end = regions[i].end + 1;

		start -= start % section;
		end -= end % section;
		if (start < end)
			size += end - start;
	}

	return size;
}

static long milliseconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);

	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void run_test(const struct xt_part *part, const struct xt_test *test)
{
	const char *layouts = test->layouts;
	bool (*is_rust)(void) = test->is_rust ?: part->is_rust;
	long start = milliseconds();
	struct state before;
	bool leak;
	int ret;

	if (!layouts)
		layouts = part->layouts;
	if (!layouts)
		layouts = "default one fragmented low several";
	if (!xt_layout_is(layouts)) {
		ksft_test_result_code(KSFT_SKIP, test->name,
				      "for layouts: %s", layouts);
		return;
	}
	if (!test->layouts && !xt_is_rust() && !xt_in_sections()) {
		ksft_test_result_code(KSFT_SKIP, test->name,
				      "on C no region has an aligned section");
		return;
	}
	if (!is_rust() && test->on_c == XT_C_UNSAFE) {
		ksft_test_result_code(KSFT_SKIP, test->name, "on C %s",
				      test->why);
		return;
	}

	get_state(&before);
	ret = run_child(test);
	set_defaults();
	leak = leaves_something(part, &before);
	ksft_print_msg("took %ld ms\n", milliseconds() - start);

	if (ret == KSFT_SKIP) {
		ksft_test_result_code(leak ? KSFT_FAIL : KSFT_SKIP, test->name,
				      NULL);
	} else if (!is_rust() && test->on_c == XT_C_FAILS) {
		/* That it fails is expected, that it leaks or passes is not. */
		if (leak || ret == KSFT_PASS)
			ksft_print_msg("expected to fail on C: %s\n",
				       test->why);
		ret = leak || ret == KSFT_PASS ? KSFT_FAIL : KSFT_XFAIL;
		ksft_test_result_code(ret, test->name,
				      ret == KSFT_XFAIL ? "%s" : NULL,
				      test->why);
	} else {
		ksft_test_result_code(leak ? KSFT_FAIL : ret, test->name, NULL);
	}
}

int xt_main_part(const struct xt_part *part, const struct xt_test *tests,
		 size_t nr_tests)
{
	size_t i;

	ksft_print_header();
	if (!is_xen())
		ksft_exit_skip("not running under Xen\n");
	if (getuid())
		ksft_exit_skip("must be run as root\n");
	part->prepare();

	ksft_set_plan(nr_tests);
	ksft_print_msg("%s in %s, %s, page size %zu\n", part->name,
		       part->is_rust() ? "Rust" : "C",
		       xt_is_dom0() ? "dom0" : "domU", xt_page_size());
	for (i = 0; i < nr_tests; i++)
		run_test(part, &tests[i]);
	ksft_finished();
}

void xt_prepare_pool(void)
{
	int fd;

	xt_load_module();
	fd = xt_open();
	if (fd < 0)
		ksft_exit_skip("no /dev/" XUT_DEVICE ": %s\n", strerror(-fd));
	close(fd);
}

int xt_main(const struct xt_test *tests, size_t nr_tests)
{
	static const struct xt_part pool = {
		.name = "pool", .is_rust = xt_is_rust,
		.prepare = xt_prepare_pool,
	};

	return xt_main_part(&pool, tests, nr_tests);
}
