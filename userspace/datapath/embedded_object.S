/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The compiled BPF objects, as bytes. Not bpftool skeletons: Ubuntu's bpftool package belongs to one kernel version and
 * refuses to run on others, and all that a skeleton would add here are names that libbpf finds as well.
 * SVCLB_BPF_OBJECT and SVCLB_SOCKETS_OBJECT are the objects' paths, set by the build; either may be missing.
 */
	.macro embed name, path
	.section .rodata
	.balign 16
	.global \name\()_begin
	.hidden \name\()_begin
\name\()_begin:
	.incbin "\path"
	.global \name\()_end
	.hidden \name\()_end
\name\()_end:
	.byte 0
	.endm

#ifdef SVCLB_BPF_OBJECT
	embed svclb_object, SVCLB_BPF_OBJECT
#endif
#ifdef SVCLB_SOCKETS_OBJECT
	embed svclb_sockets, SVCLB_SOCKETS_OBJECT
#endif

	.section .note.GNU-stack, "", %progbits
