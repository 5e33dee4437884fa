/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The version, and what every key and value is made of. See abi.h. */
#ifndef SVCLB_ABI_BASE_H
#define SVCLB_ABI_BASE_H

#include <linux/types.h>

#ifndef __cplusplus
#define static_assert _Static_assert
#endif

#define SVCLB_ABI_VERSION 1

/* Index of "no service port" and id of "no backend": array entry 0 is never given out. */
#define SVCLB_NONE 0

#define SVCLB_ADDR_WORDS 4
/* Word 2 of an IPv4-mapped address, in host order. Words 0 and 1 are zero. */
#define SVCLB_V4_MAPPED_PREFIX 0xffff

#endif
