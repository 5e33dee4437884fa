// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "output.hpp"

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>

namespace svclb::ctl {
namespace {

constexpr std::size_t kColumnGap = 3;

// Text that a YAML reader would take for something else without quotes: a number, a bool, null, a date.
bool needs_quotes(const std::string& text) {
    static const std::vector<std::string> words = {"",    "~", "null", "true", "false", "yes",  "no",  "on",
                                                   "off", "y", "n",    "nan",  "inf",   ".nan", ".inf"};
    std::string lower = text;
    std::ranges::transform(lower, lower.begin(),
                           [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
    if (std::ranges::find(words, lower) != words.end()) return true;
    // Whatever starts like a number: YAML 1.1 has octal, hexadecimal, sexagesimal (22:22) and dates.
    return std::string_view("+-.0123456789").find(text.front()) != std::string_view::npos;
}

void emit(YAML::Emitter& out, const Json& value) {
    switch (value.type()) {
        case Json::value_t::object:
            if (value.empty()) {
                out << YAML::Flow << YAML::BeginMap << YAML::EndMap;
                return;
            }
            out << YAML::BeginMap;
            for (const auto& [key, member] : value.items()) {
                out << YAML::Key << key << YAML::Value;
                emit(out, member);
            }
            out << YAML::EndMap;
            return;
        case Json::value_t::array:
            if (value.empty()) {
                out << YAML::Flow << YAML::BeginSeq << YAML::EndSeq;
                return;
            }
            out << YAML::BeginSeq;
            for (const Json& element : value) emit(out, element);
            out << YAML::EndSeq;
            return;
        case Json::value_t::string: {
            const auto& text = value.get_ref<const std::string&>();
            if (needs_quotes(text)) out << YAML::DoubleQuoted;
            out << text;
            return;
        }
        default:  // numbers, bools and null are spelled alike in both
            out << value.dump();
    }
}

std::string cell_text(const std::string& cell) {
    return cell.empty() ? "<none>" : escaped(cell);
}

}  // namespace

std::string escaped(std::string_view text) {
    std::string out;
    out.reserve(text.size());
    for (const char c : text) {
        if (c >= ' ' && c <= '~')
            out += c;
        else
            out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    }
    return out;
}

std::string to_text(const Table& table) {
    std::vector<std::size_t> widths;
    widths.reserve(table.headers.size());
    for (const auto& header : table.headers) widths.push_back(header.size());
    for (const auto& row : table.rows)
        for (std::size_t column = 0; column < row.size(); ++column)
            widths[column] = std::max(widths[column], cell_text(row[column]).size());

    std::string out;
    const auto add_line = [&](const std::vector<std::string>& cells) {
        for (std::size_t column = 0; column < cells.size(); ++column) {
            const std::string text = cell_text(cells[column]);
            out += text;
            if (column + 1 < cells.size()) out.append(widths[column] - text.size() + kColumnGap, ' ');
        }
        out += '\n';
    };
    add_line(table.headers);
    for (const auto& row : table.rows) add_line(row);
    return out;
}

std::string to_json_text(const Json& value) {
    return value.dump(4, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string to_yaml_text(const Json& value) {
    YAML::Emitter out;
    emit(out, value);
    return std::string(out.c_str()) + "\n";
}

}  // namespace svclb::ctl
