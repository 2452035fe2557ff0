// SPDX-License-Identifier: GPL-2.0
/*
 * What either domain can do with grants, and the mailbox by which one has the
 * other do it.
 */

#include <assert.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

#include "xen_test.h"
#include "domains.h"
#include "test_modules/test_xen_domains.h"
#include "test_modules/test_xen_grant_dma.h"

typedef uint16_t domid_t;
typedef uint32_t grant_ref_t;
#include <xen/evtchn.h>
#include <xen/gntdev.h>

#define MAX_OBJECTS	64
#define RELEASE_MS	10000
#define CALL_SECONDS	100
#define CONNECT_SECONDS	60
#define EVENT_PORT	10
#define MAGIC		0x786d626f
#define MAILBOX_REFS	7
#define MAILBOX_PAGES	((sizeof(struct mailbox) + 4095) / 4096)
/* The first that a domain hands out, and some more. */
#define FIRST_REF	8
#define LAST_REF	63

struct mailbox {
	uint32_t magic;
	uint32_t refs[MAILBOX_REFS];	/* of all its pages */
	uint32_t requests;
	uint32_t replies;
	struct xd_call call;
};

static_assert(sizeof(struct mailbox) <= MAILBOX_REFS * 4096,
	      "the mailbox has more pages than references");

enum type { NOTHING, GRANTED, MAPPED, IMPORTED, CHILD };

struct object {
	enum type type;
	struct xt_grants grants;
	uint8_t *mem;
	uint8_t *copy;
	size_t size;
	int fd;			/* of the dma-buf */
	uint32_t import;
	pid_t pid;
};

static struct object objects[MAX_OBJECTS];
static uint32_t pages[XD_MAX_REFS];
static struct mailbox *mailbox;
static int events = -1, gntdev = -1, module = -1, virtio = -1;

/* Frames */
static inline uint32_t pixel(uint32_t number, uint32_t seed)
{
	/* No byte of it is the same with two seeds. */
	return number * 2654435761U ^ (seed & 0xff) * 0x01010101U;
}

/* Which pages of it a frame has: all, or those of references, in their order. */
static int pages_of(const struct object *obj, const struct xd_call *call)
{
	const struct xt_grants *grants = &obj->grants;
	uint32_t i, at, nr = call->nr;

	if (nr > XD_MAX_REFS)
		return -E2BIG;
	for (i = 0; i < nr; i++) {
		for (at = 0; at < grants->nr_pages; at++)
			if (grants->refs[at] == call->refs[i])
				break;
		if (at == grants->nr_pages)
			return -ENOENT;
		pages[i] = at;
	}
	if (nr)
		return nr;
	nr = obj->size / xt_page_size();
	for (i = 0; i < nr; i++)
		pages[i] = i;

	return nr;
}

static int draw(struct object *obj, const struct xd_call *call)
{
	uint32_t j, number = 0, size = xt_page_size();
	int i, nr = pages_of(obj, call);

	for (i = 0; i < nr; i++) {
		uint32_t *pixels = (uint32_t *)(obj->mem + pages[i] * size);

		for (j = 0; j < size / sizeof(*pixels); j++)
			pixels[j] = pixel(number++, call->seed);
	}

	return nr < 0 ? nr : 0;
}

static int find_wrong(struct object *obj, struct xd_call *call)
{
	uint32_t j, diff, number = 0, size = xt_page_size();
	const uint8_t *mem = obj->copy ?: obj->mem;
	int i, nr = pages_of(obj, call);

	call->bytes = 0;
	for (i = 0; i < nr; i++) {
		const uint32_t *pixels = (uint32_t *)(mem + pages[i] * size);

		for (j = 0; j < size / sizeof(*pixels); j++) {
			diff = pixels[j] ^ pixel(number++, call->seed);
			for (; diff; diff >>= 8)
				call->bytes += !!(diff & 0xff);
		}
	}

	return nr < 0 ? nr : 0;
}

/* Objects */
static struct object *new_object(enum type type, uint32_t *id)
{
	uint32_t i;

	for (i = 0; i < MAX_OBJECTS; i++) {
		struct object *obj = &objects[i];

		if (obj->type != NOTHING)
			continue;
		memset(obj, 0, sizeof(*obj));
		obj->type = type;
		obj->grants.fd = -1;
		obj->fd = -1;
		*id = i;
		return obj;
	}

	return NULL;
}

