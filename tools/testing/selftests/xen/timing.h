/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the programs that measure share: calls of a module that repeat
 * something, and what that is counted in.
 */
#ifndef XEN_TIMING_H
#define XEN_TIMING_H

#include <stdbool.h>
#include <stdint.h>

/* How often something is tried; a timer interrupt can only add to a try. */
#define XT_TRIES	8

/**
 * struct xt_unit - something to count
 * @name: what it is called
 * @counter: a counter of the processor; -1: the clock of the module
 */
struct xt_unit {
	const char *name;
	int counter;
};

#define XT_MAX_UNITS	3

/*
 * What can be counted here, the clock first.  Where time follows instructions,
 * as under QEMU's -icount, that is all; elsewhere there are the instructions
 * and cycles of this thread in the kernel, if the processor and the kernel have
 * counters for it.  Xen's are in the former only.  Returns how many there are.
 */
int xt_units(struct xt_unit units[XT_MAX_UNITS]);

/**
 * struct xt_timed - a call of a module that repeats something
 * @fd: the device of the module
 * @cmd: the ioctl
 * @arg: its argument, which all of the following is in
 * @op: what is repeated; 0: nothing, which costs all but what is measured
 * @repeat: how often
 * @ns: out: what the module says that it took
 * @failed: out: how often it could not be done, or NULL
 * @prepare: called before each call, or NULL; returns 0, or an errno
 */
struct xt_timed {
	int fd;
	unsigned long cmd;
	void *arg;
	uint32_t *op;
	uint32_t *repeat;
	const uint64_t *ns;
	const uint32_t *failed;
	int (*prepare)(void);
};

/* What one repetition costs, the least of several tries; returns an errno. */
int xt_cost(const struct xt_timed *timed, const struct xt_unit *unit,
	    int64_t *cost);

/* Has test_xen_grant_dma attach a device that grants; negative: an errno. */
int xt_dma_open(const char *name, uint32_t *index);

/* Memory and grant hypercalls of a call that returns 0; negative: an errno. */
long xt_hypercalls_of(int (*call)(void *arg), void *arg);

/* Booting goes on in the background for a while: waits until memory is quiet. */
void xt_settle(void);

#endif /* XEN_TIMING_H */
