// SPDX-License-Identifier: GPL-2.0
/*
 * Lets a function of the kernel fail: when the task that asks for it calls it
 * for the nth time, it returns at once, with what was asked for.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/fs.h>
#include <linux/kprobes.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include "test_xen_fail.h"

struct xtf_file {
	struct mutex lock; /* protects arming and disarming */
	bool is_armed;
	struct kprobe probe;
	struct task_struct *task;
	struct xtf_arm arm;
	u32 calls;
};

static int handler(struct kprobe *probe, struct pt_regs *regs)
{
	struct xtf_file *file = container_of(probe, struct xtf_file, probe);

	if (!in_task() || current != file->task ||
	    ++file->calls != file->arm.nth)
		return 0;

	regs_set_return_value(regs, (long)file->arm.result);
	instruction_pointer_set(regs, procedure_link_pointer(regs));

	return 1;
}
NOKPROBE_SYMBOL(handler);

static long disarm(struct xtf_file *file)
{
	if (!file->is_armed)
		return -EINVAL;
	unregister_kprobe(&file->probe);
	file->is_armed = false;

	return file->calls >= file->arm.nth;
}

static long arm(struct xtf_file *file, void __user *arg)
{
	int ret;

	if (file->is_armed)
		return -EBUSY;
	if (copy_from_user(&file->arm, arg, sizeof(file->arm)))
		return -EFAULT;
	if (!file->arm.nth || !memchr(file->arm.name, '\0',
				      sizeof(file->arm.name)))
		return -EINVAL;

	memset(&file->probe, 0, sizeof(file->probe));
	file->probe.symbol_name = file->arm.name;
	file->probe.pre_handler = handler;
	file->task = current;
	file->calls = 0;
	ret = register_kprobe(&file->probe);
	file->is_armed = !ret;

	return ret;
}

static long xtf_ioctl(struct file *filp, unsigned int cmd, unsigned long arg)
{
	struct xtf_file *file = filp->private_data;

	guard(mutex)(&file->lock);
	switch (cmd) {
	case XTF_IOC_ARM:
		return arm(file, (void __user *)arg);
	case XTF_IOC_DISARM:
		return disarm(file);
	default:
		return -ENOTTY;
	}
}

static int xtf_open(struct inode *inode, struct file *filp)
{
	struct xtf_file *file;

	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;
	file = kzalloc_obj(*file);
	if (!file)
		return -ENOMEM;
	mutex_init(&file->lock);
	filp->private_data = file;

	return 0;
}

static int xtf_release(struct inode *inode, struct file *filp)
{
	struct xtf_file *file = filp->private_data;

	disarm(file);
	mutex_destroy(&file->lock);
	kfree(file);

	return 0;
}

static const struct file_operations xtf_fops = {
	.owner		= THIS_MODULE,
	.open		= xtf_open,
	.release	= xtf_release,
	.unlocked_ioctl	= xtf_ioctl,
};

static struct miscdevice xtf_misc = {
	.minor	= MISC_DYNAMIC_MINOR,
	.name	= XTF_DEVICE,
	.fops	= &xtf_fops,
	.mode	= 0600,
};
module_misc_device(xtf_misc);

MODULE_DESCRIPTION("Lets functions of the kernel fail, for the Xen selftests");
MODULE_LICENSE("GPL");