static struct object *find(uint32_t id)
{
	if (id >= MAX_OBJECTS || objects[id].type == NOTHING)
		return NULL;

	return &objects[id];
}

static int open_once(int *fd, const char *path)
{
	if (*fd < 0)
		*fd = open(path, O_RDWR | O_CLOEXEC);

	return *fd < 0 ? -errno : 0;
}

static int open_module(int *fd, const char *name)
{
	char path[64];

	if (*fd >= 0)
		return 0;
	xt_load(name);
	snprintf(path, sizeof(path), "/dev/%s", name);

	return open_once(fd, path);
}

static void take_refs(struct xt_grants *grants, struct xd_call *call)
{
	grants->domid = call->domid;
	grants->nr_pages = call->nr;
	grants->refs = call->refs;
}

static int do_grant(struct object *obj, struct xd_call *call)
{
	int ret;

	ret = xt_grants_new_for(&obj->grants, call->domid, call->nr,
				call->writable);
	if (ret)
		return ret;
	obj->mem = obj->grants.mem;
	obj->size = call->nr * xt_page_size();
	memcpy(call->refs, obj->grants.refs, call->nr * sizeof(call->refs[0]));

	return 0;
}

static int do_map(struct object *obj, struct xd_call *call)
{
	struct xt_grants grants = { 0 };
	int ret;

	ret = open_once(&gntdev, "/dev/xen/gntdev");
	if (ret)
		return ret;
	take_refs(&grants, call);
	ret = xt_gntdev_mmap(gntdev, &grants, call->writable,
			     (void **)&obj->mem);
	if (ret)
		return ret;
	obj->size = call->nr * xt_page_size();

	return 0;
}

/* A dma-buf is there until the last work that frees it has run. */
static int dmabuf_end(int fd)
{
	struct ioctl_gntdev_dmabuf_exp_wait_released arg = {
		.fd = fd, .wait_to_ms = RELEASE_MS,
	};

	close(fd);
	if (ioctl(gntdev, IOCTL_GNTDEV_DMABUF_EXP_WAIT_RELEASED, &arg) &&
	    errno != ENOENT)
		return -errno;

	return 0;
}

static int do_import(struct object *obj, struct xd_call *call)
{
	struct xt_grants grants = { 0 };
	struct xdm_import import = { 0 };
	int ret, fd;

	ret = open_once(&gntdev, "/dev/xen/gntdev");
	if (!ret)
		ret = open_module(&module, XDM_DEVICE);
	if (ret)
		return ret;
	take_refs(&grants, call);
	fd = xt_dmabuf_new(gntdev, &grants, call->flags);
	if (fd < 0)
		return fd;

	import.fd = fd;
	import.no_dma = call->op == XD_BUFFER;
	if (ioctl(module, XDM_IOC_IMPORT, &import)) {
		/* Let it be told from a dma-buf that could not be made. */
		ret = -ECONNABORTED;
		goto end;
	}
	obj->mem = mmap(NULL, import.size, PROT_READ | PROT_WRITE, MAP_SHARED,
			module, import.id * xt_page_size());
	if (obj->mem == MAP_FAILED) {
		ret = -errno;
		ioctl(module, XDM_IOC_END, import.id);
		goto end;
	}
	obj->fd = fd;
	obj->import = import.id;
	obj->size = import.size;
	call->import = (struct xd_import){
		.entries = import.entries, .dma_entries = import.dma_entries,
		.same = import.same, .dma = import.dma, .phys = import.phys,
		.size = import.size,
	};

	return 0;

end:
	dmabuf_end(fd);
	return ret;
}

/* Past the cache, so that the memory itself is what the disk reads or writes. */
static int do_disk(struct object *obj, struct xd_call *call)
{
	struct xdm_disk disk = {
		.id = obj->import, .write = call->writable,
		.by_page = call->by_page,
	};
	size_t done = 0;
	ssize_t ret;

	disk.fd = open(call->text, O_RDWR | O_DIRECT | O_CLOEXEC);
	if (disk.fd < 0)
		return -errno;
	if (obj->type == IMPORTED) {
		ret = ioctl(module, XDM_IOC_DISK, &disk) ? -errno : 0;
		goto end;
	}
	do {
		ret = call->writable ?
		      pwrite(disk.fd, obj->mem + done, obj->size - done, done) :
		      pread(disk.fd, obj->mem + done, obj->size - done, done);
		if (ret > 0)
			done += ret;
	} while (ret > 0 && done < obj->size);
	ret = ret < 0 ? -errno : done < obj->size ? -ENOSPC : 0;

end:
	close(disk.fd);
	return ret;
}

