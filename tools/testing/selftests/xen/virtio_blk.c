// SPDX-License-Identifier: GPL-2.0
/*
 * A disk of the domU, by virtio-blk over grants: its backend is a program in
 * dom0, virtio_blk_backend, which is honest, or not, or killed.  What is done
 * in either domain is said here, in dom0.
 *
 * Needs a hypervisor with IOREQ_SERVER.
 */

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

#include "xen_test.h"
#include "domains.h"

#define BACKEND		"./virtio_blk_backend"
#define BUS		"/sys/bus/platform"
#define DRIVER		"/sys/bus/virtio/drivers/virtio_blk"
#define STATISTICS	"/sys/kernel/debug/xen-grant-dma"
#define METER		"/sys/module/test_xen_meter/parameters/device"
#define FIRST_NODE	0x2000000
#define NODE_SIZE	0x1000
#define FIRST_IRQ	33
#define IMAGE_BYTES	(4 * 1024 * 1024)
#define DISCARDED	(2 * 1024 * 1024)	/* all behind this */
#define WAIT_SECONDS	150
#define SOME_SECONDS	2
#define REBINDS		10
#define KILLS		5

/* Of the domU; a test that leaves requests behind has one of its own. */
enum { GOOD, DROPPED, DIED, LENGTHS, IDS, TWICE, KEPT };

static unsigned int node;
static pid_t backend;
static char disk[32];			/* what the domU calls it */
static char output[XD_TEXT];		/* of what was run last */

static char *image(void)
{
	static char path[32];

	snprintf(path, sizeof(path), "/tmp/disk%u", node);

	return path;
}

static char *device(void)
{
	static char name[32];

	snprintf(name, sizeof(name), "%x.disk", FIRST_NODE + node * NODE_SIZE);

	return name;
}

/* Returns the status of a command, the first line of whose output is kept. */
static int run_text(int side, const char *command)
{
	static struct xd_call call;
	int ret;

	call.op = XD_RUN;
	snprintf(call.text, sizeof(call.text), "(%s) 2>&1", command);
	ret = xd_call(side, &call);
	XT_CHECK(!ret, "%s: %s", command, strerror(-ret));
	memcpy(output, call.text, sizeof(output));
	output[strcspn(output, "\n")] = '\0';

	return call.nr;
}

static __printf(2, 3) int run(int side, const char *fmt, ...)
{
	char command[512];
	va_list args;

	va_start(args, fmt);
	vsnprintf(command, sizeof(command), fmt, args);
	va_end(args);

	return run_text(side, command);
}

static __printf(2, 3) void must_run(int side, const char *fmt, ...)
{
	char command[512];
	va_list args;
	int status;

	va_start(args, fmt);
	vsnprintf(command, sizeof(command), fmt, args);
	va_end(args);
	status = run_text(side, command);
	XT_CHECK(!status, "%s: status %d, %s", command, status, output);
}

/* The backend */

static void backend_start(const char *fault)
{
	char address[16], irq[16], state[40], word[16] = "";
	struct pollfd ready = { .events = POLLIN };
	int ends[2];

	snprintf(address, sizeof(address), "%u", FIRST_NODE + node * NODE_SIZE);
	snprintf(irq, sizeof(irq), "%u", FIRST_IRQ + node);
	snprintf(state, sizeof(state), "%s.state", image());
	XT_CHECK(!pipe(ends), "pipe: %s", strerror(errno));
	fflush(stdout);
	backend = fork();
	XT_CHECK(backend >= 0, "fork: %s", strerror(errno));
	if (!backend) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(ends[1], STDOUT_FILENO);
		close(ends[0]);
		close(ends[1]);
		execl(BACKEND, BACKEND, "1", address, irq, image(), state,
		      fault, NULL);
		_exit(127);
	}
	close(ends[1]);
	ready.fd = ends[0];
	XT_CHECK(poll(&ready, 1, WAIT_SECONDS * 1000) == 1 &&
		 read(ends[0], word, sizeof(word) - 1) > 0,
		 "no backend could be started");
	close(ends[0]);
}

