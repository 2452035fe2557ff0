#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# /init of the test guest. What it does is said on the kernel command line:
#   xentest.run=selftests   run the installed kselftests (the default)
#   xentest.run=measure     run only the measuring program
#   xentest.run=bench       run only the benchmark
#   xentest.run=domains     run only the tests between two domains
#   xentest.run=device_dma  run only those of DMA to another domain's memory
#   xentest.run=virtio_blk  run only those of a disk between two domains
#   xentest.run=shell       an interactive shell
#   xentest.run=none        nothing: boot and power off
#   xentest.test=NAME       with selftests and two domains: which test
#   xentest.rounds=N        with domains: how often four frames come and go
#   xentest.unannounced=1   nobody is told of warnings that are meant to come
#   xentest.timeout=N       with selftests: seconds for each, whatever they say
# Whatever is run, the guest says "xentest: done" last and powers off; a guest
# that ends without that line has crashed.

export PATH=/bin:/sbin:/usr/bin:/usr/sbin
export HOME=/root TERM=linux

/bin/busybox mkdir -p /proc /sys /dev /tmp /run /root /usr/bin /usr/sbin /sbin
/bin/busybox mount -t devtmpfs none /dev
exec </dev/console >/dev/console 2>&1
/bin/busybox --install -s
mount -t proc none /proc
mount -t sysfs none /sys
mount -t tmpfs none /tmp
mount -t debugfs none /sys/kernel/debug 2>/dev/null
mount -t tracefs none /sys/kernel/tracing 2>/dev/null
# kselftest's runner writes to /dev/stdout, which devtmpfs does not have.
ln -s /proc/self/fd /dev/fd
ln -s /proc/self/fd/0 /dev/stdin
ln -s /proc/self/fd/1 /dev/stdout
ln -s /proc/self/fd/2 /dev/stderr
# It also calls GNU's timeout, one option of which busybox does not know.
rm -f /usr/bin/timeout
cat > /usr/bin/timeout <<'EOT'
#!/bin/sh
[ "$1" = --foreground ] && shift
exec busybox timeout "$@"
EOT
chmod 755 /usr/bin/timeout
mkdir -p /dev/pts /dev/shm
mount -t devpts none /dev/pts 2>/dev/null
mount -t tmpfs none /dev/shm
[ -d /proc/xen ] && mount -t xenfs none /proc/xen 2>/dev/null
hostname xentest

# By default CONFIG_DMA_API_DEBUG tells of the first error only.
echo 1 2>/dev/null >/sys/kernel/debug/dma-api/all_errors

run=selftests
only=
timeout=
for word in $(cat /proc/cmdline); do
	case $word in
	xentest.run=*) run=${word#*=} ;;
	xentest.test=*) only=${word#*=} ;;
	xentest.timeout=*) timeout=${word#*=} ;;
	esac
done

tests=/kselftest
case $run in
selftests)
	if [ ! -x $tests/run_kselftest.sh ]; then
		echo "xentest: no selftests in this image"
	else
		what="-c xen"
		[ -n "$only" ] && what="-t xen:$only"
		# shellcheck disable=SC2086
		(cd $tests &&
		 ./run_kselftest.sh $what ${timeout:+-o "$timeout"})
	fi
	leaks=/sys/kernel/debug/kmemleak
	if [ -e $leaks ]; then
		# What nobody refers to is looked at when it is 5 s old, and
		# told of when that is so the next time, too.
		sleep 6
		echo scan >$leaks
		sleep 6
		echo scan >$leaks
		cat $leaks
	fi
	;;
measure | bench | domains | device_dma | virtio_blk)
	if [ -x "$tests/xen/$run" ]; then
		(cd $tests/xen && "./$run" ${only:+"$only"})
	else
		echo "xentest: no program $run in this image"
	fi
	;;
shell)
	echo
	echo "A shell in the guest; the tests are in $tests."
	echo "Power off with: poweroff -f   (or leave with Ctrl-A X)"
	setsid cttyhack sh -l
	;;
none)
	;;
*)
	echo "xentest: unknown xentest.run=$run"
	;;
esac

sync
echo "xentest: done"
poweroff -f
