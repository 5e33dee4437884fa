// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// What is wrong with one Service, by field.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "svclb/model/desired.hpp"
#include "svclb/model/objects.hpp"
#include "svclb/model/text.hpp"

namespace svclb::model {

class Told {
public:
    Told(const Service& service, std::vector<Problem>& problems)
        : object_("Service " + service.key.ns + "/" + service.key.name), problems_(problems) {}

    void add(const std::string& field, const std::string& what) { problems_.push_back({object_, field + ": " + what}); }

private:
    std::string object_;
    std::vector<Problem>& problems_;
};

inline std::string element(const char* field, std::size_t index) {
    return std::string(field) + "[" + std::to_string(index) + "]";
}

inline std::optional<Address> read_address(const std::string& text, const std::string& field, Told& told) {
    const auto address = parse_address(text);
    if (!address) told.add(field, "not an IP address: " + printable(text));
    return address;
}

}  // namespace svclb::model
