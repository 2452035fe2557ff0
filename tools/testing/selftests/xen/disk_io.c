// SPDX-License-Identifier: GPL-2.0
/*
 * Fills a disk or a file with a pattern that depends on a seed and on the
 * place, or compares it with that, with many requests at a time.
 *
 *	disk_io write|check PATH SEED DEPTH [direct]
 *
 * Prints a checksum of what was written or read; ends with 1 if that is not
 * the pattern, and with 2 if a request fails.
 */

#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BLOCK		4096
#define WORDS		(BLOCK / sizeof(uint64_t))
#define MAX_DEPTH	64

static int fd;
static bool writes;
static uint64_t seed, nr_blocks, next_block, checksum, nr_wrong, nr_failed;

static uint64_t mix(uint64_t value)
{
	value = (value ^ value >> 31) * 0x9e3779b97f4a7c15ULL;

	return value ^ value >> 29;
}

/* Of the blocks it is the sum: they come in any order. */
static uint64_t hash(const uint64_t *words)
{
	uint64_t value = 0;
	size_t i;

	for (i = 0; i < WORDS; i++)
		value = (value ^ words[i]) * 0x100000001b3ULL;

	return mix(value);
}

static void *worker(void *arg)
{
	uint64_t *words = aligned_alloc(BLOCK, 2 * BLOCK);
	uint64_t *want = words + WORDS;
	uint64_t block;
	ssize_t ret;
	size_t i;

	for (;;) {
		block = __atomic_fetch_add(&next_block, 1, __ATOMIC_RELAXED);
		if (block >= nr_blocks)
			break;
		for (i = 0; i < WORDS; i++)
			want[i] = mix(seed << 40 ^ block << 9 ^ i);
		if (writes)
			ret = pwrite(fd, want, BLOCK, block * BLOCK);
		else
			ret = pread(fd, words, BLOCK, block * BLOCK);
		if (ret != BLOCK) {
			__atomic_fetch_add(&nr_failed, 1, __ATOMIC_RELAXED);
			break;
		}
		if (!writes && memcmp(words, want, BLOCK))
			__atomic_fetch_add(&nr_wrong, 1, __ATOMIC_RELAXED);
		__atomic_fetch_add(&checksum, hash(writes ? want : words),
				   __ATOMIC_RELAXED);
	}

	return arg;
}

int main(int argc, char **argv)
{
	pthread_t threads[MAX_DEPTH];
	int i, depth;

	if (argc < 5)
		return 2;
	writes = !strcmp(argv[1], "write");
	seed = strtoull(argv[3], NULL, 0);
	depth = atoi(argv[4]);
	fd = open(argv[2], O_RDWR | (argc > 5 ? O_DIRECT : 0));
	if (fd < 0 || depth < 1 || depth > MAX_DEPTH) {
		perror(argv[2]);
		return 2;
	}
	nr_blocks = lseek(fd, 0, SEEK_END) / BLOCK;
	/* What is read is to come from the disk. */
	if (fsync(fd) || posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED))
		perror("drop the cache");

	for (i = 0; i < depth; i++)
		if (pthread_create(&threads[i], NULL, worker, NULL))
			return 2;
	for (i = 0; i < depth; i++)
		pthread_join(threads[i], NULL);
	if (writes && fsync(fd))
		nr_failed++;

	printf("%016llx: %llu blocks, %llu wrong, %llu failed\n",
	       (unsigned long long)checksum, (unsigned long long)nr_blocks,
	       (unsigned long long)nr_wrong, (unsigned long long)nr_failed);

	return nr_failed ? 2 : !!nr_wrong;
}
