// SPDX-License-Identifier: GPL-2.0
/*
 * What a request of 4 KiB to a disk takes, one at a time, by the clock: under
 * QEMU's "-icount shift=0,sleep=off" that counts instructions.
 *
 *	disk_meter read|write PATH
 *
 * Prints how often memory was mapped and unmapped for one, the time inside
 * these calls, by test_xen_meter, and that for all of it; of many the medians.
 */

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define METER		"/sys/module/test_xen_meter/parameters/device"
#define BLOCK		4096
#define REQUESTS	500

static int compare(const void *a, const void *b)
{
	const uint64_t *one = a, *two = b;

	return *one < *two ? -1 : *one > *two;
}

static uint64_t median(uint64_t *values)
{
	qsort(values, REQUESTS, sizeof(*values), compare);

	return values[REQUESTS / 2];
}

static uint64_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);

	return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

/* Since it was asked last. */
static int read_meter(uint64_t *calls, uint64_t *spent)
{
	unsigned long long maps, unmaps, ns, empty;
	FILE *file = fopen(METER, "r");

	if (!file)
		return -1;
	if (fscanf(file, "%llu %llu %llu %llu", &maps, &unmaps, &ns,
		   &empty) != 4)
		return -1;
	fclose(file);
	*calls = maps + unmaps;
	*spent = ns - *calls * empty;

	return 0;
}

int main(int argc, char **argv)
{
	static uint64_t calls[REQUESTS], spent[REQUESTS], total[REQUESTS];
	char *buffer = aligned_alloc(BLOCK, BLOCK);
	uint64_t start;
	ssize_t ret;
	int fd, i;

	fd = argc == 3 ? open(argv[2], O_RDWR | O_DIRECT) : -1;
	if (fd < 0 || !buffer || read_meter(&calls[0], &spent[0])) {
		perror("disk_meter");
		return 1;
	}
	memset(buffer, 0, BLOCK);
	for (i = 0; i < REQUESTS; i++) {
		off_t at = (off_t)i * BLOCK;

		start = now();
		ret = *argv[1] == 'r' ? pread(fd, buffer, BLOCK, at) :
					pwrite(fd, buffer, BLOCK, at);
		total[i] = now() - start;
		if (ret != BLOCK || read_meter(&calls[i], &spent[i])) {
			perror("disk_meter");
			return 1;
		}
	}
	printf("%llu %llu %llu\n", (unsigned long long)median(calls),
	       (unsigned long long)median(spent),
	       (unsigned long long)median(total));

	return 0;
}
