# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh disable=SC2154
#
# A second domain, which Xen starts by itself from the device tree: dom0 has
# no tools. It is not direct-mapped, has no xenstore, and boots the same kernel
# and initramfs as dom0.

domu_kernel_at=0x52000000
domu_initrd_at=0x54000000
domu_tree_at=0x5c000000
# KiB of memory
domu_memory=524288
# Of the event channel between the two, in either of them.
domu_port=10

# For /chosen: the domain, and both ends of an event channel.
domu_nodes()
{
	echo "evtchn_dom0: evtchn@1 { compatible = \"xen,evtchn-v1\";"
	echo "xen,evtchn = <$domu_port &evtchn_domu>; };"
	echo "domU1 { compatible = \"xen,domain\";"
	echo "#address-cells = <2>; #size-cells = <2>;"
	echo "memory = <0 $domu_memory>; cpus = <1>; vpl011;"
	echo "xen,enhanced = \"no-xenstore\";"
	# Four buffers of 2,025 pages and little more.
	echo "max_maptrack_frames = <33>;"
	echo "evtchn_domu: evtchn@1 { compatible = \"xen,evtchn-v1\";"
	echo "xen,evtchn = <$domu_port &evtchn_dom0>; };"
	module kernel "$domu_kernel_at" "$kernel" \
		"bootargs = \"console=ttyAMA0 loglevel=5 $domu_kargs\";"
	module ramdisk "$domu_initrd_at" "$initrd"
	module device-tree "$domu_tree_at" "$work/domu.dtb"
	echo "};"
}

# What is copied to its device tree.
domu_tree()
{
	{
		echo "/dts-v1/;"
		echo "/ { #address-cells = <2>; #size-cells = <2>;"
		echo "passthrough { compatible = \"simple-bus\"; ranges;"
		echo "#address-cells = <2>; #size-cells = <2>;"
		grant_dma_nodes
		importer_node
		disk_nodes
		echo "}; };"
	} >"$work/domu.dts"
	dtc -q -I dts -O dtb -o "$work/domu.dtb" "$work/domu.dts"
}

# The device that test_xen_domains imports dma-bufs for.
importer_node()
{
	echo "importer { compatible = \"xen,importer-test\"; dma-coherent; };"
}

# Disks that a backend in dom0 stands in for, if Xen has an ioreq server. The
# driver must not touch one before there is a backend: it is told to bind.
disk_nodes()
{
	for i in 0 1 2 3 4 5 6 7; do
		echo "disk@200${i}000 { compatible = \"xen,virtio-test\";"
		echo "reg = <0 0x200${i}000 0 0x200>;"
		echo "interrupt-parent = <0xfde8>; interrupts = <0 $((i + 1)) 1>;"
		echo "dma-coherent; iommus = <&gdt 0>; };"
	done
}