/* It has a descriptor of its own, so that its end is the end of that, too. */
static int do_child(struct object *obj, struct xd_call *call)
{
	struct xt_grants grants = { 0 };
	int ready[2], ret = 0;
	void *mem;

	if (pipe(ready))
		return -errno;
	obj->pid = fork();
	if (obj->pid < 0)
		return -errno;
	if (!obj->pid) {
		gntdev = open("/dev/xen/gntdev", O_RDWR | O_CLOEXEC);
		take_refs(&grants, call);
		ret = gntdev < 0 ? -errno :
		      xt_gntdev_mmap(gntdev, &grants, call->writable, &mem);
		if (write(ready[1], &ret, sizeof(ret)) != sizeof(ret) || ret)
			_exit(1);
		for (;;)
			pause();
	}
	if (read(ready[0], &ret, sizeof(ret)) != sizeof(ret))
		ret = -EPIPE;
	close(ready[0]);
	close(ready[1]);
	if (ret)
		waitpid(obj->pid, NULL, 0);

	return ret;
}

static int do_copy(struct object *obj)
{
	obj->copy = malloc(obj->size);
	if (!obj->copy)
		return -ENOMEM;
	memcpy(obj->copy, obj->mem, obj->size);

	return 0;
}

static int do_release(struct object *obj)
{
	int ret = 0;

	switch (obj->type) {
	case GRANTED:
		xt_grants_end(&obj->grants);
		break;
	case MAPPED:
		ret = xt_gntdev_munmap(gntdev, 0, obj->size / xt_page_size(),
				       obj->mem);
		break;
	case IMPORTED:
		munmap(obj->mem, obj->size);
		if (ioctl(module, XDM_IOC_END, obj->import))
			ret = -errno;
		else
			ret = dmabuf_end(obj->fd);
		break;
	case CHILD:
		kill(obj->pid, SIGKILL);
		if (waitpid(obj->pid, NULL, 0) < 0)
			ret = -errno;
		break;
	case NOTHING:
		break;
	}
	free(obj->copy);
	obj->copy = NULL;
	obj->type = NOTHING;

	return ret;
}

static int do_reset(void)
{
	uint32_t i;
	int err, ret = 0;

	for (i = 0; i < MAX_OBJECTS; i++) {
		err = do_release(&objects[i]);
		ret = ret ?: err;
	}
	if (virtio >= 0)
		close(virtio);
	virtio = -1;

	return ret;
}

static int do_entry(struct xd_entry *entry, bool set)
{
	struct xdm_entry arg = {
		.ref = entry->ref, .flags = entry->flags,
		.domid = entry->domid, .frame = entry->frame,
	};
	int ret;

	ret = open_module(&module, XDM_DEVICE);
	if (ret)
		return ret;
	if (ioctl(module, set ? XDM_IOC_SET_ENTRY : XDM_IOC_GET_ENTRY, &arg))
		return -errno;
	entry->flags = arg.flags;
	entry->domid = arg.domid;
	entry->frame = arg.frame;

	return 0;
}

/* The frames behind references, in their place. */
static int do_frames(struct xd_call *call)
{
	uint32_t i;
	int ret;

	for (i = 0; i < call->nr && i < XD_MAX_REFS; i++) {
		struct xd_entry entry = { .ref = call->refs[i] };

		ret = do_entry(&entry, false);
		if (ret)
			return ret;
		call->refs[i] = entry.frame;
	}

	return 0;
}

static void do_stats(struct xd_stats *stats)
{
	stats->pages_out = xt_pages_out();
	stats->ballooned = xt_stat("ballooned");
	stats->refused = xt_stat("refused");
	stats->cma_free_kib = xt_meminfo("CmaFree");
	stats->free_kib = xt_free_kib();
}

/* What is copied stands behind the structure that says so. */
static int do_virtio(struct xd_call *call)
{
	struct xgd_copy *copy = (struct xgd_copy *)call->text;
	void *arg = call->text;
	int ret;

	ret = open_module(&virtio, XGD_DEVICE);
	if (ret)
		return ret;
	if (call->cmd == XGD_IOC_COPY)
		copy->buf = (uintptr_t)(copy + 1);
	if (_IOC_DIR(call->cmd) == _IOC_NONE)
		arg = (void *)(uintptr_t)call->id;
	ret = ioctl(virtio, call->cmd, arg);

	return ret < 0 ? -errno : ret;
}

