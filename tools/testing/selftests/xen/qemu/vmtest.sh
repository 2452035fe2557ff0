#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Boot an arm64 kernel as dom0 under Xen in QEMU (or without Xen), with a
# memory layout of layouts.sh and a time limit. The console goes to standard
# output. Exit status: 0 the guest ended as it should, 1 it did not, 2 wrong
# use, 3 it did not end in time. Whether its tests passed is for the reader of
# the console: they are KTAP.
#
# Needs qemu-system-aarch64, dtc for layouts with holes and for the tests that
# need devices of their own, and nothing else.

here=$(cd "$(dirname "$0")" && pwd -P)
# shellcheck source=/dev/null
. "$here/layouts.sh"
# shellcheck source=/dev/null
. "$here/domains.sh"

usage()
{
	cat >&2 <<-EOF
	usage: $0 -k IMAGE [options]
	  -k IMAGE    kernel image
	  -i INITRD   initramfs (see mkinitramfs.sh)
	  -x XEN      hypervisor image; without it the kernel boots on the machine
	  -l LAYOUT   one of: $LAYOUTS
	  -a ARGS     more kernel arguments
	  -X ARGS     more Xen arguments
	  -u ARGS     a domU beside dom0, with these kernel arguments
	  -M MIB      memory of dom0, in place of the layout's
	  -n MIB      an NVMe drive of dom0, empty
	  -s          the drive behind an SMMUv3
	  -p NUMBER   CPUs (default 2)
	  -d NUMBER   CPUs of dom0 (default: all)
	  -m MODEL    CPU model (default cortex-a57)
	  -c          count instructions: one CPU, time follows instructions
	  -t SECONDS  time limit (default 120)
	  -I          interactive: the console is this terminal
	EOF
	exit 2
}

kernel= initrd= hypervisor= name=default kargs= xargs= domu= domu_kargs= nvme=
smmu= dom0_memory= cpus=2 dom0_cpus= model=cortex-a57 count= limit=120
interactive=
while getopts k:i:x:l:a:X:u:M:n:sp:d:m:ct:I opt; do
	case $opt in
	k) kernel=$OPTARG ;;
	i) initrd=$OPTARG ;;
	x) hypervisor=$OPTARG ;;
	l) name=$OPTARG ;;
	a) kargs=$OPTARG ;;
	X) xargs=$OPTARG ;;
	u) domu=1 domu_kargs="panic=-1 xentest.domid=1 $OPTARG" ;;
	M) dom0_memory=$OPTARG ;;
	n) nvme=$OPTARG ;;
	s) smmu=,iommu=smmuv3 ;;
	p) cpus=$OPTARG ;;
	d) dom0_cpus=$OPTARG ;;
	m) model=$OPTARG ;;
	c) count=1 ;;
	t) limit=$OPTARG ;;
	I) interactive=1 ;;
	*) usage ;;
	esac
done
[ -n "$kernel" ] || usage
if ! layout "$name"; then
	echo "$0: no such layout: $name (there are: $LAYOUTS)" >&2
	exit 2
fi
if [ -n "$dom0_memory" ]; then
	# What is left over for regions is the same.
	memory=$((memory - dom0 + dom0_memory)) dom0=$dom0_memory
fi
if [ -n "$domu" ] && { [ -z "$hypervisor" ] || [ -n "$holes" ]; }; then
	echo "$0: a domU needs Xen, and a layout without holes" >&2
	exit 2
fi
for file in "$kernel" $initrd $hypervisor; do
	if [ ! -r "$file" ]; then
		echo "$0: cannot read $file" >&2
		exit 2
	fi
done

