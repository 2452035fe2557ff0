/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the module test_xen_fail and the programs that use it share.
 *
 * An open file makes one function of the kernel fail, for the task that asks
 * for that and for no other, until it is disarmed or closed.
 */
#ifndef TEST_XEN_FAIL_H
#define TEST_XEN_FAIL_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define XTF_DEVICE	"test_xen_fail"

/**
 * struct xtf_arm - make a call fail
 * @name: the function
 * @nth: which call of this task fails, from 1
 * @result: what it returns in place of what it would
 */
struct xtf_arm {
	char name[56];
	__u32 nth;
	__s32 result;
};

#define XTF_IOC_ARM	_IOW('F', 0, struct xtf_arm)
/* Returns whether the call came that was to fail. */
#define XTF_IOC_DISARM	_IO('F', 1)

#endif /* TEST_XEN_FAIL_H */
