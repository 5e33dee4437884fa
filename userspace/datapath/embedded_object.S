/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The compiled BPF object, as bytes. Not a bpftool skeleton: Ubuntu's bpftool package belongs to one kernel version and
 * refuses to run on others, and all that a skeleton would add here are names that libbpf finds as well.
 * SVCLB_BPF_OBJECT is the object's path, set by the build.
 */
	.section .rodata
	.balign 16
	.global svclb_object_begin
	.hidden svclb_object_begin
svclb_object_begin:
	.incbin SVCLB_BPF_OBJECT
	.global svclb_object_end
	.hidden svclb_object_end
svclb_object_end:
	.byte 0

	.section .note.GNU-stack, "", %progbits