static void backend_stop(void)
{
	if (backend <= 0)
		return;
	kill(backend, SIGKILL);
	waitpid(backend, NULL, 0);
	backend = -1;
}

/* In the place of the one that is there, which never knows. */
static void backend_swap(const char *fault)
{
	backend_stop();
	backend_start(fault);
}

/* The frontend */

static bool is_bound(void)
{
	return !run(XD_DOMU, "ls " BUS "/devices/%s/virtio*/block", device());
}

static void to_driver(const char *what)
{
	must_run(XD_DOMU, "cd " BUS "/devices/%s; echo virtio* >" DRIVER "/%s",
		 device(), what);
}

static void unbind_driver(void)
{
	to_driver("unbind");
}

/* The transport is bound once, to stay so. */
static void bind_driver(void)
{
	if (run(XD_DOMU, "ls " BUS "/drivers/virtio-mmio/%s", device())) {
		must_run(XD_DOMU, "cd " BUS "; echo virtio-mmio >devices/%s/%s",
			 device(), "driver_override");
		must_run(XD_DOMU, "echo %s >" BUS "/drivers/virtio-mmio/bind",
			 device());
	} else if (!is_bound()) {
		to_driver("bind");
	}
	XT_CHECK(is_bound(), "there is no disk");
	snprintf(disk, sizeof(disk), "/dev/%.16s", output);
}

/* A number that is kept of the device; negative: this is the C code. */
static long statistic(const char *name)
{
	if (run(XD_DOMU, "cat " STATISTICS "/%s/%s", device(), name))
		return -1;

	return atol(output);
}

static bool is_rust(void)
{
	/* Either domain has the same kernel. */
	return !access(STATISTICS, F_OK);
}

