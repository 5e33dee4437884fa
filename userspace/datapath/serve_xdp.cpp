// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "serve_xdp.hpp"

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
    if (!core.programs.from_wire)
        return fail(Error::invalid("this kernel refuses the program: " + core.programs.from_wire_refused));
    const auto row = row_for(device.name, mode);
    if (!row) return fail(row.error());
    const auto rows = rows_of(core.maps);
    if (!rows) return fail(rows.error());
    if (auto attached = core.links.xdp().attach(device.ifindex, mode, core.programs.from_wire.get()); !attached)
        return attached;
    return rows->put(static_cast<std::uint32_t>(device.ifindex), *row);
}

}  // namespace

Status serve_xdp(Core& core, const XdpDevice& device) {
    const auto mode = mode_for(core.xdp, device);
    if (!mode) return leave_xdp(core, device.ifindex);
    const auto attached = attach(core, device, *mode);
    if (attached) {
        core.without_xdp.erase(device.ifindex);
        return {};
    }
    auto& told = core.without_xdp[device.ifindex];
    if (const auto why = attached.error().message(); told != why) {
        told = why;
        spdlog::warn("no XDP on {}: {}; tc serves it", device.name, why);
    }
    return leave_xdp(core, device.ifindex);
}

// The row first: while it is there, others may send frames to the device.
Status leave_xdp(Core& core, int ifindex) {
    const auto rows = rows_of(core.maps);
    if (!rows) return fail(rows.error());
    if (auto removed = rows->remove(static_cast<std::uint32_t>(ifindex)); !removed) return fail(removed.error());
    return core.links.xdp().detach(ifindex);
}

Status leave_xdp(const MapSet& maps, XdpLinks& links) {
    const auto rows = rows_of(maps);
    if (!rows) return fail(rows.error());
    std::vector<std::uint32_t> known;
    if (auto read = rows->each([&known](std::uint32_t ifindex, const svclb_xdp_link&) { known.push_back(ifindex); });
        !read)
        return read;
    for (const auto& [ifindex, link] : links.all()) known.push_back(static_cast<std::uint32_t>(ifindex));
    for (const auto ifindex : known) {
        if (auto removed = rows->remove(ifindex); !removed) return fail(removed.error());
        if (auto detached = links.detach(static_cast<int>(ifindex)); !detached) return detached;
    }
    return {};
}

}  // namespace svclb::datapath
