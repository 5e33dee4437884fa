# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# shellcheck shell=bash
# Reads this machine's own apt sources, so that further suites of the same archive are asked of the same mirror and
# checked against the same keys. Must never name a host.

# apt_sources: one line for each suite of each binary source: URI, suite, components, Signed-By, separated by tabs.
# A Signed-By that holds a whole key spans lines; its line ends are written as \n.
apt_sources() {
    local etc parts files=()
    etc=$(apt-config shell F Dir::Etc::sourcelist/f) && eval "$etc" && files+=("$F")
    parts=$(apt-config shell P Dir::Etc::sourceparts/d) && eval "$parts"
    local file
    for file in "${P%/}"/*.list "${P%/}"/*.sources; do
        files+=("$file")
    done
    for file in "${files[@]}"; do
        [[ -f $file ]] || continue
        case $file in
        *.sources) apt_sources_deb822 "$file" ;;
        *) apt_sources_one_line "$file" ;;
        esac
    done
}

# deb [signed-by=KEY arch=..] URI SUITE COMPONENT...
apt_sources_one_line() {
    awk -v OFS='\t' '
        { sub(/#.*/, "") }
        $1 != "deb" { next }
        {
            options = ""
            if (match($0, /\[[^]]*\]/)) {
                options = substr($0, RSTART + 1, RLENGTH - 2)
                $0 = substr($0, 1, RSTART - 1) substr($0, RSTART + RLENGTH)
            }
            signed = ""
            n = split(options, option, " ")
            for (i = 1; i <= n; i++)
                if (tolower(option[i]) ~ /^signed-by=/) signed = substr(option[i], 11)
            components = ""
            for (i = 4; i <= NF; i++) components = components (i > 4 ? " " : "") $i
            print $2, $3, components, signed
        }' "$1"
}

# Stanzas of "Field: value"; a value may go on in lines that begin with a blank, and be empty in its first one.
apt_sources_deb822() {
    awk -v OFS='\t' '
        function stanza(    n, m, i, j, uri, suite, components) {
            if ((" " value["types"] " ") ~ / deb / && tolower(value["enabled"]) !~ /^ *(no|false|off|0|without|disable) *$/) {
                components = value["components"]
                gsub(/\n/, " ", components)
                sub(/^ +/, "", components)
                n = split(value["uris"], uri, /[ \n]+/)
                m = split(value["suites"], suite, /[ \n]+/)
                sub(/^ +/, "", value["signed-by"])
                gsub(/\n/, "\\n", value["signed-by"])
                for (i = 1; i <= n; i++)
                    for (j = 1; j <= m; j++)
                        if (uri[i] != "" && suite[j] != "") print uri[i], suite[j], components, value["signed-by"]
            }
            delete value
        }
        /^#/ { next }
        /^[ \t]*$/ { stanza(); field = ""; next }
        /^[ \t]/ { if (field != "") value[field] = value[field] "\n" $0; next }
        {
            field = tolower($0)
            sub(/[ \t]*:.*/, "", field)
            text = $0
            sub(/^[^:]*:[ \t]*/, "", text)
            value[field] = text
        }
        END { stanza() }' "$1"
}

# apt_source_of SUITE: the first of those lines that serves it; fails when there is none.
apt_source_of() {
    apt_sources | awk -F'\t' -v suite="$1" '$2 == suite { print; found = 1; exit } END { exit !found }'
}

# apt_stanza SUITE URI COMPONENTS SIGNED-BY: a deb822 stanza. No Signed-By means the keys that apt trusts anyway.
apt_stanza() {
    printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: %s\n' "$2" "$1" "$3"
    [[ -z $4 ]] || printf 'Signed-By: %b\n' "$4"
}