static void begin(int which)
{
	int fd;

	xd_connect();
	node = which;
	fd = open(image(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	XT_CHECK(fd >= 0 && !ftruncate(fd, IMAGE_BYTES), "%s: %s", image(),
		 strerror(errno));
	close(fd);
	backend_start(NULL);
	if (is_bound())
		unbind_driver();
	bind_driver();
}

static void finish(void)
{
	unbind_driver();
	backend_stop();
	XT_CHECK(statistic("quarantined") <= 0,
		 "%s references are still held", output);
}

static unsigned long long checksum_of(int side, const char *what,
				      const char *path, int seed, int depth,
				      bool direct)
{
	must_run(side, "./disk_io %s %s %d %d %s", what, path,
		 seed, depth, direct ? "direct" : "");

	return strtoull(output, NULL, 16);
}

/* Writes all of the disk, reads it, and looks at what the backend has. */
static void check_image(int seed, int depth, bool direct)
{
	unsigned long long sums[] = {
		checksum_of(XD_DOMU, "write", disk, seed, depth, direct),
		checksum_of(XD_DOMU, "check", disk, seed, depth, direct),
		checksum_of(XD_DOM0, "check", image(), seed, 1, false),
	};

	XT_CHECK(sums[0] && sums[0] == sums[1] && sums[0] == sums[2],
		 "checksums are %llx, %llx and %llx", sums[0], sums[1],
		 sums[2]);
}

static void direct_1(void)
{
	begin(GOOD);
	check_image(1, 1, true);
	finish();
}

static void direct_32(void)
{
	begin(GOOD);
	check_image(2, 32, true);
	finish();
}

static void buffered_1(void)
{
	begin(GOOD);
	check_image(3, 1, false);
	finish();
}

static void buffered_32(void)
{
	begin(GOOD);
	check_image(4, 32, false);
	finish();
}

/* Otherwise nothing above shows anything. */
static void wrong_byte_is_found(void)
{
	int status;

	begin(GOOD);
	checksum_of(XD_DOMU, "write", disk, 5, 32, true);
	must_run(XD_DOM0, "printf x | dd of=%s bs=1 seek=1234567 conv=notrunc",
		 image());
	status = run(XD_DOMU, "./disk_io check %s 5 32 direct", disk);
	XT_CHECK(status == 1, "the status is %d", status);
	finish();
}

static long blocks_of_image(void)
{
	must_run(XD_DOM0, "stat -c %%b %s", image());

	return atol(output);
}

static void discard(void)
{
	long before, after;
	char want[32];

	begin(GOOD);
	checksum_of(XD_DOMU, "write", disk, 6, 32, true);
	before = blocks_of_image();
	must_run(XD_DOMU, "blkdiscard -o %u %s", DISCARDED, disk);
	after = blocks_of_image();
	XT_CHECK(before - after == (IMAGE_BYTES - DISCARDED) / 512,
		 "dom0 has %ld blocks, before %ld", after, before);
	must_run(XD_DOMU, "dd if=%s bs=%u skip=1 2>&- | tr -d '\\0' | wc -c",
		 disk, DISCARDED);
	XT_CHECK(*output == '0', "%s bytes are not zero", output);
	/* The others are what they were. */
	run(XD_DOMU, "./disk_io check %s 6 32 direct", disk);
	snprintf(want, sizeof(want), " %u wrong, 0 failed",
		 (IMAGE_BYTES - DISCARDED) / 4096);
	XT_CHECK(strstr(output, want), "%s, not%s", output, want);
	finish();
}

static long flushes(void)
{
	must_run(XD_DOMU, "awk '{ print $16 }' /sys/block/%s/stat",
		 disk + strlen("/dev/"));

	return atol(output);
}

static void flush(void)
{
	long before;

	begin(GOOD);
	before = flushes();
	must_run(XD_DOMU, "dd if=/dev/zero of=%s bs=4k count=1 conv=fsync",
		 disk);
	XT_CHECK(flushes() == before + 1, "there were %ld flushes",
		 flushes() - before);
	finish();
}

/* What the domU does meanwhile */

static void load_start(const char *command)
{
	must_run(XD_DOMU, "rm -f /tmp/status");
	must_run(XD_DOMU, "setsid sh -c '%s' >/tmp/log 2>&1 & echo $! >/tmp/load",
		 command);
}

/* Returns the status of a load that writes it to a file. */
static int load_wait(void)
{
	time_t end = time(NULL) + WAIT_SECONDS;

	while (run(XD_DOMU, "cat /tmp/status") || !*output) {
		XT_CHECK(time(NULL) < end, "the domU is not ready");
		usleep(100 * 1000);
	}

	return atoi(output);
}

static void rebind_under_load(void)
{
	int i;

	begin(GOOD);
	/* It may have another name when it comes again. */
	load_start("while sleep 0.05; do ./disk_io write /dev/vd? 7 32 direct; done");
	for (i = 0; i < REBINDS; i++) {
		usleep(200 * 1000);
		unbind_driver();
		bind_driver();
		must_run(XD_DOMU, "dd if=%s of=/dev/null bs=4k count=16", disk);
	}
	must_run(XD_DOMU, "kill -9 -$(cat /tmp/load)");
	must_run(XD_DOMU, "grep -c \" [1-9][0-9]* failed\" /tmp/log");
	printf("# %s runs were cut short\n", output);
	check_image(8, 32, true);
	finish();
}

static void replace_backend_under_load(void)
{
	char io[2][64], command[256];
	int i, status;

	begin(GOOD);
	must_run(XD_DOMU, "rm -f /tmp/stop");
	snprintf(io[0], sizeof(io[0]), "./disk_io write %s 9 32 direct", disk);
	snprintf(io[1], sizeof(io[1]), "./disk_io check %s 9 32 direct", disk);
	snprintf(command, sizeof(command),
		 "until [ -e /tmp/stop ]; do %s && %s || exit; done; echo 0 >%s",
		 io[0], io[1], "/tmp/status");
	load_start(command);
	for (i = 0; i < KILLS; i++) {
		usleep(300 * 1000);
		backend_stop();
		usleep(300 * 1000);
		backend_start(NULL);
	}
	must_run(XD_DOMU, "touch /tmp/stop");
	status = load_wait();
	XT_CHECK(!status, "what was written is not what is read");
	checksum_of(XD_DOM0, "check", image(), 9, 1, false);
	finish();
}

/* Hostile backends */

/* Asks for a block, and does not wait for it. */
static void request_start(void)
{
	char command[256];

	snprintf(command, sizeof(command),
		 "dd if=%s of=/tmp/got bs=4k count=1 skip=5 iflag=direct; echo $? >/tmp/status",
		 disk);
	load_start(command);
}

static void request_check(void)
{
	char got[XD_TEXT];
	int status = load_wait();

	XT_CHECK(!status, "the request fails: %d", status);
	must_run(XD_DOMU, "md5sum </tmp/got");
	memcpy(got, output, sizeof(got));
	must_run(XD_DOM0, "dd if=%s bs=4k count=1 skip=5 2>&- | md5sum",
		 image());
	XT_CHECK(!strcmp(got, output), "it has %s, not %s", got, output);
}

/* A backend that never has anything to do again, and one that helps. */
static void check_waits(void)
{
	sleep(SOME_SECONDS);
	XT_CHECK(run(XD_DOMU, "cat /tmp/status"),
		 "the request has ended with %s", output);
	must_run(XD_DOMU, "awk '{ print $1 }' /sys/block/%s/inflight",
		 disk + strlen("/dev/"));
	XT_CHECK(atol(output) == 1, "%s requests are in flight", output);
}

static void begin_hostile(int which, const char *fault)
{
	begin(which);
	checksum_of(XD_DOM0, "write", image(), 10, 1, false);
	backend_swap(fault);
	request_start();
}

/* The request waits, all else goes on; one that is honest ends it. */
static void backend_drops_completions(void)
{
	begin_hostile(DROPPED, "drops");
	check_waits();
	backend_swap(NULL);
	request_check();
	check_image(11, 32, true);
	finish();
}

static void backend_dies_within_a_request(void)
{
	int status;

	begin_hostile(DIED, "dies");
	check_waits();
	XT_CHECK(waitpid(backend, &status, WNOHANG) == backend,
		 "the backend is alive");
	backend = -1;
	backend_start(NULL);
	request_check();
	check_image(12, 32, true);
	finish();
}

static void backend_lies_about_lengths(void)
{
	begin_hostile(LENGTHS, "length");
	request_check();
	check_image(13, 32, true);
	finish();
}

/* More requests fail at once, where the device is broken. */
static void check_fails(void)
{
	run(XD_DOMU, "dd if=%s of=/dev/null bs=4k count=1 iflag=direct", disk);
	XT_CHECK(strstr(output, "Input/output error"),
		 "a request does not fail: %s", output);
}

/* No virtio-blk driver ever gives up a request that was not completed. */
static void backend_completes_what_is_not_there(void)
{
	begin_hostile(IDS, "id");
	check_waits();
	check_fails();
	check_waits();
}

static void backend_completes_twice(void)
{
	begin_hostile(TWICE, "twice");
	request_check();
	check_fails();
	backend_swap(NULL);
	unbind_driver();
	bind_driver();
	check_image(14, 32, true);
	finish();
}

static void wait_statistic(const char *name, long value)
{
	time_t end = time(NULL) + WAIT_SECONDS;
	long is;

	while ((is = statistic(name)) != value) {
		XT_CHECK(time(NULL) < end, "%s is %ld, not %ld", name, is,
			 value);
		usleep(100 * 1000);
	}
}

/* The header, the block and the status of a request. */
static void backend_keeps_every_mapping(void)
{
	begin_hostile(KEPT, "keeps");
	request_check();
	XT_CHECK(statistic("quarantined") == 3, "three are not kept back: %s",
		 output);
	XT_CHECK(statistic("broken") == 1, "the device is not broken");
	backend_swap(NULL);
	wait_statistic("quarantined", 0);
	must_run(XD_DOMU, "echo %s >" BUS "/drivers/virtio-mmio/unbind",
		 device());
	bind_driver();
	check_image(15, 32, true);
	finish();
}

/* The end of the domU */

static void file_system_survives(void)
{
	char want[XD_TEXT];
	int ret;

	begin(GOOD);
	must_run(XD_DOMU, "mke2fs -b 4096 %s && mkdir -p /mnt", disk);
	must_run(XD_DOMU, "mount -t ext2 %s /mnt", disk);
	must_run(XD_DOMU, "dd if=/dev/urandom of=/mnt/kept bs=64k count=8");
	must_run(XD_DOMU, "sync; md5sum </mnt/kept");
	memcpy(want, output, sizeof(want));
	load_start("while head -c 200000 /dev/urandom >/mnt/new; do rm /mnt/new; done");
	sleep(SOME_SECONDS);
	ret = xt_domain_destroy(XD_DOMU);
	XT_CHECK(!ret, "destroy the domU: %s", strerror(-ret));
	backend_stop();

	/* 1: there was something to mend. */
	ret = run(XD_DOM0, "e2fsck -fy %s", image());
	XT_CHECK(!ret || ret == 1, "e2fsck: status %d, %s", ret, output);
	must_run(XD_DOM0, "e2fsck -fn %s", image());
	must_run(XD_DOM0, "mkdir -p /mnt && mount -o loop,ro %s /mnt", image());
	must_run(XD_DOM0, "md5sum </mnt/kept");
	XT_CHECK(!strcmp(want, output), "it has %s, not %s", output, want);
	must_run(XD_DOM0, "umount /mnt");
}

/* Figures, which are instructions if those are counted */

static void measure(void)
{
	static const char * const what[] = { "read", "write" };
	unsigned long long calls, spent, total;
	size_t i;

	begin(GOOD);
	must_run(XD_DOMU, "insmod test_modules/test_xen_meter.ko");
	must_run(XD_DOMU, "echo %s >%s", device(), METER);
	for (i = 0; i < ARRAY_SIZE(what); i++) {
		must_run(XD_DOMU, "./disk_meter %s %s", what[i], disk);
		XT_CHECK(sscanf(output, "%llu %llu %llu", &calls, &spent,
				&total) == 3, "what is %s", output);
		XT_CHECK(calls == 6, "%llu calls for a request", calls);
		printf("MEASURE virtio_blk.%s_map_unmap %llu\n", what[i],
		       spent);
		printf("MEASURE virtio_blk.%s_total %llu\n", what[i], total);
	}
	must_run(XD_DOMU, "rmmod test_xen_meter");
	finish();
}

static void prepare(void)
{
	if (access(BACKEND, X_OK))
		ksft_exit_skip("there is no virtio_blk_backend\n");
}

static const struct xt_test tests[] = {
	{ "the image is written and read, past the cache, a request at a time",
	  direct_1 },
	{ "the image is written and read, past the cache, 32 requests at a time",
	  direct_32 },
	{ "the image is written and read, by way of the cache, by one thread",
	  buffered_1 },
	{ "the image is written and read, by way of the cache, by 32 threads",
	  buffered_32 },
	{ "a wrong byte would be found", wrong_byte_is_found },
	{ "what is discarded is gone in dom0, and reads as zeroes", discard },
	{ "a flush gets to the backend", flush },
	{ "the driver is bound again and again under load", rebind_under_load },
	{ "a backend that is killed is replaced under load, and no request is lost",
	  replace_backend_under_load },
	{ "backend_drops_completions", backend_drops_completions },
	{ "backend_dies_within_a_request", backend_dies_within_a_request },
	{ "backend_lies_about_lengths", backend_lies_about_lengths },
	{ "backend_completes_what_is_not_there",
	  backend_completes_what_is_not_there },
	{ "backend_completes_twice", backend_completes_twice },
	{ "backend_keeps_every_mapping",
	  backend_keeps_every_mapping, NULL, XT_C_FAILS,
	  "it does not tell what a backend holds" },
	{ "a file system survives the end of the domU", file_system_survives },
};

static const struct xt_test measures[] = {
	{ "what a request takes is measured", measure },
};

int main(int argc, char **argv)
{
	static const struct xt_part part = {
		.name = "virtio-blk by grants", .is_rust = is_rust,
		.prepare = prepare,
	};
	const char *only = argc > 1 ? argv[1] : NULL;

	if (only && !strcmp(only, "measure"))
		return xd_main(&part, measures, ARRAY_SIZE(measures), NULL);

	return xd_main(&part, tests, ARRAY_SIZE(tests), only);
}
