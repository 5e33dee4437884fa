// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* abi.h first and alone, as C: it must bring all that it needs. Also compiled for BPF. */
#include "svclb/abi.h"
/* Not before it, on purpose. */
#include "layout.h"