static int do_run(struct xd_call *call)
{
	FILE *output = popen(call->text, "r");
	size_t len;
	int status;

	if (!output)
		return -errno;
	len = fread(call->text, 1, sizeof(call->text) - 1, output);
	call->text[len] = '\0';
	status = pclose(output);
	if (status < 0)
		return -errno;
	call->nr = WIFEXITED(status) ? WEXITSTATUS(status) : 128;

	return 0;
}

static int do_new(struct xd_call *call)
{
	static const enum type types[] = {
		[XD_GRANT] = GRANTED, [XD_MAP] = MAPPED,
		[XD_IMPORT] = IMPORTED, [XD_BUFFER] = IMPORTED,
		[XD_CHILD] = CHILD,
	};
	struct object *obj;
	int ret;

	if (call->nr > XD_MAX_REFS)
		return -E2BIG;
	obj = new_object(types[call->op], &call->id);
	if (!obj)
		return -ENOSPC;
	switch (call->op) {
	case XD_GRANT:
		ret = do_grant(obj, call);
		break;
	case XD_MAP:
		ret = do_map(obj, call);
		break;
	case XD_IMPORT:
	case XD_BUFFER:
		ret = do_import(obj, call);
		break;
	default:
		ret = do_child(obj, call);
	}
	if (ret)
		obj->type = NOTHING;

	return ret;
}

static int do_old(struct xd_call *call)
{
	struct object *obj = find(call->id);

	if (!obj)
		return -ENOENT;
	switch (call->op) {
	case XD_PEEK:
	case XD_POKE:
		if (call->nr > sizeof(call->text) || call->nr > obj->size ||
		    call->offset > obj->size - call->nr)
			return -EINVAL;
		if (call->op == XD_PEEK)
			memcpy(call->text, obj->mem + call->offset, call->nr);
		else
			memcpy(obj->mem + call->offset, call->text, call->nr);
		return 0;
	case XD_COPY:
		return do_copy(obj);
	case XD_DRAW:
		return draw(obj, call);
	case XD_CHECK:
		return find_wrong(obj, call);
	case XD_DISK:
		return do_disk(obj, call);
	default:
		return do_release(obj);
	}
}

static int do_call(struct xd_call *call)
{
	char path[XD_TEXT];

	switch (call->op) {
	case XD_RESET:
		return do_reset();
	case XD_GRANT:
	case XD_MAP:
	case XD_IMPORT:
	case XD_BUFFER:
	case XD_CHILD:
		return do_new(call);
	case XD_COPY:
	case XD_DRAW:
	case XD_CHECK:
	case XD_DISK:
	case XD_PEEK:
	case XD_POKE:
	case XD_RELEASE:
		return do_old(call);
	case XD_GET_ENTRY:
	case XD_SET_ENTRY:
		return do_entry(&call->entry, call->op == XD_SET_ENTRY);
	case XD_FRAMES:
		return do_frames(call);
	case XD_STATS:
		do_stats(&call->stats);
		return 0;
	case XD_VIRTIO:
		return do_virtio(call);
	case XD_READ_FILE:
		memcpy(path, call->text, sizeof(path));
		return xt_read_file(path, call->text, sizeof(call->text));
	case XD_WRITE_FILE:
		return xt_write_file(call->text, call->text + XD_PATH);
	case XD_RUN:
		return do_run(call);
	default:
		return -EOPNOTSUPP;
	}
}

void xd_do(struct xd_call *call)
{
	call->ret = do_call(call);
}

/* Events */
static int events_open(void)
{
	struct ioctl_evtchn_bind bind = { .port = EVENT_PORT };

	events = open("/dev/xen/evtchn", O_RDWR | O_CLOEXEC);
	if (events < 0)
		return -errno;

	return ioctl(events, IOCTL_EVTCHN_BIND_STATIC, &bind) ? -errno : 0;
}

static void events_send(void)
{
	struct ioctl_evtchn_notify notify = { .port = EVENT_PORT };

	ioctl(events, IOCTL_EVTCHN_NOTIFY, &notify);
}

/* Some come for nothing: whoever waits has to look. */
static void events_wait(void)
{
	struct pollfd poll_fd = { .fd = events, .events = POLLIN };
	uint32_t port;

	if (poll(&poll_fd, 1, 1000) <= 0)
		return;
	if (read(events, &port, sizeof(port)) == sizeof(port) &&
	    write(events, &port, sizeof(port)) != sizeof(port))
		ksft_perror("unmask the event channel");
}