work=$(mktemp -d)
qemu=
cleanup()
{
	[ -n "$qemu" ] && kill "$qemu" 2>/dev/null
	rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 1' INT TERM HUP

if [ -n "$count" ]; then
	cpus=1 dom0_cpus=1 model=max
fi
machine=virt,gic-version=3$smmu
[ -n "$hypervisor" ] && machine=$machine,virtualization=on
# Warnings are to be on the console, which "quiet" leaves out.
kargs="panic=-1 loglevel=5 xentest.layout=$name $kargs"
xargs="console=dtuart dtuart=serial0 dom0_mem=${dom0}M
       serial_tx_buffer=1M bootscrub=0
       ${dom0_cpus:+dom0_max_vcpus=$dom0_cpus} $xen $xargs"
# shellcheck disable=SC2086
xargs=$(echo $xargs)

set -- -machine "$machine" -cpu "$model" -smp "$cpus" -m "$memory" \
	-display none -no-reboot -nodefaults
if [ -n "$interactive" ]; then
	set -- "$@" -serial mon:stdio
else
	set -- "$@" -serial stdio -monitor none
fi
[ -n "$count" ] && set -- "$@" -icount shift=0,sleep=off

kernel_at=0x46000000
initrd_at=0x4a000000
if [ -n "$holes" ]; then
	kernel_at=0x60000000
	initrd_at=0x64000000
fi
nvme_slot=8

# A device tree of our own: reserved memory cuts the regions to pieces, and
# there are the devices of the tests. QEMU adds no module nodes to a tree that
# it is given, so they are written here.
own_tree()
{
	qemu-system-aarch64 "$@" -machine dumpdtb="$work/machine.dtb" \
		>/dev/null 2>&1 </dev/null
	dtc -q -I dtb -O dts "$work/machine.dtb" >"$work/machine.dts" ||
		return 1
	[ -z "$domu" ] || domu_tree || return 1
	bridge=$(sed -n 's/^\t\(pcie@[0-9a-f]*\) {/\1/p' "$work/machine.dts")
	{
		# A label to hang what follows on: /chosen is there already.
		sed 's/^\tchosen {/\tchosen: chosen {/' "$work/machine.dts"
		echo "&chosen {"
		echo "#address-cells = <2>; #size-cells = <2>;"
		echo "xen,xen-bootargs = \"$xargs\";"
		echo "xen,dom0-bootargs = \"console=hvc0 $kargs\";"
		module kernel "$kernel_at" "$kernel"
		module ramdisk "$initrd_at" "$initrd"
		[ -n "$domu" ] && domu_nodes
		echo "};"
		echo "/ {"
		if [ -n "$smmu" ]; then
			behind_smmu "$bridge"
		else
			# Xen knows no such IOMMU, if it has one.
			grant_dma_nodes
			grant_dma_pci "$bridge"
		fi
		[ -n "$domu" ] && importer_node
		[ -z "$holes" ] || reserved_nodes
		echo "};"
	} >"$work/own.dts"
	# dom0 gets a tree in a buffer of the size of this one plus little.
	dtc -q -p 4096 -I dts -O dtb -o "$work/own.dtb" "$work/own.dts"
}

reserved_nodes()
{
	echo "reserved-memory {"
	echo "#address-cells = <2>; #size-cells = <2>; ranges;"
	for hole in $holes; do
		echo "hole@${hole#0x} { no-map;"
		echo "reg = <0 $hole 0 0x100000>; };"
	done
	echo "};"
}

# What test_xen_grant_dma makes virtio devices of. The number is the domain
# that the backend is in; this one is 0, so that it can be its own backend.
grant_dma_nodes()
{
	echo "gdt: gdt-iommu {"
	echo "compatible = \"xen,grant-dma\"; #iommu-cells = <1>; };"
	echo "gdt_unlike: gdt-iommu-unlike { #iommu-cells = <1>; };"
	echo "gdt_cells: gdt-iommu-cells {"
	echo "compatible = \"xen,grant-dma\"; #iommu-cells = <2>; };"
	grant_dma_node gdt-plain "&gdt 0"
	grant_dma_node gdt-isolate "&gdt 0"
	grant_dma_node gdt-other "&gdt 1"
	# Behind another IOMMU, to which the second cell is only a number.
	grant_dma_node gdt-unlike "&gdt_unlike &gdt"
	# Not one of these names a domain: all have to be refused.
	grant_dma_node gdt-high "&gdt 0x10000"
	grant_dma_node gdt-reserved "&gdt 0x7ff0"
	grant_dma_node gdt-short "&gdt"
	grant_dma_node gdt-cells "&gdt_cells 0 0"
	# The operations in C can be set up only once for each device.
	for i in 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17; do
		grant_dma_node "gdt-fresh-$i" "&gdt 0"
	done
}

grant_dma_node()
{
	echo "$1 { compatible = \"xen,grant-dma-test\"; dma-coherent;"
	echo "iommus = <$2>; };"
}

# The same for PCI devices, which the host bridge maps by requester ID, eight
# for each slot. There is nothing for slot 2.
grant_dma_pci()
{
	echo "$1 { iommu-map = <0x08 &gdt 0 1>, <0x18 &gdt 1 1>,"
	echo "<0x20 &gdt 0x7fe8 0x10>, <0x30 &gdt_cells 0 0 1>,"
	echo "<0x38 &gdt_cells 0 0 8>; };"
}

# Xen takes stream IDs from a node's own property alone, so that the one of the
# drive stands for the host bridge.
behind_smmu()
{
	node=$(sed -n 's/^\t\(smmuv3@[0-9a-f]*\) {/\1/p' "$work/machine.dts")
	echo "$1 { iommus = <&{/$node} $((nvme_slot * 8))>; };"
}

module()
{
	[ -n "$3" ] || return 0
	size=$(wc -c <"$3")
	echo "module@${2#0x} { compatible = \"multiboot,$1\","
	echo "\"multiboot,module\"; reg = <0 $2 0 $size>; $4 };"
}

if [ -z "$hypervisor" ]; then
	set -- "$@" -kernel "$kernel" -append "console=ttyAMA0 $kargs"
	[ -n "$initrd" ] && set -- "$@" -initrd "$initrd"
elif [ -n "$holes$domu" ] || command -v dtc >/dev/null; then
	if ! own_tree "$@"; then
		echo "$0: cannot make the device tree of layout $name" >&2
		exit 2
	fi
	for i in 1 2 3 4 5 6 7; do
		set -- "$@" -device "pci-testdev,addr=$i"
	done
	set -- "$@" -kernel "$hypervisor" -dtb "$work/own.dtb" \
		-device "loader,file=$kernel,addr=$kernel_at,force-raw=on"
	[ -n "$initrd" ] && set -- "$@" \
		-device "loader,file=$initrd,addr=$initrd_at,force-raw=on"
	[ -n "$domu" ] && set -- "$@" \
		-device "loader,file=$kernel,addr=$domu_kernel_at,force-raw=on" \
		-device "loader,file=$initrd,addr=$domu_initrd_at,force-raw=on" \
		-device "loader,file=$work/domu.dtb,addr=$domu_tree_at,force-raw=on"
else
	# A comma ends an option of -device, two are one.
	bootargs=$(echo "console=hvc0 $kargs" | sed 's/,/,,/g')
	set -- "$@" -kernel "$hypervisor" -append "$xargs" -device \
		"guest-loader,addr=$kernel_at,kernel=$kernel,bootargs=$bootargs"
	[ -n "$initrd" ] && set -- "$@" \
		-device "guest-loader,addr=$initrd_at,initrd=$initrd"
fi

if [ -n "$nvme" ]; then
	dd if=/dev/null of="$work/nvme" bs=1M seek="$nvme" 2>/dev/null
	set -- "$@" -drive "if=none,id=nvme,format=raw,file=$work/nvme" \
		-device "nvme,drive=nvme,serial=xentest,addr=$nvme_slot"
fi

if [ -n "$interactive" ]; then
	qemu-system-aarch64 "$@"
	exit
fi

# Where a guest hangs shows too late when it is killed. So shortly before it is
# asked for its blocked tasks and for what its CPUs do, by SysRq (which is Ctrl-O
# on a console of Xen); and in case that it does not answer, Xen is asked for its
# registers.
#
# In between, a machine may stand still: under QEMU 11.1 a CPU that waits for a
# spinlock of Xen was found asleep in WFE. Asking what all CPUs do wakes it if it
# takes interrupts then; RCU tells for how long it slept, which it does by itself of
# a kernel that is awake. If not even Xen answers, when its console is switched there
# and back, there is nothing to wait for.
ask_where()
{
	begin=$(($(date +%s) + limit - (limit > 30 ? 15 : 5)))
	while kill -0 "$qemu" 2>/dev/null; do
		if [ "$(date +%s)" -ge "$begin" ]; then
			echo "vmtest: asking where it is, there is no end yet" >&2
			printf '\0178\017w\017l' >&3
			sleep 2
			printf '\001\001\0010' >&3
			break
		fi
		if [ -n "$hypervisor" ] && [ -z "$count" ] && is_silent; then
			echo "vmtest: asking where it is, nothing is printed;" \
				"expect-splat: rcu: INFO: rcu_sched" >&2
			printf '\017l\001\001\001\001\001\001' >&3
			sleep 10
			if is_silent; then
				echo "vmtest: there is no answer" >&2
				kill "$qemu"
				break
			fi
		fi
		sleep 1
	done
}

# Whether there has been no line for 90 seconds.
is_silent()
{
	[ $(($(date +%s) - $(stat -c %Y "$work/line"))) -gt 90 ]
}

console=$work/console
keys=$work/keys
mkfifo "$console" "$keys"
# For reading as well, so that neither side waits for the other.
exec 3<>"$keys"
timeout -k 5 "$limit" qemu-system-aarch64 "$@" <&3 3>&- >"$console" 2>&1 &
qemu=$!
echo >"$work/line"
ask_where >/dev/null &
done=1
while IFS= read -r text; do
	echo >"$work/line"
	printf '%s\n' "$text"
	case $text in
	*"xentest: done"*) done=0 ;;
	esac
done <"$console"
wait "$qemu"
status=$?
qemu=
if [ "$status" = 124 ] || [ "$status" = 137 ]; then
	echo "vmtest: the guest did not end within $limit seconds"
	exit 3
fi
exit "$done"
