// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// abi.h first and alone, as C++, and what only C++ can ask: has a key bytes that are in no field?
#include "svclb/abi.h"
// Not before it, on purpose.
#include "layout.h"

#include <type_traits>

template <class Key>
constexpr bool kNoHoles = std::has_unique_object_representations_v<Key>;

static_assert(kNoHoles<svclb_frontend_key>, "hashed byte by byte");
static_assert(kNoHoles<svclb_backend_key>, "hashed byte by byte");
static_assert(kNoHoles<svclb_flow_key4>, "hashed byte by byte");
static_assert(kNoHoles<svclb_flow_key6>, "hashed byte by byte");
static_assert(kNoHoles<svclb_affinity_key>, "hashed byte by byte");
static_assert(kNoHoles<svclb_reject_key>, "hashed byte by byte");
// Values too: a row that is compared with memcmp must have no bytes that nobody sets.
static_assert(kNoHoles<svclb_frontend> && kNoHoles<svclb_service> && kNoHoles<svclb_slot> && kNoHoles<svclb_backend> &&
                  kNoHoles<svclb_flow> && kNoHoles<svclb_affinity> && kNoHoles<svclb_counter> &&
                  kNoHoles<svclb_drop_counter> && kNoHoles<svclb_service_name> && kNoHoles<svclb_string> &&
                  kNoHoles<svclb_reject_budget> && kNoHoles<svclb_agent_status> && kNoHoles<svclb_settings>,
              "padding has a name");
