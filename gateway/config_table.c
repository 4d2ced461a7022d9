// SPDX-License-Identifier: Apache-2.0
// The table of options, made from gateway/options.def and gateway/options_<kind>.def. Constant; any thread.
#include "gateway/config.h"

#define SECTION(s, h)
#define ROW(s, n, kind) .section = #s, .name = #n, .type = kind, .offset = offsetof(struct GW_OWNER, GW_MEMBER(s, n))
#define BOOL(s, n, fallback, h) { ROW(s, n, GW_OPTION_BOOL), .number = fallback, .unit = "", .help = h },
#define INT(s, n, l, u, fallback, un, h) { ROW(s, n, GW_OPTION_INT), .low = l, .high = u, .number = fallback, .unit = un, .help = h },
#define TEXT(s, n, fallback, h) { ROW(s, n, GW_OPTION_TEXT), .text = fallback, .unit = "", .help = h },
#define PATH(s, n, fallback, h) { ROW(s, n, GW_OPTION_PATH), .text = fallback, .unit = "", .help = h },
#define CHOICE(s, n, fallback, c, h) { ROW(s, n, GW_OPTION_CHOICE), .text = fallback, .choices = c, .unit = "", .help = h },
#define TEXTS(s, n, h) { ROW(s, n, GW_OPTION_TEXTS), .unit = "", .help = h },
#define PAIRS(s, n, h) { ROW(s, n, GW_OPTION_PAIRS), .unit = "", .help = h },
#define LIST(s, n, k, h) { ROW(s, n, GW_OPTION_LIST), .items = &kind_##k, .unit = "", .help = h },
#define KIND(k) static const struct gw_option_kind kind_##k = { #k, k##_options, sizeof(k##_options) / sizeof(k##_options[0]), sizeof(struct gw_config_##k) }

// Kinds come before those that have lists of them.
#define GW_MEMBER(s, n) n
#define GW_OWNER gw_config_rule
static const struct gw_option rule_options[] = {
#include "gateway/options_rule.def"
};
KIND(rule);
#undef GW_OWNER

#define GW_OWNER gw_config_destination
static const struct gw_option destination_options[] = {
#include "gateway/options_destination.def"
};
KIND(destination);
#undef GW_OWNER

#define GW_OWNER gw_config_peer
static const struct gw_option peer_options[] = {
#include "gateway/options_peer.def"
};
KIND(peer);
#undef GW_OWNER

#define GW_OWNER gw_config_mapping
static const struct gw_option mapping_options[] = {
#include "gateway/options_mapping.def"
};
KIND(mapping);
#undef GW_OWNER
#undef GW_MEMBER

#define GW_MEMBER(s, n) s##_##n
#define GW_OWNER gw_config
static const struct gw_option options[] = {
#include "gateway/options.def"
};

#undef SECTION
#undef BOOL
#undef INT
#undef TEXT
#undef PATH
#undef CHOICE
#undef TEXTS
#undef PAIRS
#undef LIST

static const struct gw_option_section sections[] = {
#define SECTION(s, h) { #s, h },
#define BOOL(s, n, fallback, h)
#define INT(s, n, l, u, fallback, un, h)
#define TEXT(s, n, fallback, h)
#define PATH(s, n, fallback, h)
#define CHOICE(s, n, fallback, c, h)
#define TEXTS(s, n, h)
#define PAIRS(s, n, h)
#define LIST(s, n, k, h)
#include "gateway/options.def"
};

const struct gw_option *
gw_option_at(size_t i)
{
	return i < sizeof(options) / sizeof(options[0]) ? &options[i] : NULL;
}

const struct gw_option_section *
gw_option_section_at(size_t i)
{
	return i < sizeof(sections) / sizeof(sections[0]) ? &sections[i] : NULL;
}