/* The mailbox */
int xd_call(int side, struct xd_call *call)
{
	time_t end = time(NULL) + CALL_SECONDS;
	uint32_t number;

	if (side == XD_DOM0) {
		xd_do(call);
		return call->ret;
	}

	memcpy(&mailbox->call, call, sizeof(*call));
	number = mailbox->requests + 1;
	__atomic_store_n(&mailbox->requests, number, __ATOMIC_RELEASE);
	events_send();
	while (__atomic_load_n(&mailbox->replies, __ATOMIC_ACQUIRE) !=
	       number) {
		if (time(NULL) > end) {
			call->ret = -ETIMEDOUT;
			return call->ret;
		}
		events_wait();
	}
	memcpy(call, &mailbox->call, sizeof(*call));

	return call->ret;
}

/* Looks at one reference of the domU for the first page of a mailbox. */
static bool find_mailbox(int fd, uint32_t ref, struct xt_grants *grants)
{
	struct mailbox *first;
	bool found;

	grants->domid = XD_DOMU;
	grants->nr_pages = 1;
	grants->refs[0] = ref;
	if (xt_gntdev_mmap(fd, grants, false, (void **)&first))
		return false;
	found = __atomic_load_n(&first->magic, __ATOMIC_ACQUIRE) == MAGIC;
	if (found) {
		grants->nr_pages = MAILBOX_PAGES;
		memcpy(grants->refs, first->refs,
		       MAILBOX_PAGES * sizeof(grants->refs[0]));
	}
	xt_gntdev_munmap(fd, 0, 1, first);

	return found;
}

void xd_connect(void)
{
	time_t end = time(NULL) + CONNECT_SECONDS;
	uint32_t refs[MAILBOX_PAGES], ref;
	struct xt_grants grants = { .refs = refs };
	int fd, ret;

	if (mailbox)
		return;
	ret = events_open();
	XT_CHECK(!ret, "event channel: %s", strerror(-ret));
	fd = xt_gntdev_open();
	XT_CHECK(fd >= 0, "gntdev: %s", strerror(-fd));
	for (ref = FIRST_REF; !find_mailbox(fd, ref, &grants); ref++) {
		if (ref < LAST_REF)
			continue;
		ref = FIRST_REF - 1;
		XT_CHECK(time(NULL) < end, "the domU has no mailbox");
		usleep(100 * 1000);
	}
	ret = xt_gntdev_mmap(fd, &grants, true, (void **)&mailbox);
	XT_CHECK(!ret, "map the mailbox: %s", strerror(-ret));
}

/* Never comes back. */
static void serve(void)
{
	struct xt_grants grants;
	uint32_t served = 0;
	int ret;

	ret = events_open();
	if (ret)
		ksft_exit_fail_msg("event channel: %s\n", strerror(-ret));
	ret = xt_grants_new_for(&grants, XD_DOM0, MAILBOX_PAGES, true);
	if (ret)
		ksft_exit_fail_msg("grant the mailbox: %s\n", strerror(-ret));
	mailbox = (struct mailbox *)grants.mem;
	memset(mailbox, 0, sizeof(*mailbox));
	memcpy(mailbox->refs, grants.refs,
	       MAILBOX_PAGES * sizeof(grants.refs[0]));
	__atomic_store_n(&mailbox->magic, MAGIC, __ATOMIC_RELEASE);

	for (;;) {
		struct xd_call call;

		if (__atomic_load_n(&mailbox->requests, __ATOMIC_ACQUIRE) ==
		    served) {
			events_wait();
			continue;
		}
		memcpy(&call, &mailbox->call, sizeof(call));
		xd_do(&call);
		memcpy(&mailbox->call, &call, sizeof(call));
		__atomic_store_n(&mailbox->replies, ++served,
				 __ATOMIC_RELEASE);
		events_send();
	}
}

int xd_main(const struct xt_part *part, const struct xt_test *tests,
	    size_t nr_tests, const char *only)
{
	struct xt_test *some;
	size_t i, nr = 0;

	if (!xt_is_dom0())
		serve();

	some = calloc(nr_tests, sizeof(*some));
	if (!some)
		return KSFT_FAIL;
	for (i = 0; i < nr_tests; i++)
		if (!only || strstr(tests[i].name, only))
			some[nr++] = tests[i];

	return xt_main_part(part, some, nr);
}
