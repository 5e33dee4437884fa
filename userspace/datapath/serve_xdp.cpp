// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "serve_xdp.hpp"

#include <fmt/format.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <spdlog/spdlog.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <optional>
#include <vector>

#include "map_ref.hpp"

namespace svclb::datapath {
namespace {

using Rows = MapRef<std::uint32_t, svclb_xdp_link>;

Result<Rows> rows_of(const MapSet& maps) {
    return Rows::open(maps, "xdp_links");
}

std::optional<svclb_xdp_mode> mode_for(XdpMode wanted, const XdpDevice& device) {
    if (!device.uplink || wanted == XdpMode::off || (wanted == XdpMode::automatic && !device.hardware))
        return std::nullopt;
    return wanted == XdpMode::generic ? SVCLB_XDP_GENERIC : SVCLB_XDP_NATIVE;
}

Result<svclb_xdp_link> row_for(const std::string& name, svclb_xdp_mode mode) {
    const UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    ifreq request{};
    name.copy(request.ifr_name, sizeof(request.ifr_name) - 1);
    if (::ioctl(socket.get(), SIOCGIFHWADDR, &request) != 0) return fail_errno(errno, "ask for its hardware address");
    svclb_xdp_link row{};
    std::memcpy(row.mac, request.ifr_hwaddr.sa_data, sizeof(row.mac));
    row.mode = static_cast<std::uint8_t>(mode);
    return row;
}

Status attach(Core& core, const XdpDevice& device, svclb_xdp_mode mode) {
    if (auto loaded = load_missing(core, {kFromWire}); !loaded)
        return fail(loaded.error().within("this kernel refuses the program"));
    const auto row = row_for(device.name, mode);
    if (!row) return fail(row.error());
    const auto rows = rows_of(core.maps);
    if (!rows) return fail(rows.error());
    if (auto attached = core.links.xdp().attach(device.ifindex, mode, program_in(core.programs, kFromWire)); !attached)
        return attached;
    return rows->put(static_cast<std::uint32_t>(device.ifindex), *row);
}

// The row first: while it is there, others may send frames to the device.
Status forget(Core& core, int ifindex) {
    const auto rows = rows_of(core.maps);
    if (!rows) return fail(rows.error());
    if (auto removed = rows->remove(static_cast<std::uint32_t>(ifindex)); !removed) return fail(removed.error());
    return core.links.xdp().detach(ifindex);
}

std::string xdp_text(const Core& core) {
    if (core.xdp == XdpMode::off) return "off";
    std::string text;
    const auto add = [&text](const std::string& more) { text += (text.empty() ? "" : "; ") + more; };
    for (const auto& link : core.links.attached()) {
        if (const auto mode = core.links.xdp().mode_on(link.ifindex))
            add(fmt::format("{} on {}", name_of(*mode), link.name));
    }
    for (const auto& [ifindex, why] : core.without_xdp) add(why);
    return text.empty() ? "no uplink for it" : text;
}

// For svclb-ctl.
Status tell(const Core& core) {
    const auto row = MapRef<std::uint32_t, svclb_string>::open(core.maps, "xdp_text");
    if (!row) return fail(row.error());
    svclb_string text{};
    xdp_text(core).copy(text.text, sizeof(text.text) - 1);
    return row->put(0, text);
}

}  // namespace

Status serve_xdp(Core& core, const XdpDevice& device) {
    const auto mode = mode_for(core.xdp, device);
    if (!mode) return leave_xdp(core, device.ifindex);
    const auto attached = attach(core, device, *mode);
    if (attached) {
        core.without_xdp.erase(device.ifindex);
        return tell(core);
    }
    auto& told = core.without_xdp[device.ifindex];
    if (const auto why = fmt::format("not on {}: {}", device.name, attached.error().message()); told != why) {
        told = why;
        spdlog::warn("xdp: {}; tc serves it", why);
    }
    if (auto forgotten = forget(core, device.ifindex); !forgotten) return forgotten;
    return tell(core);
}

Status leave_xdp(Core& core, int ifindex) {
    core.without_xdp.erase(ifindex);
    if (auto forgotten = forget(core, ifindex); !forgotten) return forgotten;
    return tell(core);
}

Status adopt_xdp(const MapSet& maps, XdpLinks& links, bool keep) {
    const auto rows = rows_of(maps);
    if (!rows) return fail(rows.error());
    std::vector<int> lost;
    const auto note = [&](std::uint32_t ifindex, const svclb_xdp_link&) {
        if (!keep || !links.mode_on(static_cast<int>(ifindex))) lost.push_back(static_cast<int>(ifindex));
    };
    if (auto read = rows->each(note); !read) return read;
    for (const auto& [ifindex, link] : links.all()) {
        if (!keep) lost.push_back(ifindex);
    }
    for (const int ifindex : lost) {
        if (auto removed = rows->remove(static_cast<std::uint32_t>(ifindex)); !removed) return fail(removed.error());
        if (auto detached = links.detach(ifindex); !detached) return detached;
    }
    return {};
}

}  // namespace svclb::datapath
